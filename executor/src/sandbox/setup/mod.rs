//! The steps of a plan, done in the child.
//!
//! In: one [`Step`](crate::sandbox::plan::step::Step) after the other, and the descriptors of the runtime
//! and the caller. Out: namespaces, mounts and limits in force, and at last the job's program; or the
//! [`Failure`](failure::Failure) of a step.

pub(crate) mod apply;
pub(crate) mod command;
mod copy;
pub(crate) mod descriptors;
mod dev;
pub(crate) mod failure;
mod layer;
mod mirror;
pub(crate) mod mount_calls;
pub(crate) mod mounts;
mod names;
mod overlay;
mod places;
mod private_copy;
mod privileges;
mod proc;
pub(crate) mod seal;
pub mod seccomp;
pub(crate) mod standard_files;
mod sysfs;
pub(crate) mod terminal;
mod trampoline;
