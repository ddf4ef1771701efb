//! The first two words of every message.

/// The first word of every message: `XCLS` on the wire.
pub const MAGIC: u32 = 0x534C_4358;

/// The version of the protocol.
pub const VERSION: u32 = 1;
