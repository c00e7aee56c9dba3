//! What is shown of texts that come from outside.

pub(crate) use joblet_format::text::{HIDDEN, shown, shown_in, visible};
