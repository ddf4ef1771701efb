//! What a manifest already holds: its highest number, the hashes of its last lines, the calls without an end, and what
//! a crash tore off. Reads the end of a file that was closed, and any other once, from front to back, in one buffer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use memchr::memrchr;
use serde::Deserialize;

use crate::ids::CallId;
use crate::limits::CLOSE_BYTES_MAX;

use super::chain::{LineHash, Link, hash_line, is_whole, prev_of};
use super::read::Lines;
use super::stray::Begun;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// The number of the next request.
    pub(super) next: CallId,
    /// The last line, unless there is none.
    pub(super) last: Option<Last>,
    /// Bytes after the last newline: what a crash or a full disk left of a line.
    pub(super) torn: usize,
    /// Calls that a broker began here and did not end.
    pub(super) unfinished: BTreeMap<CallId, Begun>,
    /// Calls that ended, and whose captures did not.
    pub(super) capturing: BTreeMap<CallId, Begun>,
    /// Calls that ended, and left something that still runs.
    pub(super) keeping: BTreeMap<CallId, Begun>,
    /// The host's boot in which the last broker began.
    pub(super) boot: Option<String>,
}

/// How a manifest ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// What the next line's `prev` is.
    pub(super) hash: LineHash,
    /// The hash of the last whole line, and what this one follows.
    whole: Option<(LineHash, LineHash)>,
}

impl Last {
    /// Whether the line with this hash is where a manifest that nobody touched has the last one that was noted: at
    /// the end, or before a line that a killed broker had no time to note.
    pub(super) fn follows(&self, noted: &LineHash) -> bool {
        let is_noted = |(whole, before): &(LineHash, LineHash)| whole == noted || before == noted;
        self.hash == *noted || self.whole.as_ref().is_some_and(is_noted)
    }
}

/// What a manifest holds. One that was closed, and not touched since, is known by its last line: what an earlier one
/// says is over, however many there are. `noted` is the hash of the last line as its mark knows it.
pub(super) fn look_back(
    mut manifest: &File,
    noted: &LineHash,
    is_left: fn(&Begun) -> bool,
) -> io::Result<History> {
    let bytes = manifest.metadata()?.len();
    let mut tail = [0; CLOSE_BYTES_MAX];
    let read = manifest.read_at(&mut tail, bytes.saturating_sub(CLOSE_BYTES_MAX as u64))?;
    if let Some(history) = of_close(&tail[..read], noted) {
        return Ok(history);
    }
    manifest.seek(SeekFrom::Start(0))?;
    read_history(manifest, is_left)
}

/// The history that the last line of a manifest's `tail` tells, if it is a `close` with this hash.
fn of_close(tail: &[u8], noted: &LineHash) -> Option<History> {
    let lines = tail.strip_suffix(b"\n")?;
    let line = &lines[memrchr(b'\n', lines)? + 1..];
    let before = String::from_utf8_lossy(prev_of(line)?).into_owned();
    let hash = hash_line(line);
    if Line::read(line).kind != "close" || hash != *noted {
        return None;
    }
    let mut history = History::default();
    history.take(line, |_| false);
    history.last = Some(Last { hash: hash.clone(), whole: Some((hash, before)) });
    Some(history)
}

/// Reads a whole manifest. Lines that are not records are passed over: they prove nothing about numbers. `is_left` is
/// asked of each call that left something running, since the most have nothing left by now, and may be many.
fn read_history(manifest: impl Read, is_left: fn(&Begun) -> bool) -> io::Result<History> {
    let mut lines = Lines::new(manifest);
    let mut history = History::default();
    let mut link = Link::default();
    let mut whole = Vec::new();
    while let Some(line) = lines.read_line()? {
        history.torn = if line.ended { 0 } else { line.bytes.len() };
        if line.continues {
            link.go_on(line.bytes);
            continue;
        }
        link.add(line.bytes);
        history.take(line.bytes, is_left);
        if is_whole(line.bytes) {
            line.bytes.clone_into(&mut whole);
        }
    }
    let before = prev_of(&whole).map(|prev| String::from_utf8_lossy(prev).into_owned());
    let whole = before.map(|before| (hash_line(&whole), before));
    history.last = link.hash().map(|hash| Last { hash, whole });
    Ok(history)
}

/// What a line says about those that come.
#[derive(Default, Deserialize)]
struct Line<'l> {
    #[serde(borrow, default)]
    kind: Cow<'l, str>,
    call: Option<u64>,
    last: Option<u64>,
    next: Option<u64>,
    #[serde(default)]
    running: Vec<u64>,
    #[serde(default)]
    capturing: bool,
    #[serde(default)]
    keeping: bool,
    boot: Option<String>,
}

impl<'l> Line<'l> {
    fn read(line: &'l [u8]) -> Self {
        serde_json::from_slice(line).unwrap_or_default()
    }

    /// The first number that it leaves free.
    fn after(&self) -> CallId {
        let used = self.call.max(self.last).map_or(CallId::FIRST, |call| CallId::new(call).next());
        used.max(CallId::new(self.next.unwrap_or(0)))
    }
}

impl History {
    fn take(&mut self, bytes: &[u8], is_left: fn(&Begun) -> bool) {
        let line = Line::read(bytes);
        self.next = self.next.max(line.after());
        match (&*line.kind, line.call.map(CallId::new)) {
            ("start", Some(call)) => {
                self.unfinished.insert(call, Begun { line: bytes.to_owned(), is_of_other_boot: false });
            }
            ("carried", Some(call)) => {
                let begun = Begun { line: bytes.to_owned(), is_of_other_boot: false };
                if line.capturing || line.keeping {
                    self.end(call, &line, begun, is_left);
                } else {
                    self.unfinished.insert(call, begun);
                }
            }
            ("exit" | "lost", Some(call)) => {
                if let Some(begun) = self.unfinished.remove(&call) {
                    self.end(call, &line, begun, is_left);
                }
            }
            ("capture", Some(call)) => drop(self.capturing.remove(&call)),
            ("kept", Some(call)) => drop(self.keeping.remove(&call)),
            ("open", _) => {
                self.compare_boot(line.boot.as_deref());
                for call in line.running {
                    self.unfinished.entry(CallId::new(call)).or_default();
                }
                self.boot = line.boot;
            }
            // What ran on when a broker left this file ends in another one.
            ("close", _) => {
                self.unfinished.clear();
                self.capturing.clear();
                self.keeping.clear();
            }
            _ => {}
        }
    }

    /// Remembers a call that ended for what of it went on.
    fn end(&mut self, call: CallId, line: &Line<'_>, begun: Begun, is_left: fn(&Begun) -> bool) {
        if line.keeping && is_left(&begun) {
            self.keeping.insert(call, begun.clone());
        }
        if line.capturing {
            self.capturing.insert(call, begun);
        }
    }
}

impl History {
    /// Marks the calls so far when the host was booted since: it is in this boot now.
    pub(super) fn compare_boot(&mut self, now: Option<&str>) {
        if self.boot.is_some() && self.boot.as_deref() != now {
            let begun = self.unfinished.values_mut().chain(self.capturing.values_mut());
            begun.for_each(|begun| begun.is_of_other_boot = true);
            self.keeping.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::limits::RECORD_LINE_BYTES_MAX;

    use super::*;

    /// As if something of each call were left.
    fn read(manifest: &str) -> History {
        read_history(manifest.as_bytes(), |_| true).expect("no I/O here")
    }

    fn check(manifest: &str, next: u64, last: &str, torn: usize) {
        let history = read(manifest);
        let hash = history.last.map(|last| last.hash);
        let want = (!last.is_empty()).then(|| hash_line(last.as_bytes()));
        assert_eq!((history.next.get(), hash, history.torn), (next, want, torn));
    }

    /// The beginning of a record, with a chain behind it.
    fn whole(head: &str) -> String {
        format!("{head},\"prev\":\"{}\"}}", "ab".repeat(32))
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
    fn a_manifest_that_was_closed_is_known_by_its_end() {
        let (start, close) =
            (whole("{\"kind\":\"start\",\"call\":7"), whole("{\"kind\":\"close\",\"next\":9"));
        let noted = hash_line(close.as_bytes());
        let manifest = format!("{start}\n{close}\n");
        let all = read_history(manifest.as_bytes(), |_| true).expect("no I/O here");
        assert_eq!(of_close(manifest.as_bytes(), &noted), Some(all));
        for other in [format!("{manifest}{{"), format!("{close}\n{start}\n"), format!("{start}\n{close}")] {
            assert_eq!(of_close(other.as_bytes(), &noted), None, "{other}");
        }
        assert_eq!(of_close(manifest.as_bytes(), &hash_line(start.as_bytes())), None);
        assert_eq!(of_close(format!("{close}\n{start}\n").as_bytes(), &hash_line(start.as_bytes())), None);
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

    #[test]
    fn what_was_noted_is_at_the_end_or_just_before_it() {
        let line = whole("{\"call\":2");
        let last = read(&format!("{line}\n{{\"ca")).last;
        let last = last.expect("there are lines");
        assert!(last.follows(&"ab".repeat(32)) && last.follows(&hash_line(line.as_bytes())));
        assert!(last.follows(&last.hash) && !last.follows(&"0".repeat(64)));
    }

    fn unfinished(manifest: &[&str], want: &[u64]) {
        let history = read(&manifest.join("\n"));
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
        unfinished(&[r#"{"kind":"reject","call":3}"#, "not json"], &[]);
    }

    #[test]
    fn captures_that_went_on_are_unfinished_until_their_record() {
        let start = r#"{"kind":"start","call":3,"stdout":"/a"}"#;
        let exit = r#"{"kind":"exit","call":3,"capturing":true}"#;
        let capturing = |lines: &[&str]| {
            let history = read(&lines.join("\n"));
            assert_eq!(history.unfinished.len(), 0);
            history.capturing.into_values().map(|begun| begun.line).collect::<Vec<_>>()
        };
        assert_eq!(capturing(&[start, exit]), [start.as_bytes()]);
        assert_eq!(capturing(&[start, exit, r#"{"kind":"capture","call":3}"#]).len(), 0);
        assert_eq!(capturing(&[start, exit, r#"{"kind":"close"}"#]).len(), 0);
        assert_eq!(capturing(&[start, r#"{"kind":"exit","call":3}"#]).len(), 0);
    }

    #[test]
    fn what_a_call_kept_is_remembered_until_its_record() {
        let start = r#"{"kind":"start","call":3,"cgroup":"/a","cgroup_id":7}"#;
        let exit = r#"{"kind":"exit","call":3,"keeping":true}"#;
        let kept = |lines: &[&str]| {
            let history = read(&lines.join("\n"));
            assert_eq!(history.unfinished.len(), 0);
            history.keeping.into_values().map(|begun| begun.line).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[start, exit]), [start.as_bytes()]);
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
        let lines = [start, r#"{"kind":"exit","call":3,"keeping":true}"#].join("\n");
        let history = read_history(lines.as_bytes(), Begun::is_left).expect("no I/O here");
        assert_eq!(history.keeping.len(), 0);
    }

    #[test]
    fn a_file_that_was_begun_later_has_what_its_calls_left() {
        let open = r#"{"kind":"open","next":9,"running":[3]}"#;
        let carried = |more: &str| format!(r#"{{"kind":"carried","call":3{more},"stdout":"/a"}}"#);
        let (runs, captured) = (carried(""), carried(r#","capturing":true"#));
        let line = |begun: BTreeMap<CallId, Begun>| begun.into_values().map(|begun| begun.line).next();
        assert_eq!(line(read(&[open, &runs].join("\n")).unfinished), Some(runs.clone().into_bytes()));
        let kept = carried(r#","keeping":true"#);
        assert_eq!(line(read(&kept).keeping), Some(kept.clone().into_bytes()));
        assert_eq!(line(read(&captured).capturing), Some(captured.clone().into_bytes()));
        let exit = r#"{"kind":"exit","call":3,"keeping":true}"#;
        assert_eq!(line(read(&[open, &runs, exit].join("\n")).keeping), Some(runs.clone().into_bytes()));
        // In the same file, the start is there too.
        assert_eq!(line(read(&[&*runs, open].join("\n")).unfinished), Some(runs.into_bytes()));
    }

    #[test]
    fn a_call_that_runs_while_a_file_is_begun_is_of_that_boot() {
        let opens = [r#"{"kind":"open","boot":"a"}"#, r#"{"kind":"open","boot":"b","running":[3]}"#];
        let begun = read(&opens.join("\n")).unfinished.into_values().next().expect("it runs");
        assert!(!begun.is_of_other_boot);
    }

    #[test]
    fn a_call_of_another_boot_stays_one() {
        let open = |boot| format!("{{\"kind\":\"open\",\"boot\":\"{boot}\"}}");
        let start = |call| format!("{{\"kind\":\"start\",\"call\":{call}}}");
        let lines = [open("a"), start(1), open("b"), start(2), open("b")].join("\n");
        let mut history = read(&lines);
        let others =
            |history: &History| history.unfinished.values().map(|begun| begun.is_of_other_boot).collect();
        let now: Vec<bool> = others(&history);
        assert_eq!(now, [true, false]);
        history.compare_boot(Some("c"));
        let now: Vec<bool> = others(&history);
        assert_eq!(now, [true, true]);
    }
}
