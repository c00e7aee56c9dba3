//! Records and what lies beside them: that they follow their standards, and that a published version
//! can be built again, compared and understood.

#[path = "../common/debs.rs"]
mod debs;
mod emulated;
mod failures;
mod guide;
mod parts;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "../../../executor/tests/common/server.rs"]
mod server;
mod sources;
mod standards;
mod verify;
mod wheels;
mod world;
