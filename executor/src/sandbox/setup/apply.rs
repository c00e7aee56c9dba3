//! Application of a plan's steps, one after the other, in the child.

use super::{
    command, copy, dev, etc_files,
    failure::{Failure, Kind},
    fd_passing,
    mounts::RootFs,
    network, private_copy, privileges, proc, seal, seccomp, serve, source, standard_directories,
    standard_files::StandardFiles,
    sysfs, terminal,
};
use crate::fs::beneath::{self, Create, Escape};
use crate::sandbox::{
    plan::step::{Origin, Step},
    sys,
};
use nix::errno::Errno as NixErrno;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    fs::{Dir, FileType, Mode, OFlags, fstat, openat},
    io::Errno,
    mount::{UnmountFlags, unmount},
    process::{chroot, fchdir, pivot_root, umask},
};
use std::{fs, os::unix::ffi::OsStrExt, path::Path};

/// Inputs of the steps that the plan does not contain. The launcher owns all of them: while the child
/// shares its memory, the child must not drop any.
#[derive(Clone, Copy)]
pub(crate) struct Sandbox<'a> {
    /// The runtime's directory and its identity (device and inode).
    pub runtime: (&'a Path, (u64, u64)),
    /// [`Runtime::of_others`](crate::runtime::Runtime::of_others).
    pub of_others: Option<&'a str>,
    /// [`Runtime::checked`](crate::runtime::Runtime::checked).
    pub checked: &'a [(u64, u64)],
    /// Socket to send `/dev/fuse` over, if the runtime is served by FUSE.
    pub server: Option<BorrowedFd<'a>>,
    /// Whether there is a user namespace.
    pub user_namespace: bool,
    /// Signals that the job ignores, as its caller does.
    pub ignored: &'a [i32],
    /// Socket to receive the network namespace from; without one, the child makes it.
    pub network: Option<BorrowedFd<'a>>,
    /// Socket to send the private `/work` over, if its content is read afterwards.
    pub results: Option<BorrowedFd<'a>>,
    /// `cgroup.procs` of the job's control groups, if it was not started in them.
    pub entrances: &'a [OwnedFd],
    /// Its standard files.
    pub files: &'a StandardFiles,
    /// Settings of the job's own terminal, if it gets one.
    pub terminal: Option<&'a terminal::Settings>,
    /// The launcher's end of the report's pipe, to be closed in the child.
    pub reader: BorrowedFd<'a>,
    /// The child's end of the report's pipe.
    pub writer: BorrowedFd<'a>,
    /// The number of `writer` in the trampoline; not a descriptor that the job keeps.
    pub report: RawFd,
}

impl Sandbox<'_> {
    /// Applies one step. [`Step::Root`] sets `rootfs`.
    pub(crate) fn apply(self, step: &Step, rootfs: &mut Option<RootFs>) -> Result<(), Failure> {
        match step {
            Step::Limit(_) => enter_groups(self.entrances),
            // Made by the clone(2) that started this process, except for the network namespace.
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
                *rootfs = Some(RootFs::open(self.runtime.0, self.runtime.1, *size, self.report)?);
                Ok(())
            }
            Step::DropPrivileges { user } => privileges::drop_all(*user),
            Step::Seccomp => Ok(seccomp::install()?),
            Step::Exec { argv, env } => {
                sys::reset_signals(self.ignored);
                nix::sys::signal::SigSet::empty().thread_set_mask()?;
                let rootfs = rootfs.as_ref().ok_or_else(no_root)?;
                Err(command::execute(
                    argv,
                    env,
                    rootfs.trampoline.as_fd(),
                    (self.writer, self.report),
                ))
            }
            step => self.apply_mount(rootfs.as_ref().ok_or_else(no_root)?, step),
        }
    }

    /// Applies a step that works in the job's root.
    fn apply_mount(self, rootfs: &RootFs, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Proc { protect } => proc::mount(rootfs, *protect),
            Step::Dev { make_nodes, more, shm } => dev::mount(rootfs, *make_nodes, (more, *shm)),
            Step::Sys { groups, network } => sysfs::mount(rootfs, groups, *network),
            Step::Serve { owner } => serve::mount(rootfs, self.server.ok_or_else(no_root)?, *owner),
            Step::Tmpfs { target, mode, size, owner } => {
                rootfs.scratch(target, *mode, *owner, *size)
            }
            Step::Bind { source: Origin::Runtime(path), target, .. } => {
                source::mount(rootfs, path, target, (self.of_others, self.checked))
            }
            Step::Bind { source, target, writable } => rootfs.bind(source, target, *writable),
            Step::Overlay { source, target, owner } => {
                private_copy::mount(rootfs, source, target, *owner, self.user_namespace)
            }
            Step::Copy { source, target, mode, owner } => {
                copy::copy_file(rootfs, source, target, *mode, *owner)
            }
            Step::Directories { owner } => standard_directories::create(rootfs, *owner),
            Step::Account { ids, user, group, home } => {
                etc_files::show_accounts(rootfs, *ids, (user, group), home.as_os_str().as_bytes())
            }
            Step::Hosts { name } => etc_files::show_hosts(rootfs, name),
            Step::ResolverFile { path } => etc_files::show_host_file(rootfs, Path::new(path)),
            Step::Terminal { owner } => {
                let none = || Failure::launch("the caller has none");
                terminal::open(rootfs, self.terminal.ok_or_else(none)?, self.files, *owner)
            }
            Step::SealRoot => {
                if let Some(socket) = self.results {
                    for [first, second] in rootfs.open_work()? {
                        fd_passing::send(socket, &[first.as_fd(), second.as_fd()])?;
                    }
                }
                rootfs.seal()
            }
            Step::EnterRoot => enter(rootfs),
            Step::StandardFiles => self.files.install(rootfs),
            Step::Session => Ok(nix::unistd::setsid().map(|_| ())?),
            Step::CloseFiles { kept } => close_files(rootfs, self.writer, kept),
            Step::Workdir { path } => workdir(rootfs, path),
            _ => Err(Failure::launch("not a step of the root")),
        }
    }
}

/// Joins the control groups of `entrances` and makes them the root of a new cgroup namespace.
fn enter_groups(entrances: &[OwnedFd]) -> Result<(), Failure> {
    for entrance in entrances {
        rustix::io::write(entrance, b"0")?;
    }
    Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)?)
}

fn no_root() -> Failure {
    Failure::launch("the plan has no root yet")
}

/// Closes every descriptor except standard input, output and error, the trampoline, the pipe for the
/// report, and those that the job keeps. Afterwards [`RootFs`] has closed descriptors.
fn close_files(rootfs: &RootFs, writer: BorrowedFd<'_>, kept: &[RawFd]) -> Result<(), Failure> {
    let own = [writer, rootfs.trampoline.as_fd()].map(|fd| fd.as_raw_fd());
    let mut kept: Vec<_> = own.iter().chain(kept).map(|fd| fd.unsigned_abs()).collect();
    kept.sort_unstable();
    // The last range is up to the largest number, the others up to one that stays.
    let ends = kept.iter().map(|fd| fd - 1).chain([u32::MAX]);
    for (first, last) in [3].into_iter().chain(kept.iter().map(|fd| fd + 1)).zip(ends) {
        match if first <= last { sys::close_range(first, last) } else { Ok(()) } {
            Err(NixErrno::ENOSYS) => return close_listed(rootfs, &kept),
            other => other?,
        }
    }
    Ok(())
}

/// [`close_files`] before Linux 5.9, one by one.
fn close_listed(rootfs: &RootFs, kept: &[u32]) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let list = openat(rootfs.proc.get().ok_or(Errno::NOENT)?, "self/fd", flags, Mode::empty())?;
    let mut open = Vec::new();
    // The list contains its own descriptor; forgotten below, so that it is not closed twice.
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
/// An initramfs and a directory that is not a mount point (a chroot) cannot be pivoted: `EINVAL`. The
/// new root is already mounted over it, so chroot(2) suffices: the old root has no path any more, and
/// a job has no capability that lets it leave a chroot.
fn enter(rootfs: &RootFs) -> Result<(), Failure> {
    fchdir(&rootfs.root)?;
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH)?,
        Err(Errno::INVAL) => chroot(".")?,
        Err(errno) => return Err(errno.into()),
    }
    Ok(fchdir(&rootfs.root)?)
}

/// Changes to `path`, walked inside the root: a link of `/proc` to an open directory of the host
/// resolves to nothing.
fn workdir(rootfs: &RootFs, path: &Path) -> Result<(), Failure> {
    let root = rootfs.root.as_fd();
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
