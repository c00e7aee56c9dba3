//! What the name of a layer's entry does to the layers below: whiteouts.

/// First bytes of the names that take something away. Part of the format.
const WHITEOUT: &[u8] = b".wh.";
/// The name that hides what lower layers have in its directory. Part of the format.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an entry of a layer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'p> {
    /// It adds what it is, or replaces what lower layers have at its path.
    Add,
    /// It takes away what lower layers have at the path of this directory and name.
    Remove(&'p [u8], &'p [u8]),
    /// It takes away what lower layers have in this directory.
    Empty(&'p [u8]),
}

/// What the entry at `path` does: relative, normal, without a slash at its end.
///
/// # Errors
/// The rule that the name breaks.
pub fn change(path: &[u8]) -> Result<Change<'_>, &'static str> {
    let at = path.iter().rposition(|&byte| byte == b'/');
    let (parent, name) = at.map_or((&[][..], path), |at| (&path[..at], &path[at + 1..]));
    if parent.split(|&byte| byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
        return Err("a name below a whiteout");
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Change::Add),
        Some(_) if name == OPAQUE => Ok(Change::Empty(parent)),
        Some(b"" | b"." | b"..") => Err("a whiteout of nothing"),
        Some(hidden) if hidden.starts_with(WHITEOUT) => Err("a name that only AUFS knows"),
        Some(hidden) => Ok(Change::Remove(parent, hidden)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_take_away() {
        for (path, want) in [
            ("usr/bin/x", Ok(Change::Add)),
            ("a/b.wh.c", Ok(Change::Add)),
            (".wh.x", Ok(Change::Remove(b"", b"x"))),
            ("a/b/.wh.x", Ok(Change::Remove(b"a/b", b"x"))),
            ("a/.wh..hidden", Ok(Change::Remove(b"a", b".hidden"))),
            ("a/.wh..wh..opq", Ok(Change::Empty(b"a"))),
            (".wh..wh..opq", Ok(Change::Empty(b""))),
            ("a/.wh.", Err("a whiteout of nothing")),
            ("a/.wh..", Err("a whiteout of nothing")),
            ("a/.wh...", Err("a whiteout of nothing")),
            ("a/.wh..wh.plnk", Err("a name that only AUFS knows")),
            ("a/.wh.b/c", Err("a name below a whiteout")),
        ] {
            assert_eq!(change(path.as_bytes()), want, "{path}");
        }
    }
}
