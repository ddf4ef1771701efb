//! What a manifest already holds: its highest number, the hash of its last line, and what a crash tore off. Reads
//! the file once, from front to back, in one buffer.

use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;

use crate::ids::CallId;
use crate::limits::{RECORD_LINE_BYTES_MAX, SCAN_BUFFER_BYTES};

use super::chain::{LineHash, Link, no_line};

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct History {
    /// The number of the next request.
    pub(super) next: CallId,
    /// What the next line's `prev` is.
    pub(super) prev: LineHash,
    /// Bytes after the last newline: what a crash or a full disk left of a line.
    pub(super) torn: usize,
}

/// Reads a whole manifest. Lines that are not records are passed over: they prove nothing about numbers.
pub(super) fn read_history(manifest: impl Read) -> io::Result<History> {
    let mut reader = BufReader::with_capacity(SCAN_BUFFER_BYTES, manifest);
    let mut history = History { next: CallId::FIRST, prev: no_line(), torn: 0 };
    let mut link = Link::default();
    let mut line = Vec::new();
    while reader.by_ref().take(RECORD_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? > 0 {
        let continues = history.torn > 0;
        history.torn = if line.last() == Some(&b'\n') { 0 } else { line.len() };
        if history.torn == 0 {
            line.pop();
        }
        history.next = history.next.max(after(&line));
        if continues {
            link.go_on(&line)
        } else {
            link.add(&line)
        }
        line.clear();
    }
    history.prev = link.hash().unwrap_or(history.prev);
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
    use super::super::chain::hash_line;
    use super::*;

    fn check(manifest: &str, next: u64, last: &str, torn: usize) {
        let prev = if last.is_empty() { no_line() } else { hash_line(last.as_bytes()) };
        let want = History { next: CallId::new(next), prev, torn };
        assert_eq!(read_history(manifest.as_bytes()).expect("no I/O here"), want);
    }

    #[test]
    fn the_highest_number_counts_wherever_it_stands() {
        check("", 1, "", 0);
        let (seven, three) = (whole("{\"call\":7"), whole("{\"call\":3"));
        check(&format!("{seven}\n{three}\n"), 8, &three, 0);
        let (many, other) = (whole("{\"call\":7,\"last\":90"), whole("{\"kind\":\"x\""));
        check(&format!("{many}\n{other}\n"), 91, &other, 0);
        check("{\"kind\":\"open\",\"next\":12}\n", 12, "{\"kind\":\"open\",\"next\":12}", 0);
    }

    #[test]
    fn a_torn_line_is_measured_and_chained_with_the_whole_one_before_it() {
        let two = whole("{\"call\":2");
        let manifest = format!("{}\n{two}\n{{\"call\":3,\"ar", whole("{\"call\":1"));
        check(&manifest, 3, &format!("{two}\n{{\"call\":3,\"ar"), 13);
        check("not json\nneither\n", 1, "not json\nneither", 0);
    }

    #[test]
    fn a_line_without_an_end_is_chained_as_it_is() {
        let long = "x".repeat(RECORD_LINE_BYTES_MAX + 7);
        check(&long, 1, &long, 7);
    }

    /// The beginning of a record, with a chain behind it.
    fn whole(head: &str) -> String {
        format!("{head},\"prev\":\"{}\"}}", no_line())
    }
}
