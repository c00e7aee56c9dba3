//! Records and the files beside them: they follow their standards, and a published version can be rebuilt and compared.

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
