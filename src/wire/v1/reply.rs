//! The broker's answer: a status, and the text of a listing that fits.
//!
//! Shape: `u32 magic`, `u32 version`, `i32 status`; in a listing then `u32 length` and that many bytes of
//! UTF-8.

use crate::limits::LISTING_BYTES_MAX;
use crate::wire::header::{MAGIC, VERSION_1};
use crate::wire::reader::{Malformed, MessageReader};
use crate::wire::status::Status;

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
            Self::Listing(text) => (Status::exited(0), Some(text)),
        };
        let mut message = Vec::with_capacity(16);
        message.extend_from_slice(&MAGIC.to_le_bytes());
        message.extend_from_slice(&VERSION_1.to_le_bytes());
        message.extend_from_slice(&status.get().to_le_bytes());
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
        reader.header(VERSION_1)?;
        let status = Status::from_wire(reader.i32()?);
        if reader.is_empty() {
            return Ok(Self::Status(status));
        }
        let length = reader.u32()?;
        let bytes = usize::try_from(length).ok().filter(|&bytes| bytes <= LISTING_BYTES_MAX);
        let text = reader.bytes(bytes.ok_or(Malformed::LongText(length))?)?;
        let text = std::str::from_utf8(text).map_err(|_| Malformed::NotUtf8)?.to_owned();
        reader.end()?;
        if status == Status::exited(0) {
            Ok(Self::Listing(text))
        } else {
            Err(Malformed::Trailing(text.len() + 4))
        }
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
