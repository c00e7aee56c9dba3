//! Where hierarchies of control groups are mounted.

use crate::sandbox::setup::seal::unescape;
use std::path::PathBuf;

/// Which group a line of mountinfo shows at which place, if its file system, source and options are such.
pub(super) fn mount_of(line: &str, is_it: impl Fn(&str) -> bool) -> Option<(PathBuf, PathBuf)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3).filter(|_| is_it(kind));
    Some((unescape(fields.next()?), unescape(fields.next()?)))
}
