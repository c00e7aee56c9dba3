//! Files and directories below open descriptors.
//!
//! In: a descriptor and an untrusted relative path. Out: descriptors of what is there,
//! reached through no symbolic link that leads elsewhere; locks.

pub(crate) mod beneath;
pub(crate) mod directory;
pub(crate) mod free_space;
pub(crate) mod kind;
pub(crate) mod lock;
pub(crate) mod split;
pub(crate) mod trust;
pub(crate) mod walk;
