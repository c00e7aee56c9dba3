//! A private view of a current directory that cannot be overlaid: by a user where something is
//! mounted below it or before Linux 5.11, and on file systems that do not go into overlays.
//!
//! The directory itself is never shown: whoever opens a socket or a FIFO of the host, even through
//! a read-only mount, talks to the host. What is shown is a tree of new directories, with the
//! regular files mounted one by one, read-only, and links, FIFOs and sockets made anew. Below
//! where something is mounted, directories without mounts are overlaid.

use super::{
    failure::Failure,
    mount_calls::{self, here},
    mounts::Places,
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

/// Where the directory is mounted in the root, while its view is made.
const SOURCE: &str = ".current-directory";

/// Most entries that are shown one by one.
const MOST: usize = 4096;

/// How deep these may be: a directory on the way takes four descriptors.
const DEEPEST: usize = 100;

/// What all of a view have in common.
struct View<'a> {
    places: &'a Places,
    owner: Ids,
    user_namespace: bool,
    /// How many entries may still come.
    left: usize,
}

/// Mounts a private view of `source` on `target`. Directories below it are overlaid if `overlays`.
pub(crate) fn mount(
    places: &Places,
    source: &OwnedFd,
    target: &OwnedFd,
    owner: Ids,
    (user_namespace, overlays): (bool, bool),
) -> Result<(), Failure> {
    let point = mount_calls::directory(&places.root, SOURCE, 0o700)?;
    // With the mounts below it: the kernel refuses to uncover what is under them. What is cloned
    // of it has its flags.
    let tree = mount_calls::clone_tree(source.as_fd(), true)?;
    seal::attach_sealed(&places.proc, &tree, here(&point), RDONLY | NOSUID | NODEV, true)?;
    let mut view = View { places, owner, user_namespace, left: MOST };
    let work = view.cover(target, 0o755)?;
    places.owns(work.as_fd())?;
    view.fill(&tree, list(&tree)?, &work, overlays, 0)?;
    mount_calls::uncover(&places.root, SOURCE)?;
    unlinkat(&places.root, SOURCE, AtFlags::REMOVEDIR)?;
    Ok(fchdir(&places.cwd)?)
}

fn list(dir: &OwnedFd) -> Result<Dir, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Dir::new(openat(dir, ".", flags, Mode::empty())?)
}

impl View<'_> {
    /// Mounts an empty directory over `target`, whatever is left there of an attempt to overlay it.
    fn cover(&self, target: &OwnedFd, mode: RawMode) -> Result<OwnedFd, Errno> {
        let tmpfs = mount_calls::tmpfs(mode, Some(self.owner), self.places.size, NOSUID | NODEV)?;
        mount_calls::attach(&tmpfs, here(target))?;
        Ok(tmpfs)
    }

    /// Shows the entries of `from`, which are in `list`, in the new directory `to`.
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
                // A view of the kernel, whose links lead out of every root; or nothing that this
                // user could look at, perhaps a file system without its server.
                _ => mkdirat(to, name, Mode::empty())?,
            }
        }
        Ok(())
    }

    /// Shows `found`, of this mode, as `name` in `to`.
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
            // Nobody is at the other end, as in an overlay.
            FileType::Fifo | FileType::Socket => mknodat(to, name, kind, bits, 0)?,
            // No device could be opened.
            _ => {}
        }
        Ok(())
    }

    /// Shows the directory `found` in the new one `name` in `to`.
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
            // What is hidden is not shown as an empty directory.
            Err(Errno::ACCESS) => return Ok(mount_calls::set_owner(new.as_fd(), 0, self.owner)?),
            list => list?,
        };
        let tree = if overlays { mount_calls::clone_tree(found.as_fd(), false).ok() } else { None };
        if let Some(tree) = tree {
            let (places, owner) = (self.places, self.owner);
            let stacked = overlay::stack(places, &tree, &new, mode, owner, self.user_namespace);
            let layer = if let Ok(upper) = stacked {
                upper
            } else {
                let over = self.cover(&new, mode)?;
                self.fill(found, list, &over, false, depth + 1)?;
                over
            };
            places.part_of_work(new, layer);
            return Ok(());
        }
        mount_calls::set_owner(new.as_fd(), mode, self.owner)?;
        self.fill(found, list, &new, overlays, depth + 1)
    }
}
