//! Turns bytes into messages and back, version 1. Pure: no descriptor, no clock, no I/O. A decoder reads
//! through [`MessageReader`] and accounts for every byte. Start with `request.rs`; the format is in
//! REFERENCE.md.

#![forbid(unsafe_code)]

mod explanation;
mod header;
mod reader;
mod reply;
mod request;

pub use explanation::Explanation;
pub use header::{MAGIC, VERSION};
pub use reader::{Malformed, MessageReader};
pub use reply::{Reply, Status};
pub use request::Request;
