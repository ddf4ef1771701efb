//! The chain: each line carries the hash of the line before it. Knows lines and hashes, but no records and
//! no files.

use sha2::{Digest as _, Sha256};

/// The hash of a line, as 64 hexadecimal digits.
pub(super) type LineHash = String;

/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 64;

/// The hash that the first line of a chain carries.
pub(super) fn no_line() -> LineHash {
    "0".repeat(HASH_DIGITS)
}

/// The hash of one line, without its newline.
pub(super) fn hash_line(line: &[u8]) -> LineHash {
    format!("{:x}", Sha256::digest(line))
}

/// A record's JSON as a line with its `prev`, and the hash of that line.
pub(super) fn chained(body: &str, prev: &str) -> (String, LineHash) {
    let body = body.strip_suffix('}').unwrap_or(body);
    let line = format!("{body},\"prev\":\"{prev}\"}}\n");
    let hash = hash_line(&line.as_bytes()[..line.len() - 1]);
    (line, hash)
}

/// The `prev` of a whole line. It is the last field of every record, so that the part of a record that an
/// interrupted write left has none.
pub(super) fn prev_of(line: &[u8]) -> Option<&[u8]> {
    const PREV: &[u8] = b",\"prev\":\"";
    let digits = line.strip_suffix(b"\"}")?;
    let (head, digits) = digits.split_at_checked(digits.len().checked_sub(HASH_DIGITS)?)?;
    (head.ends_with(PREV) && is_hash(digits)).then_some(digits)
}

/// Whether these bytes are a hash as records write it: 64 hexadecimal digits, in lower case.
pub(super) fn is_hash(digits: &[u8]) -> bool {
    digits.len() == HASH_DIGITS && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// A SHA-256 hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The `prev` of the first line of a chain.
    pub const NONE: Self = Self([0; 32]);

    /// The hash that 64 hexadecimal digits in lower case stand for.
    pub fn of(text: &[u8]) -> Option<Self> {
        let digit = |byte: u8| if byte.is_ascii_digit() { byte - b'0' } else { byte - b'a' + 10 };
        let mut bytes = [0; 32];
        let (pairs, _) = text.as_chunks::<2>();
        for (byte, [high, low]) in bytes.iter_mut().zip(is_hash(text).then_some(pairs)?) {
            *byte = digit(*high) << 4 | digit(*low);
        }
        Some(Self(bytes))
    }

    /// The hash of a line, without its newline.
    pub(super) fn of_line(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }

    /// The hash of the line before this one: its `prev`, where the line is whole.
    pub(super) fn before(line: &[u8]) -> Option<Self> {
        prev_of(line).and_then(Self::of)
    }

    /// The hash as records write it.
    pub(super) fn to_hash(self) -> LineHash {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_whole_when_its_prev_is() {
        let line = format!("{{\"kind\":\"lost\",\"prev\":\"{}\"}}", no_line());
        assert!(prev_of(line.as_bytes()).is_some());
        for end in 0..line.len() {
            assert!(prev_of(&line.as_bytes()[..end]).is_none(), "{}", &line[..end]);
        }
        let quoted = format!("{{\"argv\":[\",\\\"prev\\\":\\\"{}\"}}", no_line());
        assert!(prev_of(quoted.as_bytes()).is_none(), "{quoted}");
    }

    #[test]
    fn a_prev_with_one_wrong_digit_is_none() {
        for at in [0, 31, 63] {
            for wrong in ["g", "A", " ", "/", ":", "`"] {
                let mut hash = no_line();
                hash.replace_range(at..=at, wrong);
                let line = format!("{{\"kind\":\"lost\",\"prev\":\"{hash}\"}}");
                assert!(prev_of(line.as_bytes()).is_none(), "{line}");
                assert!(Digest::of(hash.as_bytes()).is_none(), "{hash}");
            }
        }
    }

    #[test]
    fn a_digest_is_read_from_lower_case_hexadecimal() {
        assert_eq!(Digest::of(&[b'0'; 64]), Some(Digest::NONE));
        let digest = Digest::of(format!("{:064x}", 0xab_u8).as_bytes()).expect("a hash");
        assert_eq!((digest.0[31], digest.to_hash()), (0xab, format!("{:064x}", 0xab)));
        for bad in ["", "0", &"0".repeat(63), &"0".repeat(65)] {
            assert_eq!(Digest::of(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Digest::of_line(b"x").to_hash(), hash_line(b"x"));
    }
}
