//! What several subjects build on.

pub(crate) mod debs;
pub(crate) mod small;
