//! Installs Joblet runtimes and runs jobs in them.
pub mod error;
pub mod runtime;
pub mod sandbox;
mod within;
