//! A private view of a current directory that cannot be the lower layer of an overlay: because its file system cannot, or,
//! for ordinary users, because it has mounts below it or the kernel is older than Linux 5.11.
//!
//! The directory itself is never mounted: opening a socket or a FIFO of the host, even through
//! a read-only mount, connects to processes of the host. The view is a tree of new directories, with
//! regular files mounted one by one, read-only, and with new links, FIFOs and sockets. Subdirectories
//! without mounts are overlaid.

use super::{
    failure::Failure,
    mount_calls::{self, here},
    mounts::RootFs,
    overlay, seal,
};
use crate::fs::beneath::POINT;
use crate::sandbox::{
    plan::{host::is_kernel_view, job::Ids},
    sys::{NODEV, NOSUID, RDONLY},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, RawMode, fstat, mkdirat, mknodat, openat, readlinkat,
        symlinkat, unlinkat,
    },
    io::Errno,
    process::fchdir,
};
use std::{
    ffi::{CStr, OsStr},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// Mount point of the directory in the root while its view is made.
const SOURCE: &str = ".current-directory";

/// Maximum number of entries shown one by one.
const MOST: usize = 4096;

/// Maximum depth: each directory on the path keeps four descriptors open.
const DEEPEST: usize = 100;

/// Parameters of one view.
struct View<'a> {
    rootfs: &'a RootFs,
    owner: Ids,
    user_namespace: bool,
    /// Number of entries left before the limit.
    left: usize,
}

/// Mounts a private view of `source` on `target`. Directories below it are overlaid if `overlays`.
pub(crate) fn mount(
    rootfs: &RootFs,
    source: &OwnedFd,
    target: &OwnedFd,
    owner: Ids,
    (user_namespace, overlays): (bool, bool),
) -> Result<(), Failure> {
    let point = mount_calls::make_directory(&rootfs.root, SOURCE, 0o700)?;
    // With the mounts below it: in a user namespace the kernel refuses to uncover what is under them.
    // Clones of its parts inherit its flags.
    let tree = mount_calls::clone_tree(source.as_fd(), true)?;
    seal::attach_sealed(&rootfs.proc, &tree, here(&point), RDONLY | NOSUID | NODEV, true)?;
    let mut view = View { rootfs, owner, user_namespace, left: MOST };
    let work = view.cover(target, 0o755)?;
    rootfs.add_own(work.as_fd())?;
    view.fill(&tree, list(&tree)?, &work, overlays, 0)?;
    mount_calls::uncover(&rootfs.root, SOURCE)?;
    unlinkat(&rootfs.root, SOURCE, AtFlags::REMOVEDIR)?;
    Ok(fchdir(&rootfs.cwd)?)
}

fn list(dir: &OwnedFd) -> Result<Dir, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Dir::new(openat(dir, ".", flags, Mode::empty())?)
}

impl View<'_> {
    /// Mounts an empty directory over `target`, also over the remains of a failed overlay.
    fn cover(&self, target: &OwnedFd, mode: RawMode) -> Result<OwnedFd, Errno> {
        let tmpfs = mount_calls::tmpfs(mode, Some(self.owner), self.rootfs.size, NOSUID | NODEV)?;
        mount_calls::attach(&tmpfs, here(target))?;
        Ok(tmpfs)
    }

    /// Shows the entries of `from`, read from `list`, in the new directory `to`.
    fn fill(
        &mut self,
        from: &OwnedFd,
        list: Dir,
        to: &OwnedFd,
        overlays: bool,
        depth: usize,
    ) -> Result<(), Failure> {
        for entry in list {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.left = self.left.checked_sub(1).filter(|_| depth < DEEPEST).ok_or_else(|| {
                Failure::launch(format!(
                    ", and it has more than {MOST} entries or {DEEPEST} levels to be copied one \
                     by one"
                ))
            })?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let look = openat(from, name, flags, Mode::empty()).and_then(|found| {
                Ok((fstat(&found)?.st_mode, is_kernel_view(found.as_fd())?, found))
            });
            match look {
                Ok((mode, false, found)) => self.show(&found, mode, (to, name), overlays, depth)?,
                Err(Errno::NOENT) => {} // gone since
                // A kernel file system, whose magic links leave every root; or a directory that
                // this user cannot read, such as a FUSE file system without its server.
                _ => mkdirat(to, name, Mode::empty())?,
            }
        }
        Ok(())
    }

    /// Shows the entry `found`, of this mode, as `name` in `to`.
    fn show(
        &mut self,
        found: &OwnedFd,
        mode: RawMode,
        (to, name): (&OwnedFd, &CStr),
        overlays: bool,
        depth: usize,
    ) -> Result<(), Failure> {
        let kind = FileType::from_raw_mode(mode);
        let bits = Mode::from_raw_mode(mode & 0o777);
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::from_raw_mode(0o755))?;
                return self.directory(found, (to, name), mode & 0o1777, overlays, depth);
            }
            FileType::RegularFile => {
                mknodat(to, name, kind, bits | Mode::from_raw_mode(POINT), 0)?;
                let file = mount_calls::clone_tree(found.as_fd(), false)?;
                mount_calls::attach(
                    &file,
                    (to.as_fd(), Path::new(OsStr::from_bytes(name.to_bytes()))),
                )?;
            }
            FileType::Symlink => symlinkat(readlinkat(found, "", Vec::new())?, to, name)?,
            // Not connected to anything, as in an overlay.
            FileType::Fifo | FileType::Socket => mknodat(to, name, kind, bits, 0)?,
            // Devices are omitted: nodev forbids opening them.
            _ => {}
        }
        Ok(())
    }

    /// Shows the directory `found` as the new directory `name` in `to`.
    fn directory(
        &mut self,
        found: &OwnedFd,
        (to, name): (&OwnedFd, &CStr),
        mode: RawMode,
        overlays: bool,
        depth: usize,
    ) -> Result<(), Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = openat(to, name, flags, Mode::empty())?;
        let list = match list(found) {
            // An unreadable directory is not shown as an empty one.
            Err(Errno::ACCESS) => return Ok(mount_calls::set_owner(new.as_fd(), 0, self.owner)?),
            list => list?,
        };
        let tree = if overlays { mount_calls::clone_tree(found.as_fd(), false).ok() } else { None };
        if let Some(tree) = tree {
            let (rootfs, owner) = (self.rootfs, self.owner);
            let stacked = overlay::stack(rootfs, &tree, &new, mode, owner, self.user_namespace);
            let layer = if let Ok(upper) = stacked {
                upper
            } else {
                let over = self.cover(&new, mode)?;
                self.fill(found, list, &over, false, depth + 1)?;
                over
            };
            rootfs.add_part_of_work(new, layer);
            return Ok(());
        }
        mount_calls::set_owner(new.as_fd(), mode, self.owner)?;
        self.fill(found, list, &new, overlays, depth + 1)
    }
}
