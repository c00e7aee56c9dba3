//! Private copies of directories (`/work`, `--upload`, writable parts of a runtime): by an overlay, or if
//! that is refused for the current directory, by [`mirror`].

use super::{failure::Failure, mirror, mount_calls, mounts::RootFs, overlay};
use crate::env::weaken;
use crate::sandbox::plan::{job::Ids, step::Origin};
use nix::errno::Errno as NixErrno;
use rustix::{fd::AsFd, fs::fstat};
use std::path::Path;

/// Mounts a private copy of `origin` on `target`: an overlay with a tmpfs as its upper layer.
///
/// It does not connect the job to processes of the host: since Linux 4.19 FIFOs and sockets in an overlay are
/// the overlay's own.
pub(crate) fn mount(
    rootfs: &RootFs,
    origin: &Origin,
    target: &Path,
    owner: Ids,
    user_namespace: bool,
) -> Result<(), Failure> {
    let cwd = *origin == Origin::Cwd;
    if weaken::without(if cwd { "private-copy" } else { "private-upload" }) {
        return rootfs.bind(origin, target, false);
    }
    let target = rootfs.target(target, false)?;
    let source = rootfs.open_origin(origin)?;
    let mode = if cwd { 0o755 } else { fstat(&source)?.st_mode & 0o1777 };
    // Without the mounts below it: an overlay shows one file system. In a user namespace the kernel
    // refuses this where something is mounted below, since it would uncover the files under it.
    let tree = mount_calls::clone_tree(source.as_fd(), false);
    let overlays = tree.is_err();
    let done = tree
        .map_err(Failure::from)
        .and_then(|tree| overlay::stack(rootfs, &tree, &target, mode, owner, user_namespace));
    let refused = match done {
        Ok(upper) if cwd => {
            rootfs.results.get_or_init(|| upper);
            return Ok(());
        }
        Ok(_) => return Ok(()),
        Err(refused) => refused,
    };
    let mirrored = if cwd {
        mirror::mount(rootfs, &source, &target, owner, (user_namespace, overlays))
    } else {
        Err(Failure::launch(""))
    };
    mirrored.map_err(|failure| explain(refused, &failure.detail, origin, user_namespace))
}

/// The cause of an error number of an overlay mount, the failure of the fallback (`more`), and a remedy.
fn explain(failure: Failure, more: &str, origin: &Origin, user_namespace: bool) -> Failure {
    let remedy = match origin {
        Origin::Cwd => {
            "show it as it is, its sockets included, with --bind .:/work, or start from another \
             directory (from / nothing is shared)"
        }
        Origin::Host(_) | Origin::CreatedDir(..) => "use --bind instead",
        Origin::Runtime(_) if user_namespace => "run as root, or use a runtime without it",
        Origin::Runtime(_) => "use a runtime without writable mounts",
    };
    let cause = match NixErrno::from_raw(failure.errno) {
        NixErrno::EINVAL if user_namespace => {
            "without root a directory with other mounts in it, or on a file system that cannot be \
             overlaid, cannot be copied"
        }
        NixErrno::EINVAL => "its file system cannot be overlaid",
        NixErrno::EPERM if user_namespace => "overlays without root need Linux 5.11",
        NixErrno::ENODEV => "this kernel has no overlayfs (modprobe overlay)",
        _ => return failure,
    };
    Failure::launch(format!("{cause}{more}; {remedy}"))
}
