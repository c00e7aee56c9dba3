//! The runtime's read-only mounts.
//!
//! A read-only bind mount does not restrict sockets and FIFOs: a process that listens at a socket in the runtime can send its job
//! the host's root directory. So the files of a runtime that others can change are mounted by overlays, whose sockets and
//! FIFOs are their own since Linux 4.19. For the launcher's and root's runtimes a bind mount is faster.

use super::{failure::Failure, layer, mounts::RootFs};
use crate::sandbox::plan::step::Origin;
use nix::errno::Errno as NixErrno;
use rustix::fs::{FileType, fstat};
use std::path::Path;

/// Mounts `path` of the runtime read-only on `target`: by an overlay if `of_others` is the reason why other users can change
/// the runtime, else by a bind mount, and only if the launcher has `checked` its device and inode.
///
/// The launcher checks owners because in a user namespace all other users have the same ID.
pub(crate) fn mount(
    rootfs: &RootFs,
    path: &Path,
    target: &Path,
    (of_others, checked): (Option<&str>, &[(u64, u64)]),
) -> Result<(), Failure> {
    let source = rootfs.open_origin(&Origin::Runtime(path.into()))?;
    let stat = fstat(&source)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if rootfs.served.get().is_none() {
        match (of_others, kind) {
            (Some(reason), FileType::Directory) => {
                let point = rootfs.target(target, false)?;
                return layer::cover(rootfs.base(), source, &point)
                    .map_err(|failure| explain(&failure, reason));
            }
            (Some(_), FileType::RegularFile) => {}
            (None, _) if checked.contains(&(stat.st_dev, stat.st_ino)) => {}
            _ => return Err(Failure::launch("it was replaced; try again")),
        }
    }
    rootfs.bind_open((&source, kind == FileType::Directory), target, false)
}

/// The failure of an overlay of a runtime that others can change, for this `reason`.
fn explain(failure: &Failure, reason: &str) -> Failure {
    let errno = NixErrno::from_raw(failure.errno);
    Failure::launch(format!(
        "{reason}, whose sockets would lead out of the job, and no overlay keeps them out here ({}{errno}); \
         copy or install it into your own store",
        failure.detail,
    ))
}
