//! Records and what lies beside them: that they follow their standards, and that a published version
//! can be built again, compared and understood.

mod emulated;
mod failures;
mod finishing;
mod frames;
mod guide;
mod image_machines;
mod image_sources;
mod images;
mod parts;
mod readme;
mod rpm;
mod sources;
mod standards;
mod verify;
mod wheels;
pub(crate) mod world;
