//! The steps of a plan, done in the child.
//!
//! In: one [`Step`](crate::sandbox::plan::step::Step) after the other, and the descriptors of the runtime
//! and the caller. Out: namespaces, mounts and limits in force, and at last the job's program; or the
//! [`Failure`](failure::Failure) of a step.
//!
//! ```text
//! apply         calls the mechanism of each step
//! mounts        the job's root: which tree goes where;   mount_calls   the system calls for it
//! layer         mount points that a read-only directory lacks
//! seal          flags of whole trees: read-only, nosuid, nodev
//! overlay, mirror, private_copy    a private /work, by the best of three ways that the host allows
//! proc, dev, sysfs                 /proc, /dev, /sys
//! places        /run, /var/tmp, /home, …;   names   /etc/passwd, /etc/group, /etc/hosts;   copy   --upload
//! privileges    capabilities, no_new_privs, limits;   seccomp   the filter of system calls
//! standard_files, terminal         standard input, output and error
//! descriptors   descriptors sent to the launcher;   failure   what is reported to it
//! command       finds the job's program;   trampoline   executes it
//! ```

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
pub(crate) mod network;
mod overlay;
mod places;
mod private_copy;
mod privileges;
mod proc;
pub(crate) mod seal;
pub mod seccomp;
mod serve;
pub(crate) mod standard_files;
mod sysfs;
pub(crate) mod terminal;
mod trampoline;
