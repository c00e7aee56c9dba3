//! Files and directories of this machine.
//!
//! In: paths. Out: open files, whole contents and atomically written files; errors name the path.

pub mod below;
pub mod free_space;
mod kind;
pub mod paths;
