//! Python packages: which wheels (`uv`), where they are (`indexes`, `simple`), what is in them (`wheel`).

mod entry_points;
pub mod indexes;
mod installed;
mod simple;
pub mod tags;
pub mod uv;
pub mod wheel;
