//! Unpacks archives.
//!
//! In: the bytes of an archive and, for an archive with members, its index; an installed older version; a container image.
//! Out: a complete tree below an open directory, or an error that refuses the whole archive.

pub(crate) mod image;
pub(crate) mod members;
pub(crate) mod plain;
mod reuse;
