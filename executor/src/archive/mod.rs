//! Archives become directories.
//!
//! In: the bytes of an archive and, for one in members, its index; an older version that is installed.
//! Out: a complete tree below an open directory, or the refusal of the whole archive.

pub(crate) mod members;
pub(crate) mod plain;
mod reuse;
