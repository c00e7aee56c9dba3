//! The process that starts a job and waits for it.
//!
//! In: a runtime and the steps of a plan. Out: the child, cloned into its namespaces and control group;
//! while it runs, relayed signals and data; its exit status.

mod bus;
pub(crate) mod cgroup;
mod cgroup_v1;
pub(crate) mod child;
mod group;
pub(crate) mod helper;
mod hierarchy;
mod init;
pub(crate) mod launch;
mod reader;
pub(crate) mod relay;
pub(crate) mod results;
mod scope;
pub(crate) mod signals;
mod supervise;
pub(crate) mod terminal;
mod workload_manager;
