//! What is true of every manifest, whatever the test was about. Checked when a test's broker stops.
//!
//! Of the ten invariants: every line parses or is one marked torn line (I1), numbers are unique (I2), a start
//! has one end (I3, I4), every number is accounted for, refusals by a record (I5), the chain holds (I8). That
//! nothing runs on (I9), and that descriptors and threads come back (I10), `broker.rs` looks at when it stops
//! the broker; that no scope holds anything afterwards, is checked here (I9). A capture has as many bytes as
//! its record says (I6), and what a caller got stands in it, which `call.rs` has checked with each answer
//! (I7). What a command wrote, and that the journal has each hash, the tests of those say.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::broker::Broker;
use super::manifest::{self, Record};
use super::program::sluice;

/// What befell the broker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// It was killed at least once: a line may be torn, a counted refusal without its count.
    pub(crate) was_killed: bool,
    /// The last one was: a call may lack its end.
    pub(crate) is_dead: bool,
    /// It said that records could not be written.
    pub(crate) lost_records: bool,
}

const KINDS: [&str; 11] =
    ["open", "start", "exit", "capture", "kept", "carried", "reject", "list", "lost", "reload", "close"];

/// Fails when the manifest at this path breaks a promise.
#[track_caller]
pub(crate) fn check(path: &Path, fate: Fate) {
    let bytes = std::fs::read(path).unwrap_or_default();
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "the last line has no end");
    assert!(bytes.iter().all(|&byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "not printable ASCII");
    let records = manifest::read(path);
    check_records(&records, fate);
    opened_and_closed(&records, fate);
    captures_are_counted(&records);
    scopes_are_empty(&records, fate);
    verifies(path, &records, fate);
}

/// `sluice verify` finds nothing, unless a test cut the file or the last broker was killed while it wrote.
#[track_caller]
fn verifies(path: &Path, records: &[Record], fate: Fate) {
    let begins = records.first().is_some_and(|first| first.is("open"));
    let was_cut = !begins || records.iter().any(|record| record.is("open missing"));
    if !was_cut && !fate.is_dead {
        sluice(["verify".as_ref(), "--journal=none".as_ref(), path.as_os_str()]).exited(0);
    }
}

/// The lines of several files, the oldest first, which hold every promise as if they were one.
#[track_caller]
pub(crate) fn check_files(paths: &[&Path]) -> Vec<Record> {
    let records: Vec<_> = paths.iter().flat_map(|path| manifest::read(path)).collect();
    check_records(&records, Fate { was_killed: true, ..Fate::default() });
    records
}

#[track_caller]
fn check_records(records: &[Record], fate: Fate) {
    lines_parse(records, fate);
    chain_holds(records);
    numbers_are_unique(records);
    numbers_are_accounted_for(records, fate);
    calls_are_closed(records, fate);
}

#[track_caller]
fn lines_parse(records: &[Record], fate: Fate) {
    for (index, record) in records.iter().enumerate() {
        if record.value.is_null() {
            let bytes = u64::try_from(record.line.len()).expect("it is short");
            let set_apart = records
                .get(index + 1)
                .is_some_and(|next| next.is("open torn torn_sha256") && next.number("torn") == bytes);
            assert!(fate.was_killed && set_apart, "line {} does not parse: {record}", index + 1);
            continue;
        }
        assert!(KINDS.contains(&record.kind()), "line {} is of no known kind: {record}", index + 1);
        assert!(record.get("ts").as_u64().is_some_and(|ts| ts > 1_600_000_000_000), "no time in {record}");
    }
}

#[track_caller]
fn chain_holds(records: &[Record]) {
    // A file that follows another one goes on from there.
    let first = records.first().and_then(|first| first.get("prev").as_str());
    let mut before = first.unwrap_or_default().to_owned();
    for (index, record) in records.iter().enumerate() {
        if record.value.is_null() {
            continue;
        }
        assert_eq!(record.get("prev").as_str(), Some(&*before), "the chain breaks at line {}", index + 1);
        assert!(
            record.line.ends_with(format!("\"prev\":\"{before}\"}}").as_bytes()),
            "prev is not last: {record}"
        );
        before = Sha256::digest(&record.line).iter().map(|byte| format!("{byte:02x}")).collect();
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

/// No request goes without a record: each number was given to a call or a refusal, unless records failed.
#[track_caller]
fn numbers_are_accounted_for(records: &[Record], fate: Fate) {
    // A file that was left for another one and come back to lacks what that one has.
    let was_left = |pair: &[Record]| pair[0].is("close") && pair[0].get("next") != pair[1].get("next");
    let whole =
        records.first().is_some_and(|first| first.is("open next=1")) && !records.windows(2).any(was_left);
    let Some(next) = records.last().and_then(|last| last.get("next").as_u64()).filter(|_| whole) else {
        return;
    };
    let calls = records.iter().filter(|record| ["start", "exit", "lost"].contains(&record.kind()));
    let calls = calls.map(|record| record.number("call")).collect::<HashSet<_>>().len();
    let refused = records.iter().filter(|record| record.kind() == "reject");
    let refused = refused.map(|record| record.get("count").as_u64().unwrap_or(1)).sum::<u64>();
    let known = refused + u64::try_from(calls).expect("few");
    // The number of a start that could not be written is gone; the notice of it may have met the same fault.
    let lost_start = records.iter().any(|record| record.is("reject reason=audit"));
    let exact = !fate.was_killed && !fate.lost_records && !lost_start;
    assert!(known < next && (!exact || known == next - 1), "{known} of {} requests are on record", next - 1);
}

#[track_caller]
fn calls_are_closed(records: &[Record], fate: Fate) {
    let mut ends: HashMap<u64, usize> = HashMap::new();
    for record in records.iter().filter(|record| ["exit", "lost"].contains(&record.kind())) {
        *ends.entry(record.number("call")).or_default() += 1;
    }
    assert!(ends.values().all(|&count| count == 1), "a call ended twice: {ends:?}");
    for start in records.iter().filter(|record| record.kind() == "start") {
        assert!(fate.is_dead || ends.contains_key(&start.number("call")), "no end of {start}");
    }
}

#[track_caller]
fn opened_and_closed(records: &[Record], fate: Fate) {
    let Some(first) = records.first() else { return };
    assert!(fate.lost_records || first.kind() == "open", "the first record: {first}");
    let highest =
        records.iter().flat_map(|record| [record.get("call").as_u64(), record.get("last").as_u64()]);
    let next = highest.flatten().max().unwrap_or_default() + 1;
    if !fate.is_dead
        && let Some(last) = records.last()
    {
        assert_eq!(last.kind(), "close", "the last record: {last}");
        // What could not be written has a number too.
        assert!(last.number("next") >= next, "the next number: {last}");
    }
}

/// A capture holds as many bytes as the last word on its call says. One that a test took away, or made in a
/// place that only the broker sees, cannot be looked at; a relay that was held up may not have had the last
/// word.
#[track_caller]
fn captures_are_counted(records: &[Record]) {
    for start in records.iter().filter(|record| record.kind() == "start") {
        let call = start.number("call");
        let mut ends = records.iter().filter(|record| ["exit", "capture", "lost"].contains(&record.kind()));
        let Some(end) = ends.rfind(|record| record.number("call") == call) else { continue };
        for stream in ["stdin", "stdout", "stderr"] {
            let bytes = end.get(&format!("{stream}_bytes")).as_u64();
            let size = start.get(stream).as_str().and_then(|path| std::fs::metadata(path).ok());
            if let (Some(bytes), Some(size)) =
                (bytes, size.filter(|_| !end.is(&format!("{} capturing", end.kind()))))
            {
                assert_eq!(bytes, size.len(), "{stream} of {end}");
            }
        }
    }
}

/// No process is in the scope of a call that is over, and all are when their broker has left.
#[track_caller]
fn scopes_are_empty(records: &[Record], fate: Fate) {
    for start in records.iter().filter(|record| record.kind() == "start" && !fate.is_dead) {
        let (path, id) = (start.get("cgroup").as_str(), start.get("cgroup_id").as_u64());
        let Some(place) = path.map(|path| Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')))
        else {
            continue;
        };
        // Under another number it is another one.
        let is_meant = std::fs::metadata(&place).is_ok_and(|found| Some(found.ino()) == id);
        let events = std::fs::read_to_string(place.join("cgroup.events")).unwrap_or_default();
        assert!(!is_meant || !events.contains("populated 1"), "something runs on in the scope of {start}");
    }
}

/// What a caller got stands at the front of a capture of such a call, unless that says that something is
/// missing.
#[track_caller]
pub(super) fn what_came_is_captured(
    broker: &Broker,
    from: usize,
    argv: &[impl AsRef<str>],
    outputs: [(&str, Vec<u8>); 2],
) {
    if !["stdoutfile", "stderrfile"].iter().any(|key| broker.rules().contains(key)) {
        return;
    }
    let records = broker.records();
    // After a rotation the start may stand in the older file.
    if records.first().is_none_or(|open| open.get("next").as_u64() != Some(1)) {
        return;
    }
    let is_cut = |record: &Record| record.get("truncated").as_bool() == Some(true);
    let lacks = |call| records.iter().any(|record| is_cut(record) && record.number("call") == call);
    let is_such =
        |record: &&Record| record.is("start") && record.argv().iter().eq(argv.iter().map(AsRef::as_ref));
    for (stream, came) in outputs {
        let starts = records.iter().skip(from).filter(is_such);
        let starts = starts.filter(|start| !lacks(start.number("call")));
        // One that only the broker sees cannot be looked at.
        let mut held = starts.filter_map(|start| std::fs::read(start.get(stream).as_str()?).ok()).peekable();
        let is_captured = held.peek().is_none() || held.any(|bytes| bytes.starts_with(&came));
        assert!(is_captured, "{stream} holds other bytes than its caller got{}", broker.transcript(from));
    }
}
