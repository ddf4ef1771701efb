//! The broker's answer: a status, and the text of a listing that fits.
//!
//! Shape: `u32 magic`, `u32 version`, `i32 status`; in a listing then `u32 length` and that many bytes of
//! UTF-8.

use std::fmt;

#[cfg(feature = "broker")]
use serde::Serialize;

use crate::limits::LISTING_BYTES_MAX;

use super::header::{MAGIC, VERSION};
use super::reader::{Malformed, MessageReader};

/// The status of a reply: 0 to 255 is the exit status of the command (128 + signal when a signal ended it);
/// a negative status is one of the broker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "broker", derive(Serialize))]
#[cfg_attr(feature = "broker", serde(transparent))]
pub struct Status(i32);

impl Status {
    /// No rule matches, or a slot refused a value.
    pub const NO_RULE: Self = Self(-1);
    /// The request is malformed, or no request came.
    pub const PROTO: Self = Self(-2);
    /// There are not three descriptors, or one of them cannot be passed on.
    pub const FDS: Self = Self(-3);
    /// The command could not be started; nothing of it ran.
    pub const SPAWN: Self = Self(-4);
    /// Records or captures of the call cannot be kept as the rules demand.
    pub const AUDIT: Self = Self(-6);
    /// The rule's timeout fired.
    pub const TIMEOUT: Self = Self(-7);
    /// The caller's credentials cannot be read.
    pub const PEER: Self = Self(-8);
    /// The listing is over its limit.
    pub const TOO_LARGE: Self = Self(-9);
    /// The broker is shutting down.
    pub const STOPPING: Self = Self(-10);

    /// Every status of the broker's own, with its name.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::NO_RULE, "NO_RULE"),
        (Self::PROTO, "PROTO"),
        (Self::FDS, "FDS"),
        (Self::SPAWN, "SPAWN"),
        (Self::AUDIT, "AUDIT"),
        (Self::TIMEOUT, "TIMEOUT"),
        (Self::PEER, "PEER"),
        (Self::TOO_LARGE, "TOO_LARGE"),
        (Self::STOPPING, "STOPPING"),
    ];

    /// The command's exit status.
    pub fn exited(code: u8) -> Self {
        Self(i32::from(code))
    }

    /// The status of a command that a signal ended, as shells count it.
    pub fn signaled(signal: i32) -> Self {
        Self(128 + signal)
    }

    /// A status as it came over the wire: any number.
    pub fn from_wire(status: i32) -> Self {
        Self(status)
    }

    /// The number on the wire.
    pub fn get(self) -> i32 {
        self.0
    }

    /// The name of a status of the broker's own.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(status, _)| *status == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// How the call ended, or why it was refused.
    Status(Status),
    /// The listing; at most [`LISTING_BYTES_MAX`] bytes.
    Listing(String),
}

impl Reply {
    /// The bytes of this reply. A listing over its limit becomes [`Status::TOO_LARGE`].
    pub fn encode(&self) -> Vec<u8> {
        let (status, text) = match self {
            Self::Status(status) => (*status, None),
            Self::Listing(text) if text.len() > LISTING_BYTES_MAX => (Status::TOO_LARGE, None),
            Self::Listing(text) => (Status(0), Some(text)),
        };
        let mut message = Vec::with_capacity(16);
        message.extend_from_slice(&MAGIC.to_le_bytes());
        message.extend_from_slice(&VERSION.to_le_bytes());
        message.extend_from_slice(&status.0.to_le_bytes());
        if let Some(text) = text {
            let length = u32::try_from(text.len()).expect("a listing is at most 64 KiB");
            message.extend_from_slice(&length.to_le_bytes());
            message.extend_from_slice(text.as_bytes());
        }
        message
    }

    /// A reply from one whole message. Text after the status makes it a listing.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = MessageReader::new(message);
        reader.header()?;
        let status = Status(reader.i32()?);
        if reader.is_empty() {
            return Ok(Self::Status(status));
        }
        let length = reader.u32()?;
        let bytes = usize::try_from(length).ok().filter(|&bytes| bytes <= LISTING_BYTES_MAX);
        let text = reader.bytes(bytes.ok_or(Malformed::LongText(length))?)?;
        let text = std::str::from_utf8(text).map_err(|_| Malformed::NotUtf8)?.to_owned();
        reader.end()?;
        if status == Status(0) { Ok(Self::Listing(text)) } else { Err(Malformed::Trailing(text.len() + 4)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reply: Reply, want: &[u8]) {
        assert_eq!(reply.encode(), want);
        assert_eq!(Reply::decode(want), Ok(reply));
    }

    #[test]
    fn replies_are_read_as_they_were_written() {
        check(Reply::Status(Status::exited(0)), b"XCLS\x01\0\0\0\0\0\0\0");
        check(Reply::Status(Status::TIMEOUT), b"XCLS\x01\0\0\0\xf9\xff\xff\xff");
        check(Reply::Listing("true\n".into()), b"XCLS\x01\0\0\0\0\0\0\0\x05\0\0\0true\n");
    }

    #[test]
    fn a_listing_over_its_limit_is_too_large() {
        let reply = Reply::Listing("x".repeat(LISTING_BYTES_MAX + 1)).encode();
        assert_eq!(Reply::decode(&reply), Ok(Reply::Status(Status::TOO_LARGE)));
    }

    #[test]
    fn text_after_a_refusal_is_malformed() {
        let reply = b"XCLS\x01\0\0\0\xff\xff\xff\xff\x02\0\0\0no";
        assert_eq!(Reply::decode(reply), Err(Malformed::Trailing(6)));
    }
}
