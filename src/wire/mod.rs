//! Bytes to messages and back, version 1. Pure: no descriptor, no clock, no I/O. A decoder reads through
//! [`Reader`] and accounts for every byte. Start with `request.rs`; the format is in REFERENCE.md.

#![forbid(unsafe_code)]

mod explanation;
mod reader;
mod reply;
mod request;

pub use explanation::Explanation;
pub use reader::{Malformed, MessageReader};
pub use reply::{Reply, Status};
pub use request::Request;

/// The first word of every message: `XCLS` on the wire.
pub const MAGIC: u32 = 0x534C_4358;

/// The version that this module speaks.
pub const VERSION: u32 = 1;
