//! Names of entries: where they lead, and how messages show them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Longest component of a path and longest path, in bytes, as on Linux.
const MAX_COMPONENT: usize = 255;
const MAX_PATH: usize = 4095;
/// Most components of a path.
const MAX_DEPTH: usize = 128;

/// The path of the archive member `name`, below the directory that is filled.
///
/// Looks at the name only. That no parent is a link is the duty of who writes it. The empty path (`./`) is
/// the directory itself.
///
/// # Errors
/// The rule that was broken; the caller adds archive and member. No name is ever skipped.
pub fn member_path(name: &[u8], directory: bool) -> Result<PathBuf, &'static str> {
    if name.len() > MAX_PATH {
        return Err("a path of more than 4095 bytes");
    }
    // The root itself is called so by some that make layers.
    if name.first() == Some(&b'/') && !(directory && name == b"/") {
        return Err("an absolute name");
    }
    let (mut path, mut depth) = (PathBuf::new(), 0);
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("a name that contains `..`"),
            _ if part.len() > MAX_COMPONENT => return Err("a component of more than 255 bytes"),
            _ => {
                path.push(OsStr::from_bytes(part));
                depth += 1;
            }
        }
    }
    if name.is_empty() || (depth == 0 && !directory) {
        return Err("an empty name");
    }
    if depth > MAX_DEPTH {
        return Err("more than 128 nested directories");
    }
    Ok(path)
}

/// A name from an archive, escaped and shortened for messages.
pub fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    match name.get(..LONGEST) {
        Some(start) => format!("\"{}…\"", start.escape_ascii()),
        None => format!("\"{}\"", name.escape_ascii()),
    }
}
