//! Python packages: which wheels (`uv`), where they are (`indexes`, `simple`), what is in them (`wheel`), and
//! compiled modules (`pyc`).

mod entry_points;
pub mod indexes;
mod installed;
pub mod pyc;
mod simple;
pub mod tags;
pub mod uv;
pub mod wheel;
