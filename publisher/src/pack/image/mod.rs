//! Conversion of packed archives to an OCI image: one or two layers for each architecture, and an index.
//!
//! In: archives of a version, its record and the files beside it. Out: a layout, as a directory or as one file.
//!
//! archive → layers ([`layer`]), compressed in blocks on all cores ([`blocks`]) → configuration and manifests
//! ([`describe`]) → the layout ([`layout`]).
//!
//! Reproducible: every byte depends on the archives, on the record's lists and on the pinned compressors only, not
//! on user, time or number of threads.

mod blocks;
mod describe;
mod layer;
mod layout;

pub(crate) use blocks::Compression;
pub(crate) use describe::{About, Arched, image, index};
pub(crate) use layer::layers;
pub(crate) use layout::Layout;
