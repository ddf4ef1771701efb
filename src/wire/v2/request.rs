//! A caller's request of version 2.
//!
//! Shape: `u32 magic`, `u32 2`, `u32 kind`. A call (1) goes on with `u32 argc`, then `argc` times
//! `u32 length` and that many bytes; a request for the listing (2) with `u32 format`. All little-endian.

use crate::ids::ClaimedWord;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::wire::header::{MAGIC, VERSION_2};
use crate::wire::reader::{Malformed, MessageReader};
use crate::wire::words::{put_words, words, words_length};

/// The descriptors of a call: stdin, stdout, stderr, *reply* (the write end of a pipe), *control* (the read
/// end of a pipe).
pub const CALL_FDS: usize = 5;

/// The descriptors of a request for the listing: *reply*.
pub const LIST_FDS: usize = 1;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipedRequest {
    /// Run a command line; its words are the caller's claims. Never empty.
    Call(Vec<ClaimedWord>),
    /// Give the listing of the commands that may be called.
    List(ListFormat),
}

/// The format of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// For a person, as in version 1.
    Text,
    /// JSON, for a program.
    Json,
}

impl PipedRequest {
    /// A request from one whole message, in which no byte is left over.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(Malformed::TooLarge(message.len()));
        }
        let mut reader = MessageReader::new(message);
        reader.header(VERSION_2)?;
        let request = match reader.u32()? {
            CALL => Self::Call(words(&mut reader)?),
            LIST => Self::List(ListFormat::decode(reader.u32()?)?),
            kind => return Err(Malformed::RequestKind(kind)),
        };
        reader.end()?;
        if request == Self::Call(Vec::new()) { Err(Malformed::NoWords) } else { Ok(request) }
    }

    /// The bytes of this request; `None` when there is no word, there are too many, or they have more bytes
    /// than a message may have.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut message = Vec::with_capacity(16);
        message.extend_from_slice(&MAGIC.to_le_bytes());
        message.extend_from_slice(&VERSION_2.to_le_bytes());
        match self {
            Self::Call(words) if words.is_empty() => return None,
            Self::Call(words) => {
                message.reserve(4 + words_length(words));
                message.extend_from_slice(&CALL.to_le_bytes());
                put_words(&mut message, words)?;
            }
            Self::List(format) => {
                message.extend_from_slice(&LIST.to_le_bytes());
                message.extend_from_slice(&(*format as u32).to_le_bytes());
            }
        }
        (message.len() <= MESSAGE_BYTES_MAX).then_some(message)
    }
}

impl ListFormat {
    fn decode(format: u32) -> Result<Self, Malformed> {
        match format {
            0 => Ok(Self::Text),
            1 => Ok(Self::Json),
            format => Err(Malformed::ListFormat(format)),
        }
    }
}

/// The kind of a call.
const CALL: u32 = 1;
/// The kind of a request for the listing.
const LIST: u32 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(words: &[&str]) -> PipedRequest {
        PipedRequest::Call(words.iter().filter_map(|word| ClaimedWord::new(*word)).collect())
    }

    fn check(request: &PipedRequest, want: &[u8]) {
        assert_eq!(request.encode().as_deref(), Some(want));
        assert_eq!(PipedRequest::decode(want).as_ref(), Ok(request));
    }

    #[test]
    fn requests_are_read_as_they_were_written() {
        check(&call(&["true"]), b"XCLS\x02\0\0\0\x01\0\0\0\x01\0\0\0\x04\0\0\0true");
        check(&call(&["a", ""]), b"XCLS\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0a\0\0\0\0");
        check(&PipedRequest::List(ListFormat::Text), b"XCLS\x02\0\0\0\x02\0\0\0\0\0\0\0");
        check(&PipedRequest::List(ListFormat::Json), b"XCLS\x02\0\0\0\x02\0\0\0\x01\0\0\0");
    }

    #[test]
    fn every_malformed_shape_has_its_name() {
        let check = |message: &[u8], want| assert_eq!(PipedRequest::decode(message), Err(want));
        check(b"XCLS\x02\0\0\0", Malformed::Truncated);
        check(b"XCLS\x02\0\0\0\x01\0\0\0\x01\0\0\0\x04\0\0\0tru", Malformed::Truncated);
        check(b"XCLS\x02\0\0\0\x02\0\0\0", Malformed::Truncated);
        check(b"XCLS\x01\0\0\0\x02\0\0\0\0\0\0\0", Malformed::Version(1));
        check(b"XCLS\x02\0\0\0\x03\0\0\0", Malformed::RequestKind(3));
        check(b"XCLS\x02\0\0\0\x02\0\0\0\x02\0\0\0", Malformed::ListFormat(2));
        check(b"XCLS\x02\0\0\0\x01\0\0\0\0\0\0\0", Malformed::NoWords);
        check(b"XCLS\x02\0\0\0\x01\0\0\0\x01\x01\0\0", Malformed::TooManyWords(257));
        check(b"XCLS\x02\0\0\0\x02\0\0\0\0\0\0\0x", Malformed::Trailing(1));
        assert_eq!(call(&[]).encode(), None);
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(message in prop::collection::vec(any::<u8>(), 0..64)) {
            let message = [&b"XCLS\x02\0\0\0"[..], &message].concat();
            if let Ok(request) = PipedRequest::decode(&message) {
                prop_assert_eq!(request.encode(), Some(message));
            }
        }
    }
}
