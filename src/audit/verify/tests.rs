//! Any change to a manifest is found, at every place of it.

use std::fs;

use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use crate::audit::{LineClassifier, ManifestLines, ParsedRecord, RecordHead, RecordKind};
use crate::limits::JOURNAL_LATE_MAX_MS;

use super::*;
use crate::audit::chain::{Digest, hash_line, no_line, prev_of};

/// Two files as a broker writes them: a rotation, a torn line, calls of each kind.
fn files() -> [Vec<u8>; 2] {
    let mut writer = Writer::default();
    writer.line(r#"{"kind":"open","ts":1700000000000,"broker":7,"boot":"b","next":1"#);
    writer.line(r#"{"kind":"start","call":1,"ts":1700000000001,"argv":["a"]"#);
    writer.line(r#"{"kind":"reject","call":2,"ts":1700000000002,"socket":"s","reason":"no_rule""#);
    writer.line(r#"{"kind":"exit","call":1,"ts":1700000000003,"status":0"#);
    writer.torn(r#"{"kind":"start","call":3,"ts":17000"#);
    let (at, torn) = (writer.file.len(), hash_line(br#"{"kind":"start","call":3,"ts":17000"#));
    writer.line(&format!(
        r#"{{"kind":"open","ts":1700000000004,"broker":7,"boot":"b","next":3,"torn":35,"torn_sha256":"{torn}","at":{at}"#
    ));
    writer.line(r#"{"kind":"exit","call":3,"ts":1700000000005,"socket":"s","rule":1,"status":0"#);
    let first = std::mem::take(&mut writer.file);
    writer.line(r#"{"kind":"open","ts":1700000000006,"broker":7,"boot":"b","next":4"#);
    writer.line(r#"{"kind":"start","call":4,"ts":1700000000007,"argv":["b"]"#);
    writer.line(r#"{"kind":"start","call":5,"ts":1700000000008,"argv":["c"]"#);
    writer.line(r#"{"kind":"exit","call":5,"ts":1700000000009,"status":1"#);
    writer.line(r#"{"kind":"lost","call":4,"ts":1700000000010"#);
    [first, writer.file]
}

#[derive(Default)]
struct Writer {
    file: Vec<u8>,
    last: Option<String>,
}

impl Writer {
    fn line(&mut self, head: &str) {
        let prev = self.last.clone().unwrap_or_else(no_line);
        self.put(&format!("{head},\"prev\":\"{prev}\"}}"));
    }

    fn torn(&mut self, text: &str) {
        self.put(text);
    }

    fn put(&mut self, line: &str) {
        if prev_of(line.as_bytes()).is_some() {
            self.last = Some(hash_line(line.as_bytes()));
        }
        self.file.extend(line.as_bytes());
        self.file.push(b'\n');
    }
}

/// The broker that wrote these files.
const BROKER: JournalProcess = JournalProcess { pid: 7, boot: 0xb };

/// The journal's entries on these files.
fn journal(files: &[Vec<u8>]) -> Vec<IndexedEntry> {
    let lines = files.iter().flat_map(|file| file.split(|&byte| byte == b'\n'));
    let entries = lines.filter_map(|line| {
        let record = ParsedRecord::of(line).filter(|_| prev_of(line).is_some())?;
        Some(IndexedEntry {
            prev: prev_of(line).and_then(Digest::of)?,
            hash: Digest::of(hash_line(line).as_bytes())?,
            call: record.call,
            kind: record.kind,
            begins_file: record.at == 0,
            ts: record.ts,
            process: Some(BROKER),
            program: SenderProgram::Broker,
            is_here: true,
        })
    });
    entries.collect()
}

/// The first fault of these files, given in the wrong order, with or without a journal.
fn finding(dir: &TempDir, files: &[Vec<u8>], journal: Option<&[Vec<u8>]>) -> Option<(String, ChainFinding)> {
    first_misfit(&report(dir, files, journal.map(self::journal)))
}

fn first_misfit(report: &VerifyReport) -> Option<(String, ChainFinding)> {
    let (place, finding) = report.finding()?;
    let name = place.file.file_name().expect("it has a name").to_string_lossy();
    Some((format!("{name}:{}", place.line), finding.clone()))
}

fn report(dir: &TempDir, files: &[Vec<u8>], journal: Option<Vec<IndexedEntry>>) -> VerifyReport {
    let paths = ["old", "new"].map(|name| dir.path().join(name));
    for (path, file) in paths.iter().zip(files) {
        fs::write(path, file).expect("written");
    }
    let given: Vec<_> = paths[..files.len()].iter().rev().cloned().collect();
    let ask = |_, _| journal.clone().map(JournalIndex::new).ok_or_else(|| "none".to_owned());
    verify(&given, &ask).expect("files can be read")
}

/// The lines of a file, each with its newline.
fn lines(file: &[u8]) -> Vec<Vec<u8>> {
    file.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[test]
fn what_a_broker_wrote_is_good() {
    let (dir, files) = (tempdir().expect("a directory"), files());
    assert_eq!(finding(&dir, &files, None), None);
    assert_eq!(finding(&dir, &files, Some(&files)), None);
    assert_eq!(finding(&dir, &files[..1], Some(&files)), None, "the journal knows that a new file was begun");
    assert_eq!(finding(&dir, &files[1..], Some(&files)), None);
}

#[test]
fn every_change_of_a_byte_is_found() {
    let (dir, files) = (tempdir().expect("a directory"), files());
    let last = lines(&files[1]).last().expect("lines").len();
    let vouched = files[1].len() - last;
    for (file, at) in [0, 1].into_iter().flat_map(|file| (0..files[file].len()).map(move |at| (file, at))) {
        for byte in [files[file][at] ^ 1, b'\n'] {
            if byte == files[file][at] {
                continue;
            }
            let mut changed = files.clone();
            changed[file][at] = byte;
            let found = finding(&dir, &changed, Some(&files));
            assert!(found.is_some(), "with the journal: byte {at} of file {file} became {byte}");
            let found = finding(&dir, &changed, None);
            assert!(
                found.is_some() || (file == 1 && at >= vouched),
                "byte {at} of file {file} became {byte}"
            );
        }
    }
}

#[test]
fn every_line_that_is_missing_or_doubled_is_found() {
    let (dir, files) = (tempdir().expect("a directory"), files());
    for file in [0, 1] {
        let count = lines(&files[file]).len();
        for index in 0..count {
            let is_last = (file, index + 1) == (1, count);
            let mut edited = files.clone();
            let mut left = lines(&edited[file]);
            let line = left.remove(index);
            edited[file] = left.concat();
            assert!(finding(&dir, &edited, None).is_some() || is_last, "without line {index} of file {file}");
            assert!(finding(&dir, &edited, Some(&files)).is_some(), "without line {index} of file {file}");
            for place in 0..=count {
                let mut more = lines(&files[file]);
                more.insert(place, line.clone());
                edited[file] = more.concat();
                assert!(
                    finding(&dir, &edited, None).is_some(),
                    "line {index} of file {file} again at {place}"
                );
            }
        }
    }
}

#[test]
fn every_swap_of_two_lines_is_found() {
    let (dir, files) = (tempdir().expect("a directory"), files());
    for file in [0, 1] {
        let count = lines(&files[file]).len();
        for (one, other) in (0..count).flat_map(|one| (0..one).map(move |other| (one, other))) {
            let mut swapped = lines(&files[file]);
            swapped.swap(one, other);
            let mut edited = files.clone();
            edited[file] = swapped.concat();
            assert!(finding(&dir, &edited, None).is_some(), "lines {one} and {other} of file {file}");
        }
    }
}

#[test]
fn a_cut_end_is_found_by_the_journal_alone() {
    let (dir, files) = (tempdir().expect("a directory"), files());
    for left in 1..lines(&files[1]).len() {
        let cut = [files[0].clone(), lines(&files[1])[..left].concat()];
        assert_eq!(finding(&dir, &cut, None), None, "the chain cannot know what came after it");
        let (place, found) = finding(&dir, &cut, Some(&files)).expect("the journal knows");
        assert_eq!(place, format!("new:{left}"));
        assert!(matches!(found, ChainFinding::Cut { .. }), "{found:?}");
    }
}

#[test]
fn a_history_written_anew_is_found_by_the_journal_alone() {
    let (dir, files) = (tempdir().expect("a directory"), files());
    let mut writer = Writer::default();
    for line in lines(&files[0]) {
        let text = String::from_utf8(line).expect("ASCII").trim_end().replace("no_rule", "outside");
        match text.split_once(",\"prev\"") {
            Some((head, _)) => writer.line(head),
            None => writer.torn(&text),
        }
    }
    let forged = [writer.file];
    assert_eq!(finding(&dir, &forged, None), None);
    let (place, found) = finding(&dir, &forged, Some(&files)).expect("the journal knows");
    assert_eq!(place, "old:3");
    assert_eq!(
        found,
        ChainFinding::Denied { kind: RecordKind::Reject, call: Some(crate::ids::CallId::new(2)) }
    );
}

/// The records of a file with a field added to each, and a chain that fits them.
fn written_anew(file: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    for line in lines(file) {
        let text = String::from_utf8(line)
            .expect("ASCII")
            .trim_end()
            .replace("\"ts\":170", "\"forged\":1,\"ts\":170");
        match text.split_once(",\"prev\"") {
            Some((head, _)) => writer.line(head),
            None => writer.torn(&text),
        }
    }
    writer.file
}

#[test]
fn a_manifest_of_which_the_journal_knows_nothing_is_none_where_it_knows_another() {
    let (dir, [_, file]) = (tempdir().expect("a directory"), files());
    let real = journal(std::slice::from_ref(&file));
    let forged = [written_anew(&file)];
    let records = real.len() as u64;
    let found = |journal: Vec<IndexedEntry>| first_misfit(&report(&dir, &forged, Some(journal)));
    let other = Some(("old:1".to_owned(), ChainFinding::OtherRecords { records }));
    assert_eq!(found(real.clone()), other);
    // Entries of another process, or of another program, for the forged records do not help.
    let sent = |change: fn(IndexedEntry) -> IndexedEntry| {
        journal(&forged).into_iter().map(change).collect::<Vec<_>>()
    };
    let by_program = sent(|entry| IndexedEntry { program: SenderProgram::Other, ..entry });
    let by_process =
        sent(|entry| IndexedEntry { process: Some(JournalProcess { pid: 8, ..BROKER }), ..entry });
    let of_other_boot =
        sent(|entry| IndexedEntry { process: Some(JournalProcess { boot: 1, ..BROKER }), ..entry });
    let unknown = sent(|entry| IndexedEntry { program: SenderProgram::Unknown, process: None, ..entry });
    for forged in [by_program.clone(), by_process, of_other_boot, unknown] {
        assert_eq!(found([real.clone(), forged].concat()), other);
    }
    // Where the journal has forgotten the real records, it is only reported that it confirms none of the
    // forged ones.
    let report = report(&dir, &forged, Some(by_program));
    assert_eq!(first_misfit(&report), None);
    assert!(report.remarks.contains(&VerifyRemark::OtherProcess { records }), "{:?}", report.remarks);
    assert!(report.remarks.contains(&VerifyRemark::NotInJournal { missing: records, of: records }));
}

#[test]
fn records_that_reach_the_journal_late_are_of_the_time_that_they_were_made_in() {
    let (dir, [_, file]) = (tempdir().expect("a directory"), files());
    let all = journal(std::slice::from_ref(&file));
    let found = |ms: u64| {
        let late = all.iter().map(|entry| IndexedEntry { ts: entry.ts + ms, ..*entry }).collect();
        first_misfit(&report(&dir, &[written_anew(&file)], Some(late)))
    };
    for ms in [1, 20, JOURNAL_LATE_MAX_MS] {
        let other = ChainFinding::OtherRecords { records: all.len() as u64 };
        assert_eq!(found(ms), Some(("old:1".to_owned(), other)), "{ms}");
    }
    assert_eq!(found(JOURNAL_LATE_MAX_MS + 1_000), None);
}

#[test]
fn an_entry_of_a_process_that_has_ended_counts_where_another_says_what_it_ran() {
    let (dir, files) = (tempdir().expect("a directory"), files());
    let mut entries = journal(&files);
    entries.last_mut().expect("entries").program = SenderProgram::Unknown;
    assert!(report(&dir, &files, Some(entries)).remarks.is_empty());
}

#[test]
fn a_manifest_of_another_place_is_told_of_and_is_none_where_there_was_one() {
    let (dir, files) = (tempdir().expect("a directory"), files());
    let moved: Vec<_> =
        journal(&files).into_iter().map(|entry| IndexedEntry { is_here: false, ..entry }).collect();
    let records = moved.len() as u64;
    let found = report(&dir, &files, Some(moved.clone()));
    assert_eq!((first_misfit(&found), &*found.remarks), (None, &[VerifyRemark::OtherPlace { records }][..]));
    // Entries of another history, of any time.
    let other = journal(&[written_anew(&files[1])]);
    let other: Vec<_> =
        other.into_iter().map(|entry| IndexedEntry { ts: entry.ts + 1_000_000, ..entry }).collect();
    let want = ChainFinding::OtherRecords { records: other.len() as u64 };
    let found = report(&dir, &files, Some([moved, other].concat()));
    assert_eq!(first_misfit(&found), Some(("old:1".into(), want)));
}

#[test]
fn what_comes_before_and_after_the_files_is_no_other_history() {
    let (dir, files) = (tempdir().expect("a directory"), files());
    // All entries have one time.
    let entries: Vec<_> =
        journal(&files).into_iter().map(|entry| IndexedEntry { ts: 1_700_000_000_006, ..entry }).collect();
    for one in [0, 1] {
        let found = report(&dir, &files[one..=one], Some(entries.clone()));
        assert_eq!(first_misfit(&found), None, "{one}");
    }
}

#[test]
fn what_happened_is_told_apart() {
    let dir = tempdir().expect("a directory");
    let check = |edit: &dyn Fn(&mut Vec<Vec<u8>>), want: (&str, ChainFinding)| {
        let mut edited = files();
        let mut all = lines(&edited[1]);
        edit(&mut all);
        edited[1] = all.concat();
        let (place, found) = finding(&dir, &edited, None).expect("a misfit");
        assert_eq!((&*place, found), want);
    };
    check(&|all| all.swap(2, 3), ("new:3", ChainFinding::Swapped));
    check(&|all| all.insert(3, all[2].clone()), ("new:4", ChainFinding::Doubled));
    check(&|all| all.insert(4, all[1].clone()), ("new:5", ChainFinding::Stray));
    check(&|all| drop(all.remove(2)), ("new:2", ChainFinding::ChangedOrMissing));
    check(&|all| drop(all.remove(0)), ("new:1", ChainFinding::HeadMissing));
    check(&|all| all[2][40] ^= 1, ("new:3", ChainFinding::ChangedOrMissing));
    check(&|all| all[2][3] ^= 1, ("new:3", ChainFinding::NotRecord));
    check(&|all| all[4].truncate(20), ("new:5", ChainFinding::Unfinished { bytes: 20 }));
}

#[test]
fn a_cut_that_a_broker_found_is_no_secret_of_its_own() {
    let (dir, [old, new]) = (tempdir().expect("a directory"), files());
    let mut writer = Writer::default();
    for line in lines(&old) {
        writer.put(String::from_utf8(line).expect("ASCII").trim_end());
    }
    let (at, missing) = (writer.file.len(), hash_line(b"what was there"));
    writer.line(&format!(r#"{{"kind":"open","ts":1700000000006,"next":4,"at":{at},"missing":"{missing}""#));
    let found = finding(&dir, &[writer.file], None);
    assert_eq!(found, Some(("old:8".into(), ChainFinding::FoundCut)));
    assert_eq!(finding(&dir, &[old, new], None), None);
}

#[test]
fn files_that_do_not_follow_each_other_are_found() {
    let (dir, [old, new]) = (tempdir().expect("a directory"), files());
    let found = |files: &[Vec<u8>]| finding(&dir, files, None);
    let shorter = lines(&old)[..3].concat();
    assert_eq!(found(&[shorter, new.clone()]), Some(("new:1".into(), ChainFinding::Unlinked)));
    assert_eq!(found(&[new.clone(), new]), Some(("old:1".into(), ChainFinding::Copy)));
    assert_eq!(found(&[old.clone(), old]), Some(("old:1".into(), ChainFinding::SecondBeginning)));
}

#[test]
fn what_was_put_after_a_close_is_found() {
    let (dir, [old, _]) = (tempdir().expect("a directory"), files());
    let closed = |more: &[&str]| {
        let mut writer = Writer::default();
        lines(&old).iter().for_each(|line| writer.put(String::from_utf8_lossy(line).trim_end()));
        writer.line(r#"{"kind":"close","ts":1700000000006,"next":4"#);
        more.iter().for_each(|line| writer.line(line));
        finding(&dir, &[writer.file], None)
    };
    let open = r#"{"kind":"open","ts":1700000000007,"next":4"#;
    assert_eq!(closed(&[]), None);
    let moved = Some(("old:9".into(), ChainFinding::Moved { was: 0, is: old.len() as u64 + 119 }));
    assert_eq!(closed(&[open]), moved, "but for its place, as it should be");
    let kinds = ["start", "exit", "capture", "kept", "carried", "reject", "list", "lost", "reload", "close"];
    for kind in kinds {
        let line = format!(r#"{{"kind":"{kind}","call":700,"ts":1700000000007,"status":0"#);
        assert_eq!(closed(&[&line]), Some(("old:9".into(), ChainFinding::AfterClose)), "{kind}");
        let found = closed(&[&line, open]);
        assert_eq!(found, Some(("old:9".into(), ChainFinding::AfterClose)), "{kind}, and a broker");
    }
}

/// Whether every line of a file is a record, for the broker that goes on after them and for `log`.
fn is_clean(file: &[u8]) -> bool {
    let mut standing = LineClassifier::new(None);
    let mut lines = ManifestLines::new(file);
    while let Some(line) = lines.read_line().expect("no I/O here") {
        standing.add(&line);
    }
    let stood = standing.finish();
    stood.is_clean() && stood.torn.is_none() && stood.is_ended
}

proptest! {
    /// But for faults of numbers and places, `verify` finds a fault if other readers find a foreign line, and
    /// only then.
    #[test]
    fn all_readers_agree(edits in prop::collection::vec((0usize..4, 0usize..12, 0usize..12), 1..4)) {
        let dir = tempdir().expect("a directory");
        let [file, _] = files();
        let mut all = lines(&file);
        for (what, one, other) in edits {
            let (one, other) = (one % all.len(), other % all.len());
            match what {
                0 => all.swap(one, other),
                1 => all.insert(one, all[other].clone()),
                2 if all.len() > 1 => drop(all.remove(one)),
                _ => all[one].insert(0, b'x'),
            }
        }
        let file = all.concat();
        let found = finding(&dir, std::slice::from_ref(&file), None);
        let is_of_numbers = matches!(
            found,
            Some((_, ChainFinding::HeadMissing | ChainFinding::Moved { .. } | ChainFinding::NumberTwice(_) | ChainFinding::EndTwice(_)))
        );
        prop_assert!(is_of_numbers || found.is_none() == is_clean(&file), "{found:?}");
    }

    #[test]
    fn the_head_is_what_the_record_says(call: u64, ts: u64, kind in 0usize..10) {
        let kind = ["open", "start", "exit", "capture", "kept", "carried", "reject", "lost", "reload", "close"][kind];
        let line = format!("{{\"kind\":\"{kind}\",\"call\":{call},\"ts\":{ts},\"argv\":[]}}");
        let head = RecordHead::of(line.as_bytes()).expect("a head");
        let record = ParsedRecord::of(line.as_bytes()).expect("a record");
        prop_assert_eq!((record.kind, record.call, record.ts), (head.kind, Some(head.call), head.ts));
    }

    #[test]
    fn a_head_needs_no_sense(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(RecordHead::of(&bytes).is_none());
    }
}
