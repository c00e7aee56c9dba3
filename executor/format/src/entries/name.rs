//! Names of entries: conversion to paths, and display in messages.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Maximum length of a component and of a path, in bytes, as on Linux.
const MAX_COMPONENT: usize = 255;
const MAX_PATH: usize = 4095;
/// Maximum number of components of a path.
const MAX_DEPTH: usize = 128;

/// The path of the archive member `name`, below the target directory.
///
/// Depends on the name only; the caller ensures that no parent is a symlink. The empty path (`./`) is the
/// directory itself.
///
/// # Errors
/// The violated rule; the caller adds archive and member. No name is skipped.
pub fn member_path(name: &[u8], directory: bool) -> Result<PathBuf, &'static str> {
    if name.len() > MAX_PATH {
        return Err("a path of more than 4095 bytes");
    }
    // Some tools name the root directory of a layer so.
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
