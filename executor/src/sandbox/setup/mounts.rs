//! The job's root file system while it is built, by the mount API of Linux 5.2: it needs no directory of
//! the host, and files that steps name by descriptor cannot be replaced by others meanwhile.

use super::{
    failure::Failure,
    layer::{self, Base, Layers},
    mount_calls::{self, attach, clone_at, clone_tree, here, set_owner, tmpfs},
    seal, trampoline,
};
use crate::env::weaken;
use crate::fs::beneath::{self, Create, Escape};
use crate::fs::directory;
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

/// Mount point in the root of a runtime served by FUSE, until all of its mounts are made.
pub(super) const SERVED: &str = ".runtime";

/// Maximum number of directories of `/work` with a layer of their own: as many descriptors as fit into the socket's
/// buffer, since they are sent before the launcher reads.
const PARTS: usize = 100;

/// A root file system under construction, with the descriptors that the steps use. They are opened in
/// the new mount namespace: only mounts of the same namespace can be cloned.
pub(crate) struct RootFs {
    /// The runtime's directory.
    pub runtime: OwnedFd,
    /// The root of its FUSE mount, if its files are served.
    pub served: OnceCell<OwnedFd>,
    /// The caller's current directory.
    pub cwd: OwnedFd,
    /// The job's root.
    pub root: OwnedFd,
    /// The [`trampoline`], which executes the job's program.
    pub trampoline: OwnedFd,
    /// The job's `/proc`, once it is mounted.
    pub proc: OnceCell<OwnedFd>,
    /// The job's `/dev/pts`, once it is mounted.
    pub pts: OnceCell<OwnedFd>,
    /// The file systems that only the job has (`st_dev`): mount points are made on these alone.
    own: RefCell<Vec<u64>>,
    /// The upper layer of `/work`, which contains only the job's changes, if `/work` is an overlay.
    pub results: OnceCell<OwnedFd>,
    /// Directories of `/work` with a layer of their own, and those layers, which contain the job's changes.
    parts: RefCell<Vec<[OwnedFd; 2]>>,
    /// Maximum size of each tmpfs, in bytes.
    pub size: Option<u64>,
    /// Layers with the mount points that the runtime lacks.
    pub layers: Layers,
    /// Names of files in the root that are unlinked when it is sealed.
    temporary: RefCell<Vec<String>>,
}

impl RootFs {
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

    /// Opens the file or directory `origin`.
    pub(crate) fn open_origin(&self, origin: &Origin) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match origin {
            Origin::Runtime(path) => {
                let runtime = self.served.get().unwrap_or(&self.runtime);
                beneath::open(runtime.as_fd(), path, Escape::Refuse, Create::Nothing)
            }
            Origin::Host(path) | Origin::CreatedDir(path, _) => {
                openat(&self.cwd, path, flags, Mode::empty())
            }
            Origin::Cwd => openat(&self.cwd, ".", flags, Mode::empty()),
        }
    }

    /// Opens the mount point `target` in the root, a file or a directory, and makes it if it is missing.
    pub(crate) fn target(&self, target: &Path, file: bool) -> Result<OwnedFd, Failure> {
        match self.new_target(target, file)? {
            Some(name) => {
                Ok(openat(&self.root, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
            }
            None => self.walked_target(target, file),
        }
    }

    /// As [`RootFs::target`] of a path that may already exist.
    fn walked_target(&self, target: &Path, file: bool) -> Result<OwnedFd, Failure> {
        let refuse = |rule| Failure::launch(format!("the mount point {} {rule}", target.display()));
        let found = match self.own_target(target, file) {
            Err(Errno::ROFS) => {
                return match layer::make(self.base(), target, file) {
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
            Err(Errno::LOOP) => return Err(refuse("is a loop of symlinks")),
            other => other?,
        };
        // A symlink of the runtime may lead there. Later steps read /proc, so nothing may cover it.
        if self.is_proc(found.as_fd())? {
            return Err(refuse("is a link into /proc"));
        }
        Ok(found)
    }

    /// What overlays with a layer for mount points are made of.
    pub(crate) fn base(&self) -> Base<'_> {
        let (root, proc, cwd) = (&self.root, &self.proc, &self.cwd);
        Base { root, proc, cwd, layers: &self.layers }
    }

    /// Whether `file` is in the job's `/proc`.
    pub(crate) fn is_proc(&self, file: BorrowedFd<'_>) -> Result<bool, Errno> {
        let device = self.proc.get().map(fstat).transpose()?.map(|stat| stat.st_dev);
        Ok(device == Some(fstat(file)?.st_dev))
    }

    /// Opens `target`, a file or a directory, and makes it if it is missing and its parent is on a file
    /// system that only the job has.
    pub(crate) fn own_target(&self, target: &Path, file: bool) -> Result<OwnedFd, Errno> {
        let own = self.own.borrow();
        let create = if file { Create::File(&own) } else { Create::Directory(&own) };
        beneath::open(self.root.as_fd(), target, Escape::Clamp, create)
    }

    /// Makes the mount point `target` if it is a new directory in the root itself, as most are, and returns its name.
    fn new_target<'a>(&self, target: &'a Path, file: bool) -> Result<Option<&'a Path>, Errno> {
        let name = target.strip_prefix("/").unwrap_or(target);
        if file || name.components().count() != 1 {
            return Ok(None);
        }
        match mkdirat(&self.root, name, Mode::from_raw_mode(0o755)) {
            // No other process can replace it.
            Ok(()) => Ok(Some(name)),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Mounts an empty writable directory on `target`, with this mode and owner, nosuid and nodev.
    ///
    /// Where possible it is a directory of the root's own tmpfs, so that one limit covers everything
    /// that a job writes to memory. Being a mount, it stays writable when the root is sealed.
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
        if size.is_some() || !self.is_unused(target.as_fd())? {
            let tmpfs = tmpfs(mode, Some(owner), size.or(self.size), NOSUID | NODEV)?;
            attach(&tmpfs, here(&target))?;
            return Ok(self.add_own(tmpfs.as_fd())?);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        set_owner(openat(&target, ".", flags, Mode::empty())?.as_fd(), mode, owner)?;
        // A clone has the flags of the root, nosuid and nodev.
        Ok(attach(&clone_tree(target.as_fd(), false)?, here(&target))?)
    }

    /// As [`RootFs::scratch`], if `target` is a new directory in the root; returns whether it is.
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

    /// Opens the directory that will contain what the job creates and changes in `/work`, and `/work` itself; then the
    /// same for its parts. Empty if there are too many parts.
    pub(crate) fn open_work(&self) -> Result<Vec<[OwnedFd; 2]>, Errno> {
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

    /// Registers that `layer` contains the job's changes in the directory `point` of `/work`.
    pub(crate) fn add_part_of_work(&self, point: OwnedFd, layer: OwnedFd) {
        let mut parts = self.parts.borrow_mut();
        if parts.len() < PARTS {
            parts.push([point, layer]);
        }
    }

    /// Registers the name of a temporary file in the root, which is unlinked before the job starts.
    pub(crate) fn temporary_name(&self, name: &str) -> String {
        let name = format!(".{name}");
        self.temporary.borrow_mut().push(name.clone());
        name
    }

    /// Makes the root read-only.
    pub(crate) fn seal(&self) -> Result<(), Failure> {
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

    /// Whether `dir` is on a file system that only the job has.
    pub(crate) fn is_own(&self, dir: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(self.own.borrow().contains(&fstat(dir)?.st_dev))
    }

    /// Registers the file system of `mount` as one that only the job has.
    pub(crate) fn add_own(&self, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        self.own.borrow_mut().push(fstat(mount)?.st_dev);
        Ok(())
    }

    /// Whether `dir` is an empty directory of the root's own tmpfs.
    pub(crate) fn is_unused(&self, dir: BorrowedFd<'_>) -> Result<bool, Errno> {
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
        let source = self.open_origin(origin)?;
        let stat = fstat(&source)?;
        // A descriptor of the launcher would not do: its mount is of another namespace, and cannot be cloned.
        if let Origin::CreatedDir(_, identity) = origin
            && directory::identity(&stat) != *identity
            && !weaken::without("tmp")
        {
            return Err(Failure::launch("another user has put something else there"));
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        self.bind_open((&source, kind == FileType::Directory), target, writable)
    }

    /// As [`RootFs::bind`] of the open `source`, a `directory` or not.
    pub(crate) fn bind_open(
        &self,
        (source, directory): (&OwnedFd, bool),
        target: &Path,
        writable: bool,
    ) -> Result<(), Failure> {
        let writable = writable || weaken::without("read-only");
        let flags = NOSUID | NODEV | if writable { 0 } else { RDONLY };
        // With the mounts below it: in a user namespace the kernel refuses to uncover what is under them.
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

/// Reopens the file `fd` through the job's `/proc`.
pub(crate) fn open_again(
    rootfs: &RootFs,
    fd: BorrowedFd<'_>,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let proc = rootfs.proc.get().ok_or(Errno::NOENT)?;
    let path = format!("self/fd/{}", fd.as_raw_fd());
    openat(proc, path, flags | OFlags::CLOEXEC, Mode::empty())
}
