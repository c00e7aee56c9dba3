//! Escaping of untrusted texts.

pub(crate) use joblet_format::text::{HIDDEN, shown, shown_in, visible};
