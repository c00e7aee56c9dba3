//! Installs Joblet runtimes and runs jobs in them.
pub mod error;
