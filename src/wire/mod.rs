//! Turns bytes into messages and back. Pure: no descriptor, no clock, no I/O. A decoder reads through
//! [`MessageReader`] and accounts for every byte. Start with `v1/request.rs` and `v2/request.rs`; the format
//! is in REFERENCE.md.

#![forbid(unsafe_code)]

mod header;
mod reader;
mod status;
mod v1;
pub mod v2;
mod words;

pub use header::{MAGIC, VERSION_1, VERSION_2};
pub use reader::{Malformed, MessageReader, version_of};
pub use status::Status;
pub use v1::{Explanation, Reply, Request};
