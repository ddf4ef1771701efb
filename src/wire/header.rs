//! What every message begins with.

/// The first word of every message: `XCLS` on the wire.
pub const MAGIC: u32 = 0x534C_4358;

/// The version of the protocol that is spoken here.
pub const VERSION: u32 = 1;
