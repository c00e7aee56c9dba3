//! Directories of elsewhere that a job may change without changing them.

use super::{failure::Failure, mirror, mount_calls, mounts::Places, overlay};
use crate::env::weaken;
use crate::sandbox::plan::{job::Ids, step::Origin};
use nix::errno::Errno as NixErrno;
use rustix::{fd::AsFd, fs::fstat};
use std::path::Path;

/// Mounts an overlay on `target`: `origin` below, a tmpfs above.
///
/// Nothing of the host is live in it: a FIFO or a socket there has nobody at its other end, being
/// the overlay's own since Linux 4.19. A current directory that cannot be overlaid is mirrored.
pub(crate) fn mount(
    places: &Places,
    origin: &Origin,
    target: &Path,
    owner: Ids,
    user_namespace: bool,
) -> Result<(), Failure> {
    let cwd = *origin == Origin::Cwd;
    if weaken::without(if cwd { "private-copy" } else { "private-upload" }) {
        return places.bind(origin, target, false);
    }
    let target = places.target(target, false)?;
    let source = places.find(origin)?;
    let mode = if cwd { 0o755 } else { fstat(&source)?.st_mode & 0o1777 };
    // Without the mounts below it: an overlay shows one file system. In a user namespace the
    // kernel refuses to uncover what is under them.
    let tree = mount_calls::clone_tree(source.as_fd(), false);
    let overlays = tree.is_err();
    let done = tree
        .map_err(Failure::from)
        .and_then(|tree| overlay::stack(places, &tree, &target, mode, owner, user_namespace));
    let refused = match done {
        Ok(upper) if cwd => {
            places.results.get_or_init(|| upper);
            return Ok(());
        }
        Ok(_) => return Ok(()),
        Err(refused) => refused,
    };
    let mirrored = if cwd {
        mirror::mount(places, &source, &target, owner, (user_namespace, overlays))
    } else {
        Err(Failure::launch(""))
    };
    mirrored.map_err(|failure| explain(refused, &failure.detail, origin, user_namespace))
}

/// What is behind the few errno values of overlay mounts, what else failed (`more`), and the
/// way out.
fn explain(failure: Failure, more: &str, origin: &Origin, user_namespace: bool) -> Failure {
    let remedy = match origin {
        Origin::Cwd => {
            "show it as it is, its sockets included, with --bind .:/work, or start from another \
             directory (from / nothing is shared)"
        }
        Origin::Host(_) => "show it with --bind instead",
        Origin::Runtime(_) => "run as root, or use a runtime without it",
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
