//! Records and what lies beside them: that they follow their standards, and that a published version
//! can be built again, compared and understood.

#[path = "../common/debs.rs"]
mod debs;
mod standards;
mod world;
