//! stub
pub mod apt;
pub mod args;
pub mod env;
pub mod error;
pub mod fsx;
pub mod inputs;
pub mod lock;
pub mod mirror;
pub mod source;
mod verbs;
