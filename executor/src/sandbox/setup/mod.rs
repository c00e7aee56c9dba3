//! The steps of a plan, done in the child.
//!
//! In: one [`Step`](crate::sandbox::plan::step::Step) after the other, and the descriptors of the runtime
//! and the caller. Out: namespaces, mounts and limits in force, and at last the job's program; or the
//! [`Failure`](apply::Failure) of a step.

pub(crate) mod apply;
pub(crate) mod command;
mod copy;
mod dev;
mod mirror;
pub(crate) mod mounts;
mod overlay;
mod privileges;
mod proc;
pub(crate) mod seal;
pub mod seccomp;
pub(crate) mod standard_files;
mod trampoline;
