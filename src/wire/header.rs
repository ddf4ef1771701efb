//! The first two words of every message.

/// The first word of every message: `XCLS` on the wire.
pub const MAGIC: u32 = 0x534C_4358;

/// The second word of a message of version 1.
pub const VERSION_1: u32 = 1;

/// The second word of a message of version 2.
pub const VERSION_2: u32 = 2;
