//! A caller's request: a call, or the listing.
//!
//! Shape: `u32 magic`, `u32 version`, `u32 argc`, then `argc` times `u32 length` and that many bytes, all
//! little-endian. `argc` 0 asks for the listing.

use crate::ids::ClaimedWord;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::wire::header::{MAGIC, VERSION_1};
use crate::wire::reader::{Malformed, MessageReader};
use crate::wire::words::{put_words, words, words_length};

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Run a command line; its words are the caller's claims. Never empty.
    Call(Vec<ClaimedWord>),
    /// Give the listing of the commands that may be called.
    List,
}

impl Request {
    /// A request from one whole message, in which no byte is left over.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(Malformed::TooLarge(message.len()));
        }
        let mut reader = MessageReader::new(message);
        reader.header(VERSION_1)?;
        let words = words(&mut reader)?;
        reader.end()?;
        Ok(if words.is_empty() { Self::List } else { Self::Call(words) })
    }

    /// The bytes of this request; `None` when there are too many words, or more bytes than a message may
    /// have.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let words = match self {
            Self::Call(words) => words.as_slice(),
            Self::List => &[],
        };
        let mut message = Vec::with_capacity(8 + words_length(words));
        message.extend_from_slice(&MAGIC.to_le_bytes());
        message.extend_from_slice(&VERSION_1.to_le_bytes());
        put_words(&mut message, words)?;
        (message.len() <= MESSAGE_BYTES_MAX).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::limits::ARG_BYTES_MAX;

    use super::*;

    fn frame(words: &[&[u8]]) -> Vec<u8> {
        let mut message = Vec::new();
        for field in [MAGIC, VERSION_1, u32::try_from(words.len()).expect("a test's few words")] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        for word in words {
            message.extend_from_slice(&u32::try_from(word.len()).expect("a test's short word").to_le_bytes());
            message.extend_from_slice(word);
        }
        message
    }

    fn check(message: &[u8], want: Result<&[&str], Malformed>) {
        let want = want.map(|words| match words {
            [] => Request::List,
            words => Request::Call(words.iter().filter_map(|word| ClaimedWord::new(*word)).collect()),
        });
        assert_eq!(Request::decode(message), want);
    }

    #[test]
    fn a_call_and_a_listing_are_read() {
        check(&frame(&[b"/bin/echo", b"", "caf\u{e9}".as_bytes()]), Ok(&["/bin/echo", "", "caf\u{e9}"]));
        check(&frame(&[]), Ok(&[]));
    }

    #[test]
    fn every_malformed_shape_has_its_name() {
        let good = frame(&[b"true"]);
        check(&good[..good.len() - 1], Err(Malformed::Truncated));
        check(&[], Err(Malformed::Truncated));
        check(&[&good[..], b"x"].concat(), Err(Malformed::Trailing(1)));
        check(&[&[0; 4], &good[4..]].concat(), Err(Malformed::Magic(0)));
        check(&[&good[..4], &[7, 0, 0, 0], &good[8..]].concat(), Err(Malformed::Version(7)));
        check(&[&good[..8], &[1, 1, 0, 0]].concat(), Err(Malformed::TooManyWords(257)));
        check(&[&good[..12], &[0xff; 4]].concat(), Err(Malformed::LongWord(u32::MAX)));
        check(&[&good[..12], &[1, 0x40, 0, 0]].concat(), Err(Malformed::LongWord(16385)));
        check(&frame(&[b"\xed\xa0\x80"]), Err(Malformed::NotUtf8));
        check(&frame(&[b"a\0b"]), Err(Malformed::Nul));
        check(&vec![0; MESSAGE_BYTES_MAX + 1], Err(Malformed::TooLarge(MESSAGE_BYTES_MAX + 1)));
    }

    #[test]
    fn more_than_a_message_holds_is_not_encoded() {
        let word = ClaimedWord::new("x".repeat(ARG_BYTES_MAX)).expect("a word at the limit");
        assert_eq!(Request::Call(vec![word.clone(); 70]).encode(), None);
        assert_eq!(Request::Call(vec![ClaimedWord::new("x").expect("a word"); 257]).encode(), None);
        assert!(Request::Call(vec![word; 60]).encode().is_some());
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(words in prop::collection::vec("[^\0]{0,40}", 0..20)) {
            let words: Vec<_> = words.into_iter().filter_map(ClaimedWord::new).collect();
            let request = if words.is_empty() { Request::List } else { Request::Call(words) };
            prop_assert_eq!(Request::decode(&request.encode().expect("it is small")), Ok(request));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(message in prop::collection::vec(any::<u8>(), 0..64)) {
            let message = [&frame(&[])[..8], &message].concat();
            if let Ok(request) = Request::decode(&message) {
                prop_assert_eq!(request.encode(), Some(message));
            }
        }
    }
}
