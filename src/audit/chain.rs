//! The chain: each line carries the hash of the one before it. Knows lines and hashes, no records and no files.

use sha2::{Digest, Sha256};

/// The hash of a line, as 64 hexadecimal digits.
pub(super) type LineHash = String;

/// The hash that the first line of all carries.
pub(super) fn no_line() -> LineHash {
    "0".repeat(64)
}

/// The hash of one line, without its newline.
pub(super) fn hash_line(line: &[u8]) -> LineHash {
    format!("{:x}", Sha256::digest(line))
}

/// A record's JSON as a line with the chain, and the hash of that line.
pub(super) fn chained(body: &str, prev: &LineHash) -> (String, LineHash) {
    let body = body.strip_suffix('}').unwrap_or(body);
    let line = format!("{body},\"prev\":\"{prev}\"}}\n");
    let hash = hash_line(&line.as_bytes()[..line.len() - 1]);
    (line, hash)
}

/// Whether a line is a record to its end: the chain is the last that is written of one. What a crash or a full disk
/// tore off has none.
pub(super) fn is_whole(line: &[u8]) -> bool {
    prev_of(line).is_some()
}

/// The `prev` of a whole line.
pub(super) fn prev_of(line: &[u8]) -> Option<&[u8]> {
    const PREV: &[u8] = b",\"prev\":\"";
    const DIGITS: usize = 64;
    let digits = line.strip_suffix(b"\"}")?;
    let (head, digits) = digits.split_at_checked(digits.len().checked_sub(DIGITS)?)?;
    let is_prev =
        head.ends_with(PREV) && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_prev.then_some(digits)
}

/// What the next line's `prev` is the hash of: the last whole line, with the torn ones after it. These have no `prev`
/// themselves; without the whole line, nothing would show that it was taken out.
#[derive(Debug, Default)]
pub(super) struct Link {
    hash: Sha256,
    begun: bool,
}

impl Link {
    /// Takes in a line, without its newline.
    pub(super) fn add(&mut self, line: &[u8]) {
        if is_whole(line) {
            *self = Self::default();
        } else if self.begun {
            self.hash.update(b"\n");
        }
        self.hash.update(line);
        self.begun = true;
    }

    /// Takes in more of the last line.
    pub(super) fn go_on(&mut self, piece: &[u8]) {
        self.hash.update(piece);
    }

    /// The hash; `None` before the first line.
    pub(super) fn hash(&self) -> Option<LineHash> {
        self.digest().map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The same as bytes.
    pub(super) fn digest(&self) -> Option<[u8; 32]> {
        self.begun.then(|| self.hash.clone().finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_whole_when_its_chain_is() {
        let line = format!("{{\"kind\":\"lost\",\"prev\":\"{}\"}}", no_line());
        assert!(is_whole(line.as_bytes()));
        for end in 0..line.len() {
            assert!(!is_whole(&line.as_bytes()[..end]), "{}", &line[..end]);
        }
        let quoted = format!("{{\"argv\":[\",\\\"prev\\\":\\\"{}\"}}", no_line());
        assert!(!is_whole(quoted.as_bytes()), "{quoted}");
    }
}
