//! The mounts of a job's root, by the mount API of Linux 5.2: no path of the host is needed to
//! build them on, and what a step names by descriptor cannot be exchanged under it.

use super::{
    failure::Failure,
    layer::{self, Base, Layers},
    mount_calls::{self, attach, clone_at, clone_tree, here, set_owner, tmpfs},
    seal, trampoline,
};
use crate::env::weaken;
use crate::fs::beneath::{self, Create, Escape};
use crate::sandbox::{
    plan::{job::Ids, step::Origin},
    sys::{NODEV, NOSUID, RDONLY},
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, mkdirat, open, openat,
        unlinkat,
    },
    io::Errno,
    process::fchdir,
};
use std::{
    cell::{OnceCell, RefCell},
    path::Path,
};

/// Where in the root a runtime that is served is mounted, until all of its mounts are made.
pub(super) const SERVED: &str = ".runtime";

/// How many parts of `/work` are kept apart, and sent to the launcher before it reads: a socket has room
/// for more.
const PARTS: usize = 100;

/// The descriptors that all steps work with, opened in the new mount namespace: mounts can only
/// be cloned from descriptors of the same namespace.
pub(crate) struct Places {
    /// The runtime's directory.
    pub runtime: OwnedFd,
    /// The same, if its files are served.
    pub served: OnceCell<OwnedFd>,
    /// The caller's current directory.
    pub cwd: OwnedFd,
    /// The job's root.
    pub root: OwnedFd,
    /// The program that executes the job's.
    pub trampoline: OwnedFd,
    /// The job's `/proc`, as soon as there is one.
    pub proc: OnceCell<OwnedFd>,
    /// The job's terminals, as soon as there are any.
    pub pts: OnceCell<OwnedFd>,
    /// The file systems of the job alone (`st_dev`): mount points are made on these only.
    own: RefCell<Vec<u64>>,
    /// The layer of `/work` that has the job's changes alone, if there are layers.
    pub results: OnceCell<OwnedFd>,
    /// Directories of `/work` that something else is mounted on, each with what has the job's changes there.
    parts: RefCell<Vec<[OwnedFd; 2]>>,
    /// How much each of its places in memory may hold, in bytes.
    pub size: Option<u64>,
    /// What has the mount points that the runtime does not have.
    layers: Layers,
    /// Names of files in the root that go when it is sealed.
    temporary: RefCell<Vec<String>>,
}

impl Places {
    /// Opens the directories and mounts an empty tmpfs over `/`, nosuid; [`super::dev`] makes it nodev.
    ///
    /// A mount over `/` needs no directory of the host, and changes nothing for this process: its
    /// own `/` stays the directory below. `runtime` is opened again by its path and must be the
    /// directory that was checked, `identity`.
    pub(crate) fn open(
        runtime: &Path,
        identity: (u64, u64),
        size: Option<u64>,
        report: RawFd,
    ) -> Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let refuse = |what| {
            move |errno| Failure::launch(format!("{what} directory cannot be opened: {errno}"))
        };
        let cwd = open(".", flags, Mode::empty()).map_err(refuse("the current"))?;
        let runtime = open(runtime, flags, Mode::empty()).map_err(refuse("the runtime's"))?;
        if mount_calls::identity(runtime.as_fd())? != identity {
            return Err(Failure::launch("the runtime's directory was replaced; try again"));
        }
        let root = tmpfs(0o755, None, size, NOSUID)?;
        let slash = open("/", flags, Mode::empty())?;
        attach(&root, here(&slash))?;
        let own = RefCell::new(vec![fstat(&root)?.st_dev]);
        let trampoline = trampoline::prepare(&root, report)?;
        let (proc, pts, results) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Ok(Self {
            runtime,
            served: OnceCell::new(),
            cwd,
            root,
            trampoline,
            proc,
            pts,
            results,
            own,
            size,
            parts: RefCell::default(),
            layers: Layers::default(),
            temporary: RefCell::default(),
        })
    }

    /// Opens what `origin` names.
    pub(crate) fn find(&self, origin: &Origin) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match origin {
            Origin::Runtime(path) => {
                let runtime = self.served.get().unwrap_or(&self.runtime);
                beneath::open(runtime.as_fd(), path, Escape::Refuse, Create::Nothing)
            }
            Origin::Host(path) => openat(&self.cwd, path, flags, Mode::empty()),
            Origin::Cwd => openat(&self.cwd, ".", flags, Mode::empty()),
        }
    }

    /// Opens the mount point `target` inside the root and makes it if it is missing.
    pub(crate) fn target(&self, target: &Path, file: bool) -> Result<OwnedFd, Failure> {
        match self.new_target(target, file)? {
            Some(name) => {
                Ok(openat(&self.root, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
            }
            None => self.walked_target(target, file),
        }
    }

    /// As [`Places::target`], wherever it is.
    fn walked_target(&self, target: &Path, file: bool) -> Result<OwnedFd, Failure> {
        let refuse = |rule| Failure::launch(format!("the mount point {} {rule}", target.display()));
        let found = match self.own_target(target, file) {
            Err(Errno::ROFS) => {
                let (root, proc, cwd) = (&self.root, &self.proc, &self.cwd);
                let base = Base { root, proc, cwd, layers: &self.layers };
                return match layer::make(base, target, file) {
                    Err(failure) if failure.errno == Errno::ROFS.raw_os_error() => Err(refuse(
                        "does not exist, and nothing is made in a writable directory of the host",
                    )),
                    Err(failure) if layer::is_refused(&failure) => Err(refuse(
                        "does not exist, and this kernel cannot add it to a read-only directory",
                    )),
                    made => made,
                };
            }
            Err(Errno::EXIST) => return Err(refuse("is a dangling symlink")),
            Err(Errno::NOTDIR) => return Err(refuse("is below a file")),
            Err(Errno::LOOP) => return Err(refuse("is a loop of links")),
            other => other?,
        };
        // A link of the runtime may lead there. Nothing may cover what later steps read in it.
        if self.is_proc(found.as_fd())? {
            return Err(refuse("is a link into /proc"));
        }
        Ok(found)
    }

    /// Whether `file` is in the job's `/proc`.
    pub(crate) fn is_proc(&self, file: BorrowedFd<'_>) -> Result<bool, Errno> {
        let device = self.proc.get().map(fstat).transpose()?.map(|stat| stat.st_dev);
        Ok(device == Some(fstat(file)?.st_dev))
    }

    /// Opens `target` and makes it, a file or a directory, if it is missing where its place is the job's
    /// own.
    pub(crate) fn own_target(&self, target: &Path, file: bool) -> Result<OwnedFd, Errno> {
        let own = self.own.borrow();
        let create = if file { Create::File(&own) } else { Create::Directory(&own) };
        beneath::open(self.root.as_fd(), target, Escape::Clamp, create)
    }

    /// The name of the mount point `target` if it is a new directory in the root, as most are.
    fn new_target<'a>(&self, target: &'a Path, file: bool) -> Result<Option<&'a Path>, Errno> {
        let name = target.strip_prefix("/").unwrap_or(target);
        if file || name.components().count() != 1 {
            return Ok(None);
        }
        match mkdirat(&self.root, name, Mode::from_raw_mode(0o755)) {
            // Nobody else can put anything in its place.
            Ok(()) => Ok(Some(name)),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Mounts an empty directory on `target`, with this mode and owner, nosuid and nodev.
    ///
    /// It is a directory of the root's own tmpfs where it can be, so that one limit holds for all
    /// that a job writes to memory. What is mounted stays writable when the root is sealed.
    pub(crate) fn scratch(
        &self,
        target: &Path,
        mode: u32,
        owner: Ids,
        size: Option<u64>,
    ) -> Result<(), Failure> {
        if size.is_none() && self.new_scratch(target, mode, owner)? {
            return Ok(());
        }
        let target = self.target(target, false)?;
        if size.is_some() || !self.is_free(target.as_fd())? {
            let tmpfs = tmpfs(mode, Some(owner), size.or(self.size), NOSUID | NODEV)?;
            attach(&tmpfs, here(&target))?;
            return Ok(self.owns(tmpfs.as_fd())?);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        set_owner(openat(&target, ".", flags, Mode::empty())?.as_fd(), mode, owner)?;
        // A clone has the flags of the root, nosuid and nodev.
        Ok(attach(&clone_tree(target.as_fd(), false)?, here(&target))?)
    }

    /// As [`Places::scratch`], if `target` is a new directory in the root. Whether it is.
    pub(crate) fn new_scratch(
        &self,
        target: &Path,
        mode: u32,
        owner: Ids,
    ) -> Result<bool, Failure> {
        let Some(name) = self.new_target(target, false)? else { return Ok(false) };
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        chownat(&self.root, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        chmodat(&self.root, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        let point = (self.root.as_fd(), name);
        // It has the flags of the root, nosuid and nodev.
        attach(&clone_at(point, false)?, point)?;
        Ok(true)
    }

    /// The directory that will have what the job makes and changes in its `/work`, and that itself; then the
    /// same of its parts. Empty if there are more parts than a message has room for.
    pub(crate) fn own_work(&self) -> Result<Vec<[OwnedFd; 2]>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let work = openat(&self.root, "work", flags, Mode::empty())?;
        let layer = self.results.get().unwrap_or(&work);
        let mut all = vec![[openat(layer, ".", flags, Mode::empty())?, work]];
        all.append(&mut self.parts.borrow_mut());
        if all.len() > PARTS {
            all.clear();
        }
        Ok(all)
    }

    /// Remembers that `layer` has the job's changes in the directory `point` of `/work`.
    pub(crate) fn part_of_work(&self, point: OwnedFd, layer: OwnedFd) {
        let mut parts = self.parts.borrow_mut();
        if parts.len() < PARTS {
            parts.push([point, layer]);
        }
    }

    /// A name for a file in the root, where no job will see it.
    pub(crate) fn temporary(&self, name: &str) -> String {
        let name = format!(".{name}");
        self.temporary.borrow_mut().push(name.clone());
        name
    }

    /// Makes the root read-only.
    pub(crate) fn seal(&self) -> Result<(), Failure> {
        self.layers.remove(&self.root, &self.cwd)?;
        if self.served.get().is_some() {
            mount_calls::uncover(&self.root, SERVED)?;
            unlinkat(&self.root, SERVED, AtFlags::REMOVEDIR)?;
            fchdir(&self.cwd)?;
        }
        for name in self.temporary.borrow().iter() {
            unlinkat(&self.root, name, AtFlags::empty())?;
        }
        seal::seal(&self.proc, self.root.as_fd(), NODEV | RDONLY, false)
    }

    /// Whether `dir` is on a file system of the job alone.
    pub(crate) fn is_own(&self, dir: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(self.own.borrow().contains(&fstat(dir)?.st_dev))
    }

    /// Remembers that the file system of `mount` is the job's alone.
    pub(crate) fn owns(&self, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        self.own.borrow_mut().push(fstat(mount)?.st_dev);
        Ok(())
    }

    /// Whether `dir` is an empty directory of the root's own tmpfs.
    pub(crate) fn is_free(&self, dir: BorrowedFd<'_>) -> Result<bool, Errno> {
        let (dir, root) = (fstat(dir)?, fstat(&self.root)?);
        // The size of a directory on tmpfs counts its entries, 20 for each and 40 for none.
        Ok(dir.st_dev == root.st_dev && dir.st_size <= 40)
    }

    /// Mounts the tree at `origin` on `target`, nosuid and nodev, and read-only unless `writable`.
    pub(crate) fn bind(
        &self,
        origin: &Origin,
        target: &Path,
        writable: bool,
    ) -> Result<(), Failure> {
        self.bind_found(&self.find(origin)?, target, writable)
    }

    /// As [`Places::bind`], with what is open as `source`.
    pub(crate) fn bind_found(
        &self,
        source: &OwnedFd,
        target: &Path,
        writable: bool,
    ) -> Result<(), Failure> {
        let directory = FileType::from_raw_mode(fstat(source)?.st_mode) == FileType::Directory;
        let writable = writable || weaken::without("read-only");
        let flags = NOSUID | NODEV | if writable { 0 } else { RDONLY };
        // With the mounts below it: the kernel refuses to uncover what is under them.
        let tree = clone_tree(source.as_fd(), true)?;
        let recursive = !weaken::without("recursive");
        let found;
        let point = if let Some(name) = self.new_target(target, !directory)? {
            (self.root.as_fd(), name)
        } else {
            found = self.walked_target(target, !directory)?;
            here(&found)
        };
        seal::attach_sealed(&self.proc, &tree, point, flags, recursive)
    }
}

/// Opens the file `fd` once more, by the job's `/proc`.
pub(crate) fn open_again(
    places: &Places,
    fd: BorrowedFd<'_>,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let proc = places.proc.get().ok_or(Errno::NOENT)?;
    let path = format!("self/fd/{}", fd.as_raw_fd());
    openat(proc, path, flags | OFlags::CLOEXEC, Mode::empty())
}
