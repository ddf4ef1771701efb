//! What is true of every manifest, whatever the test was about. Checked when a test's broker stops.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::manifest::{self, Record};

/// How the broker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was asked to stop.
    Orderly,
    /// It was killed at least once: a line may be torn, a call may lack its end.
    Killed,
}

const KINDS: [&str; 7] = ["open", "start", "exit", "reject", "lost", "reload", "close"];

/// Fails when the manifest at this path breaks a promise.
#[track_caller]
pub(crate) fn check(path: &Path, end: End) {
    let bytes = std::fs::read(path).unwrap_or_default();
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "the last line has no end");
    assert!(bytes.iter().all(|&byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "not printable ASCII");
    let records = manifest::read(path);
    lines_parse(&records, end);
    chain_holds(&records);
    numbers_are_unique(&records);
    calls_are_closed(&records, end);
    opened_and_closed(&records, end);
}

#[track_caller]
fn lines_parse(records: &[Record], end: End) {
    for (index, record) in records.iter().enumerate() {
        if record.value.is_null() {
            let set_apart = records.get(index + 1).is_some_and(|next| next.is("open torn"));
            assert!(end == End::Killed && set_apart, "line {} does not parse: {record}", index + 1);
            continue;
        }
        assert!(KINDS.contains(&record.kind()), "line {} is of no known kind: {record}", index + 1);
        assert!(record.get("ts").as_u64().is_some_and(|ts| ts > 1_600_000_000_000), "no time in {record}");
    }
}

#[track_caller]
fn chain_holds(records: &[Record]) {
    let none = "0".repeat(64);
    // A file that was begun after a rotation goes on from the one before it.
    let rotated = records.first().filter(|first| !first.is("open next=1"));
    let mut before = rotated.and_then(|first| first.get("prev").as_str()).unwrap_or(&none).to_owned();
    // What a torn line cannot carry, the next `prev` makes up for: it is the hash of the last whole line too.
    let mut since_whole = Sha256::new();
    for (index, record) in records.iter().enumerate() {
        if !record.value.is_null() {
            assert_eq!(record.get("prev").as_str(), Some(&*before), "the chain breaks at line {}", index + 1);
            assert!(
                record.line.ends_with(format!("\"prev\":\"{before}\"}}").as_bytes()),
                "prev is not last: {record}"
            );
            since_whole = Sha256::new();
        } else if index > 0 {
            since_whole.update(b"\n");
        }
        since_whole.update(&record.line);
        before = since_whole.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

/// A start or a refusal takes a number; no two share one, and they rise within their kind of a single writer.
#[track_caller]
fn numbers_are_unique(records: &[Record]) {
    let mut seen = HashSet::new();
    for record in records.iter().filter(|record| ["start", "reject"].contains(&record.kind())) {
        let first = record.number("call");
        let last = record.get("last").as_u64().unwrap_or(first);
        assert!(first <= last, "numbers run backwards: {record}");
        assert!(seen.insert(first), "call {first} is there twice: {record}");
        assert!(first == last || seen.insert(last), "call {last} is there twice: {record}");
    }
}

#[track_caller]
fn calls_are_closed(records: &[Record], end: End) {
    let mut ends: HashMap<u64, usize> = HashMap::new();
    for record in records.iter().filter(|record| ["exit", "lost"].contains(&record.kind())) {
        *ends.entry(record.number("call")).or_default() += 1;
    }
    assert!(ends.values().all(|&count| count == 1), "a call ended twice: {ends:?}");
    for start in records.iter().filter(|record| record.kind() == "start") {
        assert!(end == End::Killed || ends.contains_key(&start.number("call")), "no end of {start}");
    }
}

#[track_caller]
fn opened_and_closed(records: &[Record], end: End) {
    let Some(first) = records.first() else { return };
    assert_eq!(first.kind(), "open", "the first record: {first}");
    let highest =
        records.iter().flat_map(|record| [record.get("call").as_u64(), record.get("last").as_u64()]);
    let next = highest.flatten().max().unwrap_or_default() + 1;
    if end == End::Orderly
        && let Some(last) = records.last()
    {
        assert_eq!(last.kind(), "close", "the last record: {last}");
        // What could not be written has a number too.
        assert!(last.number("next") >= next, "the next number: {last}");
    }
}
