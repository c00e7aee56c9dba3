//! Application of a plan's steps, in the child.
//!
//! In: one [`Step`](crate::sandbox::plan::step::Step) after the other, and the descriptors of the runtime
//! and the caller. Out: namespaces, mounts and limits, then the job's program; or the
//! [`Failure`](failure::Failure) of a step.
//!
//! ```text
//! apply         calls the mechanism of each step; small ones are there: entering the root, closing descriptors
//! mounts        the job's root: which tree goes where;   mount_calls   the system calls for it
//! source        what the runtime's read-only mounts show, also of a runtime that others can change
//! layer         mount points missing in a read-only directory
//! seal          flags of whole trees: read-only, nosuid, nodev
//! private_copy  a private /work: overlay   by overlayfs;   mirror   where that is refused
//! proc, dev, sysfs                 /proc, /dev, /sys
//! standard_directories             /run, /var/tmp, /home, …;   copy   files of --upload
//! etc_files     /etc/passwd, /etc/group, /etc/hosts, /etc/resolv.conf
//! privileges    capabilities, no_new_privs, limits;   seccomp   the filter of system calls
//! standard_files, terminal         standard input, output and error
//! fd_passing    SCM_RIGHTS;   failure   the report to the launcher;   serve   /dev/fuse of a served runtime
//! network       a network namespace with loopback alone
//! command       finds the job's program;   trampoline   executes it
//! ```

pub(crate) mod apply;
pub(crate) mod command;
mod copy;
mod dev;
mod etc_files;
pub(crate) mod failure;
pub(crate) mod fd_passing;
mod layer;
mod mirror;
pub(crate) mod mount_calls;
pub(crate) mod mounts;
pub(crate) mod network;
mod overlay;
mod private_copy;
mod privileges;
mod proc;
pub(crate) mod seal;
pub mod seccomp;
mod serve;
mod source;
mod standard_directories;
pub(crate) mod standard_files;
mod sysfs;
pub(crate) mod terminal;
mod trampoline;
