//! File access.
//!
//! In: paths. Out: open files, whole contents and atomically written files; errors name the path.

pub(crate) mod below;
pub(crate) mod free_space;
mod kind;
pub(crate) mod paths;
