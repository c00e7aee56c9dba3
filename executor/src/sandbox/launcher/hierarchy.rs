//! Mount points of control group hierarchies.

use crate::sandbox::setup::seal::unescape;
use std::path::PathBuf;

/// The root and the mount point of a line of mountinfo if `is_it` accepts its file system, source and options.
pub(super) fn mount_of(line: &str, is_it: impl Fn(&str) -> bool) -> Option<(PathBuf, PathBuf)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3).filter(|_| is_it(kind));
    Some((unescape(fields.next()?), unescape(fields.next()?)))
}
