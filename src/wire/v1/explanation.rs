//! The broker's second message to a caller: the number of its call, and why it has no exit status. It
//! follows a reply with a negative status on the same connection; a client that reads one message never sees
//! it.
//!
//! Shape: `u32 magic`, `u32 version`, `u64 call` (0 for none), `u32 length`, and that many bytes of UTF-8
//! without a control character.

use std::num::NonZeroU64;

use crate::limits::REASON_BYTES_MAX;
use crate::wire::header::{MAGIC, VERSION_1};
use crate::wire::reader::{Malformed, MessageReader};

/// The reason why a call has no exit status, for its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    call: Option<NonZeroU64>,
    reason: String,
}

impl Explanation {
    /// The explanation for the call with the number `call`, if it has a number: `reason` on one line, cut to
    /// [`REASON_BYTES_MAX`] bytes. Control characters become blanks; other hidden characters in a caller's
    /// text have to be made visible before.
    pub fn new(call: Option<u64>, reason: &str) -> Self {
        let mut reason = reason.replace(char::is_control, " ");
        if reason.len() > REASON_BYTES_MAX {
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX - CUT.len()));
            reason.push_str(CUT);
        }
        Self { call: call.and_then(NonZeroU64::new), reason }
    }

    /// The call's number in the records, if it has one.
    pub fn call(&self) -> Option<u64> {
        self.call.map(NonZeroU64::get)
    }

    /// The reason: one line for a person, without a control character; may be empty.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The bytes of this message.
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.reason.len()).expect("a reason is at most 1 KiB");
        let mut message = Vec::with_capacity(20 + self.reason.len());
        message.extend_from_slice(&MAGIC.to_le_bytes());
        message.extend_from_slice(&VERSION_1.to_le_bytes());
        message.extend_from_slice(&self.call().unwrap_or(0).to_le_bytes());
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(self.reason.as_bytes());
        message
    }

    /// An explanation from one whole message. Errors: [`Malformed::Control`] where the reason is not one
    /// line, other errors as for a reply.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = MessageReader::new(message);
        reader.header(VERSION_1)?;
        let call = NonZeroU64::new(reader.u64()?);
        let length = reader.u32()?;
        let bytes = usize::try_from(length).ok().filter(|&bytes| bytes <= REASON_BYTES_MAX);
        let reason = reader.bytes(bytes.ok_or(Malformed::LongText(length))?)?;
        let reason = std::str::from_utf8(reason).map_err(|_| Malformed::NotUtf8)?;
        reader.end()?;
        if reason.contains(char::is_control) {
            return Err(Malformed::Control);
        }
        Ok(Self { call, reason: reason.into() })
    }
}

/// The end of a reason that was cut.
const CUT: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(call: Option<u64>, reason: &str, want: &[u8]) {
        let explanation = Explanation::new(call, reason);
        assert_eq!(explanation.encode(), want);
        assert_eq!(Explanation::decode(want), Ok(explanation));
    }

    #[test]
    fn explanations_are_read_as_they_were_written() {
        check(Some(7), "no", b"XCLS\x01\0\0\0\x07\0\0\0\0\0\0\0\x02\0\0\0no");
        check(None, "", b"XCLS\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        check(Some(u64::MAX), "a\nb", b"XCLS\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x03\0\0\0a b");
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = Explanation::new(None, &"\u{e9}".repeat(REASON_BYTES_MAX));
        assert!(long.reason().len() <= REASON_BYTES_MAX && long.reason().ends_with("\u{e9}..."));
        assert_eq!(Explanation::decode(&long.encode()), Ok(long));
        let fits = "x".repeat(REASON_BYTES_MAX);
        assert_eq!(Explanation::new(None, &fits).reason(), fits);
    }

    #[test]
    fn what_is_no_explanation_is_refused() {
        let check = |length: u32, text: &[u8], want| {
            let mut message = b"XCLS\x01\0\0\0\x07\0\0\0\0\0\0\0".to_vec();
            message.extend_from_slice(&length.to_le_bytes());
            message.extend_from_slice(text);
            assert_eq!(Explanation::decode(&message), Err(want));
        };
        check(3, b"no", Malformed::Truncated);
        check(1, b"no", Malformed::Trailing(1));
        check(2, b"\xff\xff", Malformed::NotUtf8);
        check(4, b"\x1b[2J", Malformed::Control);
        check(2, b"a\n", Malformed::Control);
        check(1025, &[b'x'; 1025], Malformed::LongText(1025));
        assert_eq!(Explanation::decode(b"XCLS\x01\0\0\0\xff\xff\xff\xff"), Err(Malformed::Truncated));
    }
}
