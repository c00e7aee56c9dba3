//! Shared by several subjects.

pub(crate) mod debs;
pub(crate) mod mirror;
pub(crate) mod small;
