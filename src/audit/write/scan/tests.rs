//! The contents of a manifest as the next broker reads them, and what a changed manifest cannot make it
//! believe.

use std::collections::BTreeMap;
use std::io::Cursor;

use crate::audit::chain::{chained, hash_line, no_line};
use crate::ids::CallId;
use crate::limits::{CALL_NUMBER_MAX, RECORD_LINE_BYTES_MAX};

use super::*;

/// A manifest of these records, each of which follows the one before it.
fn manifest(records: &[&str]) -> String {
    let (mut text, mut prev) = (String::new(), no_line());
    for record in records {
        let (line, hash) = chained(record, &prev);
        (text, prev) = (text + &line, hash);
    }
    text
}

fn read_bytes(manifest: &str, noted: Option<&str>) -> ManifestScan {
    let noted = noted.map(|line| Digest::of_line(line.as_bytes()));
    // As if processes of each call still ran.
    read_history(&mut Cursor::new(manifest), noted, |_| true).expect("no I/O here")
}

fn read(records: &[&str]) -> ManifestScan {
    read_bytes(&manifest(records), None)
}

/// Checks the contents of a manifest: the next number, its last record, bytes that were torn, foreign lines.
fn check(manifest: &str, noted: Option<&str>, want: (u64, Option<&str>, u64, u64)) {
    let history = read_bytes(manifest, noted);
    let hash = history.last.map(|last| last.hash);
    let (next, last, torn, foreign) = want;
    let found = history.foreign.map_or(0, |foreign| foreign.lines);
    let want = (next, last.map(|last| hash_line(last.as_bytes())), torn, foreign);
    assert_eq!((history.next.get(), hash, history.torn.map_or(0, |torn| torn.bytes), found), want);
}

fn last_line(manifest: &str) -> &str {
    manifest.trim_end().rsplit('\n').next().unwrap_or_default()
}

const START: &str = r#"{"kind":"start","call":1,"ts":1}"#;
const SECOND: &str = r#"{"kind":"start","call":2,"ts":1}"#;

#[test]
fn the_highest_number_counts_wherever_it_stands() {
    check("", None, (1, None, 0, 0));
    let two = manifest(&[r#"{"kind":"x","call":7}"#, r#"{"kind":"x","call":3}"#]);
    check(&two, None, (8, Some(last_line(&two)), 0, 0));
    let many = manifest(&[r#"{"kind":"x","call":7,"last":90}"#, r#"{"kind":"x"}"#]);
    check(&many, None, (91, Some(last_line(&many)), 0, 0));
    let open = manifest(&[r#"{"kind":"open","next":12}"#]);
    check(&open, None, (12, Some(last_line(&open)), 0, 0));
}

#[test]
fn a_manifest_that_was_closed_is_known_by_its_end() {
    let start = r#"{"kind":"start","call":7}"#;
    let closed = manifest(&[start, r#"{"kind":"close","next":9}"#]);
    let close = last_line(&closed);
    let noted = Some(Digest::of_line(close.as_bytes()));
    assert_eq!(of_close(closed.as_bytes(), noted), Some(read_bytes(&closed, None)));
    let more = manifest(&[r#"{"kind":"close","next":9}"#, start]);
    for other in [format!("{closed}{{"), more.clone(), closed.trim_end().to_owned(), format!("{closed}\n")] {
        assert_eq!(of_close(other.as_bytes(), noted), None, "{other}");
    }
    assert_eq!(of_close(closed.as_bytes(), Some(Digest::of_line(start.as_bytes()))), None);
    assert_eq!(of_close(closed.as_bytes(), None), None);
    let last = Digest::of_line(last_line(&more).as_bytes());
    assert_eq!(of_close(more.as_bytes(), Some(last)), None);
}

#[test]
fn what_was_put_after_a_close_began_no_call() {
    let open = r#"{"kind":"open","ts":1,"next":1}"#;
    let closed = [open, START, r#"{"kind":"exit","call":1,"ts":1}"#, r#"{"kind":"close","ts":1,"next":2}"#];
    let close = manifest(&closed);
    let noted = Some(last_line(&close));
    let put =
        [&closed[..], &[r#"{"kind":"start","call":700,"ts":1}"#, r#"{"kind":"close","ts":1,"next":900}"#]]
            .concat();
    for count in [5, 6] {
        let text = manifest(&put[..count]);
        check(&text, noted, (2, noted, 0, count as u64 - 4));
        assert!(read_bytes(&text, noted).unfinished.is_empty());
        assert!(read_bytes(&text, None).unfinished.is_empty());
    }
}

#[test]
fn a_torn_line_is_measured_and_tells_nothing() {
    let text = manifest(&[START, SECOND]);
    let last = last_line(&text);
    check(&format!("{text}{{\"kind\":\"exit\",\"call\":3,\"ar"), None, (3, Some(last), 27, 0));
    let torn = read_bytes(&format!("{text}{{\"kind\""), None);
    assert!(torn.is_open_ended && torn.torn.is_some_and(|torn| torn.hash == Digest::of_line(b"{\"kind\"")));
    check("not json\nneither\n", None, (1, None, 0, 2));
    check("not json\nneither", None, (1, None, 0, 2));
}

#[test]
fn a_line_without_an_end_is_foreign() {
    let long = "x".repeat(RECORD_LINE_BYTES_MAX + 7);
    check(&long, None, (1, None, 0, 1));
    let text = manifest(&[START]);
    check(&format!("{text}{long}"), None, (2, Some(last_line(&text)), 0, 1));
}

#[test]
fn a_record_that_lacks_only_its_newline_is_one() {
    let text = manifest(&[START, SECOND]);
    let history = read_bytes(text.trim_end(), None);
    assert!(history.is_open_ended && history.torn.is_none() && history.foreign.is_none());
    assert_eq!(history.unfinished.len(), 2);
}

#[test]
fn what_was_noted_is_at_the_end_or_just_before_it() {
    let text = manifest(&[START, SECOND]);
    let lines: Vec<_> = text.lines().collect();
    let last = read_bytes(&format!("{text}{{\"ki"), None).last.expect("there are lines");
    assert!(last.follows(&hash_line(lines[0].as_bytes())) && last.follows(&hash_line(lines[1].as_bytes())));
    assert!(!last.follows(&no_line()));
}

/// Lines that another writer put behind the records have no effect, whether they look like records or not.
#[test]
fn foreign_lines_are_counted_and_tell_nothing() {
    let text = manifest(&[r#"{"kind":"open","next":1}"#, START]);
    let last = last_line(&text).to_owned();
    let exit = r#"{"kind":"exit","call":1,"ts":1}"#;
    let of_nothing = chained(exit, &"ab".repeat(32)).0;
    let (later, hash) = chained(r#"{"kind":"start","call":900,"ts":1}"#, &"ab".repeat(32));
    let chain = later + &chained(exit, &hash).0;
    for added in
        [format!("{exit}\n"), of_nothing, format!("{last}\n"), "\n".to_owned(), chain, exit.to_owned()]
    {
        let lines = added.trim_end_matches('\n').matches('\n').count() as u64 + 1;
        check(&format!("{text}{added}"), Some(&last), (2, Some(&last), 0, lines));
        let history = read_bytes(&format!("{text}{added}"), Some(&last));
        assert_eq!(history.unfinished.len(), 1, "{added}");
        let hash = format!("{:x}", Sha256::digest(added.trim_end_matches('\n').to_owned() + "\n"));
        assert_eq!(history.foreign.map(|foreign| foreign.hash), Some(hash), "{added}");
        // Without a mark they have no effect either, but their numbers are not taken again.
        let bare = read_bytes(&format!("{text}{added}"), None);
        assert!(bare.unfinished.contains_key(&CallId::new(1)), "{added}");
    }
}

#[test]
fn a_number_of_lines_that_follow_nothing_is_passed_by_where_there_is_no_mark() {
    let text = manifest(&[START]);
    let added = chained(r#"{"kind":"exit","call":40,"ts":1}"#, &"ab".repeat(32)).0;
    assert_eq!(read_bytes(&format!("{text}{added}"), None).next, CallId::new(41));
    assert_eq!(read_bytes(&format!("{text}{added}"), Some(last_line(&text))).next, CallId::new(2));
    let end = chained(&format!(r#"{{"kind":"exit","call":{},"ts":1}}"#, u64::MAX), &"ab".repeat(32)).0;
    let next = read_bytes(&format!("{text}{end}"), None).next;
    assert!(next.get() > CALL_NUMBER_MAX, "such a manifest is refused");
}

#[test]
fn what_a_mark_vouches_for_counts_behind_a_gap() {
    let exit = r#"{"kind":"exit","call":1,"ts":1}"#;
    let text = manifest(&[r#"{"kind":"open","next":1}"#, START, SECOND, exit, r#"{"kind":"x"}"#]);
    let mut lines: Vec<_> = text.lines().collect();
    lines.remove(2);
    let cut = lines.join("\n") + "\n";
    let unfinished =
        |noted| read_bytes(&cut, noted).unfinished.into_keys().map(CallId::get).collect::<Vec<_>>();
    // No line after it vouches for the last line before the gap.
    assert_eq!(unfinished(Some(last_line(&text))), [0; 0]);
    let mut lines: Vec<_> = text.lines().collect();
    lines[2] = "{}";
    let other = lines.join("\n") + "\n";
    assert_eq!(read_bytes(&other, Some(last_line(&text))).unfinished.len(), 0);
}

/// A record without its `prev`.
fn body(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    line.split_once(",\"prev\"").map_or("", |(body, _)| body).to_owned() + "}"
}

fn unfinished(manifest: &[&str], want: &[u64]) {
    let history = read(manifest);
    assert_eq!(history.unfinished.into_keys().map(CallId::get).collect::<Vec<_>>(), want);
}

#[test]
fn a_start_without_an_end_is_unfinished() {
    let [start, other] = [r#"{"kind":"start","call":3}"#, r#"{"kind":"start","call":4}"#];
    unfinished(&[start, other, r#"{"kind":"exit","call":3}"#], &[4]);
    unfinished(&[start, r#"{"kind":"open","next":4}"#], &[3]);
    unfinished(&[start, r#"{"kind":"lost","call":3}"#], &[]);
    unfinished(&[r#"{"kind":"open","next":9,"running":[3,5]}"#, r#"{"kind":"exit","call":3}"#], &[5]);
    unfinished(&[start, r#"{"kind":"close","next":4}"#], &[]);
    unfinished(&[r#"{"kind":"reject","call":3}"#], &[]);
}

#[test]
fn captures_that_went_on_are_unfinished_until_their_record() {
    let start = r#"{"kind":"start","call":3,"stdout":"/a"}"#;
    let exit = r#"{"kind":"exit","call":3,"capturing":true}"#;
    let capturing = |lines: &[&str]| {
        let history = read(lines);
        assert_eq!(history.unfinished.len(), 0);
        history.capturing.into_values().map(|begun| body(&begun.line)).collect::<Vec<_>>()
    };
    assert_eq!(capturing(&[start, exit]), [start]);
    assert_eq!(capturing(&[start, exit, r#"{"kind":"capture","call":3}"#]).len(), 0);
    assert_eq!(capturing(&[start, exit, r#"{"kind":"close"}"#]).len(), 0);
    assert_eq!(capturing(&[start, r#"{"kind":"exit","call":3}"#]).len(), 0);
}

#[test]
fn what_a_call_kept_is_remembered_until_its_record() {
    let start = r#"{"kind":"start","call":3,"cgroup":"/a","cgroup_id":7}"#;
    let exit = r#"{"kind":"exit","call":3,"keeping":true}"#;
    let kept = |lines: &[&str]| {
        let history = read(lines);
        assert_eq!(history.unfinished.len(), 0);
        history.keeping.into_values().map(|begun| body(&begun.line)).collect::<Vec<_>>()
    };
    assert_eq!(kept(&[start, exit]), [start]);
    assert_eq!(kept(&[start, exit, r#"{"kind":"capture","call":3}"#]).len(), 1);
    assert_eq!(kept(&[start, exit, r#"{"kind":"open"}"#]).len(), 1);
    assert_eq!(kept(&[start, exit, r#"{"kind":"kept","call":3}"#]).len(), 0);
    assert_eq!(kept(&[start, exit, r#"{"kind":"close"}"#]).len(), 0);
    assert_eq!(kept(&[start, r#"{"kind":"exit","call":3}"#]).len(), 0);
    let boots = [r#"{"kind":"open","boot":"a"}"#, start, exit, r#"{"kind":"open","boot":"b"}"#];
    assert_eq!(kept(&boots).len(), 0);
}

#[test]
fn of_what_ended_by_itself_nothing_is_held() {
    let start = r#"{"kind":"start","call":3,"cgroup":"/no/such/group","cgroup_id":7}"#;
    let lines = manifest(&[start, r#"{"kind":"exit","call":3,"keeping":true}"#]);
    let history = read_history(&mut Cursor::new(lines), None, UnendedCall::is_left).expect("no I/O here");
    assert_eq!(history.keeping.len(), 0);
}

#[test]
fn a_file_that_was_begun_later_has_what_its_calls_left() {
    let open = r#"{"kind":"open","next":9,"running":[3]}"#;
    let carried = |more: &str| format!(r#"{{"kind":"carried","call":3{more},"stdout":"/a"}}"#);
    let (runs, captured) = (carried(""), carried(r#","capturing":true"#));
    let line =
        |begun: BTreeMap<CallId, UnendedCall>| begun.into_values().map(|begun| body(&begun.line)).next();
    assert_eq!(line(read(&[open, &runs]).unfinished), Some(runs.clone()));
    let kept = carried(r#","keeping":true"#);
    assert_eq!(line(read(&[&*kept]).keeping), Some(kept.clone()));
    assert_eq!(line(read(&[&*captured]).capturing), Some(captured.clone()));
    let exit = r#"{"kind":"exit","call":3,"keeping":true}"#;
    assert_eq!(line(read(&[open, &runs, exit]).keeping), Some(runs.clone()));
    // In one file, the start is there too.
    assert_eq!(line(read(&[&*runs, open]).unfinished), Some(runs));
}

#[test]
fn a_call_that_runs_while_a_file_is_begun_is_of_that_boot() {
    let opens = [r#"{"kind":"open","boot":"a"}"#, r#"{"kind":"open","boot":"b","running":[3]}"#];
    let begun = read(&opens).unfinished.into_values().next().expect("it runs");
    assert!(!begun.is_of_other_boot);
}

#[test]
fn a_call_of_another_boot_stays_one() {
    let open = |boot| format!("{{\"kind\":\"open\",\"boot\":\"{boot}\"}}");
    let start = |call| format!("{{\"kind\":\"start\",\"call\":{call}}}");
    let lines = [open("a"), start(1), open("b"), start(2), open("b")];
    let mut history = read(&lines.each_ref().map(String::as_str));
    let others =
        |history: &ManifestScan| history.unfinished.values().map(|begun| begun.is_of_other_boot).collect();
    let now: Vec<bool> = others(&history);
    assert_eq!(now, [true, false]);
    history.compare_boot(Some("c"));
    let now: Vec<bool> = others(&history);
    assert_eq!(now, [true, true]);
}
