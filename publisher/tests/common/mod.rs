//! What several subjects build on.

pub(crate) mod debs;
pub(crate) mod mirror;
pub(crate) mod small;
