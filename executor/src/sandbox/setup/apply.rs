//! The steps of a plan, done one after the other in the child.

use super::{
    command, copy, descriptors, dev,
    failure::{Failure, Kind},
    mounts::Places,
    names, network, places, private_copy, privileges, proc, seal, seccomp, serve,
    standard_files::StandardFiles,
    sysfs, terminal,
};
use crate::fs::beneath::{self, Create, Escape};
use crate::sandbox::{plan::step::Step, sys};
use nix::errno::Errno as NixErrno;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    fs::{Dir, FileType, Mode, OFlags, fstat, openat},
    io::Errno,
    mount::{UnmountFlags, unmount},
    process::{chroot, fchdir, pivot_root, umask},
};
use std::{fs, os::unix::ffi::OsStrExt, path::Path};

/// What the steps need that no step says. All of it is the launcher's: with memory that is lent to
/// the child, nothing of it may be dropped there.
#[derive(Clone, Copy)]
pub(crate) struct Sandbox<'a> {
    /// The runtime's directory and what makes it itself.
    pub runtime: (&'a Path, (u64, u64)),
    /// Where it sends the device that the runtime is served by.
    pub server: Option<BorrowedFd<'a>>,
    /// Whether there is a user namespace.
    pub user_namespace: bool,
    /// Signals that the job ignores, as its caller does.
    pub ignored: &'a [i32],
    /// Where its network namespace comes from, if it does not make it itself.
    pub network: Option<BorrowedFd<'a>>,
    /// Where it sends its private directory.
    pub results: Option<BorrowedFd<'a>>,
    /// Where it joins its control groups, if it was not started there.
    pub entrances: &'a [OwnedFd],
    /// Its standard files.
    pub files: &'a StandardFiles,
    /// What a terminal of its own needs.
    pub terminal: Option<&'a terminal::Wanted>,
    /// Where the launcher reads what the child reports, to be closed in the child.
    pub reader: BorrowedFd<'a>,
    /// Where the child reports.
    pub writer: BorrowedFd<'a>,
    /// The number of that in the trampoline: none that the job keeps.
    pub report: RawFd,
}

impl Sandbox<'_> {
    /// Does one step. [`Step::Root`] opens the `places`.
    pub(crate) fn apply(self, step: &Step, places: &mut Option<Places>) -> Result<(), Failure> {
        match step {
            Step::Limit(_) => enter_groups(self.entrances),
            // Made by the clone that this process began with, but for the network's.
            Step::Namespaces { user: true, .. } => {
                self.network.map_or(Ok(()), network::send_user_namespace)
            }
            Step::Namespaces { .. } => Ok(()),
            Step::MapIds { inside, outside } => {
                write("/proc/self/setgroups", "deny")?;
                write("/proc/self/uid_map", &format!("{} {} 1\n", inside.uid, outside.uid))?;
                write("/proc/self/gid_map", &format!("{} {} 1\n", inside.gid, outside.gid))
            }
            Step::PrivateMounts => Ok(seal::make_private()?),
            Step::Network => network::enter(self.network),
            Step::Hostname { name } => Ok(nix::unistd::sethostname(name)?),
            Step::Root { size } => {
                umask(Mode::from_raw_mode(0o022));
                *places = Some(Places::open(self.runtime.0, self.runtime.1, *size, self.report)?);
                Ok(())
            }
            Step::DropPrivileges { user } => privileges::drop_all(*user),
            Step::Seccomp => Ok(seccomp::install()?),
            Step::Exec { argv, env } => {
                sys::reset_signals(self.ignored);
                nix::sys::signal::SigSet::empty().thread_set_mask()?;
                let places = places.as_ref().ok_or_else(no_root)?;
                Err(command::execute(
                    argv,
                    env,
                    places.trampoline.as_fd(),
                    (self.writer, self.report),
                ))
            }
            step => self.apply_mount(places.as_ref().ok_or_else(no_root)?, step),
        }
    }

    /// Does one of the steps that work with the root.
    fn apply_mount(self, places: &Places, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Proc { protect } => proc::mount(places, *protect),
            Step::Dev { make_nodes, more, shm } => dev::mount(places, *make_nodes, (more, *shm)),
            Step::Sys { groups, network } => sysfs::mount(places, groups, *network),
            Step::Serve { owner } => serve::mount(places, self.server.ok_or_else(no_root)?, *owner),
            Step::Tmpfs { target, mode, size, owner } => {
                places.scratch(target, *mode, *owner, *size)
            }
            Step::Bind { source, target, writable } => places.bind(source, target, *writable),
            Step::Overlay { source, target, owner } => {
                private_copy::mount(places, source, target, *owner, self.user_namespace)
            }
            Step::Copy { source, target, mode, owner } => {
                copy::file(places, source, target, *mode, *owner)
            }
            Step::Directories { owner } => places::make(places, *owner),
            Step::Account { ids, user, group, home } => {
                names::account(places, *ids, (user, group), home.as_os_str().as_bytes())
            }
            Step::Hosts { name } => names::host(places, name),
            Step::Names { path } => names::of_host(places, Path::new(path)),
            Step::Terminal { owner } => {
                let none = || Failure::launch("the caller has none");
                terminal::open(places, self.terminal.ok_or_else(none)?, self.files, *owner)
            }
            Step::SealRoot => {
                if let Some(socket) = self.results {
                    for [first, second] in places.own_work()? {
                        descriptors::send(socket, &[first.as_fd(), second.as_fd()])?;
                    }
                }
                places.seal()
            }
            Step::EnterRoot => enter(places),
            Step::StandardFiles => self.files.install(places),
            Step::Session => Ok(nix::unistd::setsid().map(|_| ())?),
            Step::CloseFiles { kept } => close_files(places, self.writer, kept),
            Step::Workdir { path } => workdir(places, path),
            _ => Err(Failure::launch("not a step of the root")),
        }
    }
}

/// Joins the groups behind `entrances`, and lets this process see no group above its own.
fn enter_groups(entrances: &[OwnedFd]) -> Result<(), Failure> {
    for entrance in entrances {
        rustix::io::write(entrance, b"0")?;
    }
    Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)?)
}

fn no_root() -> Failure {
    Failure::launch("the plan has no root yet")
}

/// Closes every descriptor but standard input, output and error, the trampoline, the pipe for the
/// report, and those that the job keeps. From here on, [`Places`] has nothing else that is open.
fn close_files(places: &Places, writer: BorrowedFd<'_>, kept: &[RawFd]) -> Result<(), Failure> {
    let own = [writer, places.trampoline.as_fd()].map(|fd| fd.as_raw_fd());
    let mut kept: Vec<_> = own.iter().chain(kept).map(|fd| fd.unsigned_abs()).collect();
    kept.sort_unstable();
    // The last range is up to the largest number, the others up to one that stays.
    let ends = kept.iter().map(|fd| fd - 1).chain([u32::MAX]);
    for (first, last) in [3].into_iter().chain(kept.iter().map(|fd| fd + 1)).zip(ends) {
        match if first <= last { sys::close_range(first, last) } else { Ok(()) } {
            Err(NixErrno::ENOSYS) => return close_listed(places, &kept),
            other => other?,
        }
    }
    Ok(())
}

/// As [`close_files`], before Linux 5.9: one by one.
fn close_listed(places: &Places, kept: &[u32]) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let list = openat(places.proc.get().ok_or(Errno::NOENT)?, "self/fd", flags, Mode::empty())?;
    let mut open = Vec::new();
    // The list is open itself and lists itself; it has no owner that would close it once more.
    for entry in Dir::read_from(list.as_fd())? {
        let number = entry?.file_name().to_string_lossy().parse::<u32>();
        open.extend(number.into_iter().filter(|fd| *fd > 2 && !kept.contains(fd)));
    }
    std::mem::forget(list);
    open.into_iter().filter_map(|fd| i32::try_from(fd).ok()).for_each(sys::close);
    Ok(())
}

fn write(path: &str, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(0);
        if errno == NixErrno::ENOENT as i32 {
            return Failure::launch(format!("{path} is missing: mount /proc on this host"));
        }
        Failure { kind: Kind::Launch, errno, detail: path.to_owned() }
    })
}

/// Makes the new root `/` and detaches the old one, as `pivot_root(2)` describes for `"."`.
///
/// Where the old root is the kernel's first one (an initramfs) or no mount at all (a chroot), it
/// cannot be exchanged. The new root is already over it there, so chroot(2) is what is left:
/// the old one has no name any more, and a job has no capability to leave a chroot with.
fn enter(places: &Places) -> Result<(), Failure> {
    fchdir(&places.root)?;
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH)?,
        Err(Errno::INVAL) => chroot(".")?,
        Err(errno) => return Err(errno.into()),
    }
    Ok(fchdir(&places.root)?)
}

/// Changes to `path`, walked inside the root: a link of `/proc` to an open directory of the host
/// leads nowhere.
fn workdir(places: &Places, path: &Path) -> Result<(), Failure> {
    let root = places.root.as_fd();
    let dir = beneath::open(root, path, Escape::Clamp, Create::Nothing).map_err(|errno| {
        if errno != Errno::NOENT {
            return errno.into();
        }
        Failure::launch(
            "does not exist in the job; choose a directory of the runtime or below /work",
        )
    })?;
    if FileType::from_raw_mode(fstat(&dir)?.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR.into());
    }
    Ok(fchdir(&dir)?)
}
