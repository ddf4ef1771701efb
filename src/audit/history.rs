//! What a manifest already holds: its highest number, the hash of its last line, and what a crash tore off. Reads
//! the file once, from front to back, in one buffer.

use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::ids::CallId;
use crate::limits::{RECORD_BYTES_MAX, SCAN_BUFFER_BYTES};

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

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct History {
    /// The number of the next request.
    pub(super) next: CallId,
    /// The hash of the last line.
    pub(super) prev: LineHash,
    /// Bytes after the last newline: what a crash or a full disk left of a line.
    pub(super) torn: usize,
}

/// Reads a whole manifest. Lines that are not records are passed over: they prove nothing about numbers.
pub(super) fn read_history(manifest: impl Read) -> io::Result<History> {
    let mut reader = BufReader::with_capacity(SCAN_BUFFER_BYTES, manifest);
    let mut history = History { next: CallId::FIRST, prev: no_line(), torn: 0 };
    let mut last = Vec::new();
    let mut line = Vec::new();
    while reader.by_ref().take(4 * RECORD_BYTES_MAX as u64).read_until(b'\n', &mut line)? > 0 {
        history.torn = if line.last() == Some(&b'\n') { 0 } else { line.len() };
        if history.torn == 0 {
            line.pop();
        }
        history.next = history.next.max(after(&line));
        std::mem::swap(&mut line, &mut last);
        line.clear();
    }
    if !last.is_empty() {
        history.prev = hash_line(&last);
    }
    Ok(history)
}

/// The first number that a line leaves free.
fn after(line: &[u8]) -> CallId {
    #[derive(Deserialize)]
    struct Numbers {
        call: Option<u64>,
        last: Option<u64>,
        next: Option<u64>,
    }
    let Ok(numbers) = serde_json::from_slice::<Numbers>(line) else { return CallId::FIRST };
    let used = numbers.call.max(numbers.last).map_or(CallId::FIRST, |call| CallId::new(call).next());
    used.max(CallId::new(numbers.next.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: &str, next: u64, last: &str, torn: usize) {
        let prev = if last.is_empty() { no_line() } else { hash_line(last.as_bytes()) };
        let want = History { next: CallId::new(next), prev, torn };
        assert_eq!(read_history(manifest.as_bytes()).expect("no I/O here"), want);
    }

    #[test]
    fn the_highest_number_counts_wherever_it_stands() {
        check("", 1, "", 0);
        check("{\"call\":7}\n{\"call\":3}\n", 8, "{\"call\":3}", 0);
        check("{\"call\":7,\"last\":90}\n{\"kind\":\"x\"}\n", 91, "{\"kind\":\"x\"}", 0);
        check("{\"kind\":\"open\",\"next\":12}\n", 12, "{\"kind\":\"open\",\"next\":12}", 0);
    }

    #[test]
    fn a_torn_line_is_measured_and_chained() {
        check("{\"call\":2}\n{\"call\":3,\"ar", 3, "{\"call\":3,\"ar", 13);
        check("not json\n", 1, "not json", 0);
    }
}
