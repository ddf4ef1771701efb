//! Calls as lines of a table, fitted to a terminal. Callers chose the text in records, so only printable
//! characters of it reach a terminal.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use crate::audit::{FoundLine, ParsedRecord, RecordHead, RecordKind};
use crate::ids::CallId;
use crate::limits::LOG_COLUMNS_WIDE;
use crate::wire::Status;

use super::style::{OutputStyle, command, fit};
use super::when;

/// A table that grows. Calls are in the order in which they began, and each is written when it has ended.
#[derive(Debug)]
pub(super) struct CallTable {
    style: OutputStyle,
    details: RefusalDetails,
    has_header: bool,
    calls: VecDeque<CallRow>,
    /// The number of the first call in `calls`, counted from the first call of the table.
    offset: usize,
    running: HashMap<CallId, usize>,
    /// Starts that were written before their calls ended.
    begun: HashMap<CallId, ParsedRecord>,
    names: HashMap<u32, String>,
}

/// The details of a refusal that are shown beside its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalDetails {
    /// No details.
    None,
    /// The sentence of the refusal's record, on a line of its own.
    Sentence,
}

/// One call.
#[derive(Debug)]
struct CallRow {
    begin: ParsedRecord,
    end: Option<ParsedRecord>,
}

impl CallRow {
    fn is_over(&self) -> bool {
        self.end.is_some() || self.begin.kind != RecordKind::Start
    }
}

impl CallTable {
    /// An empty table.
    pub(super) fn new(style: OutputStyle, details: RefusalDetails) -> Self {
        let (calls, running, begun, names) = Default::default();
        Self { style, details, has_header: false, calls, offset: 0, running, begun, names }
    }

    /// Takes in a record, and writes the calls that are complete by now.
    pub(super) fn take(
        &mut self,
        head: RecordHead,
        found: FoundLine,
        line: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(record) = ParsedRecord::of(line) else { return Ok(()) };
        match found {
            FoundLine::Begin => {
                self.running.insert(head.call, self.offset + self.calls.len());
                self.calls.push_back(CallRow { begin: record, end: None });
            }
            FoundLine::Whole => self.calls.push_back(CallRow { begin: record, end: None }),
            FoundLine::End => self.end(head.call, record),
            FoundLine::More => {}
        }
        while self.calls.front().is_some_and(CallRow::is_over) {
            self.write_first(out)?;
        }
        Ok(())
    }

    /// Writes the calls that still run.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        while !self.calls.is_empty() {
            self.write_first(out)?;
        }
        Ok(())
    }

    /// Takes in a record that was written just now: a start and an end each have a line.
    pub(super) fn follow(
        &mut self,
        head: RecordHead,
        found: FoundLine,
        line: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(record) = ParsedRecord::of(line) else { return Ok(()) };
        match found {
            FoundLine::Begin => {
                self.write_call(&record, None, out)?;
                self.begun.insert(head.call, record);
            }
            FoundLine::Whole => self.write_call(&record, None, out)?,
            FoundLine::End => {
                if let Some(begin) = self.begun.remove(&head.call) {
                    self.write_call(&begin, Some(&record), out)?;
                }
            }
            FoundLine::More => {}
        }
        Ok(())
    }

    fn end(&mut self, call: CallId, record: ParsedRecord) {
        let place = self.running.remove(&call).and_then(|place| place.checked_sub(self.offset));
        if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            call.end = Some(record);
        }
    }

    fn write_first(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(CallRow { begin, end }) = self.calls.pop_front() else { return Ok(()) };
        self.offset += 1;
        self.write_call(&begin, end.as_ref(), out)?;
        if end.is_none()
            && let (RecordKind::Start, Some(call)) = (begin.kind, begin.call)
        {
            self.begun.insert(call, begin);
        }
        Ok(())
    }

    /// Writes the line of a call, and the header before the first line.
    fn write_call(
        &mut self,
        begin: &ParsedRecord,
        end: Option<&ParsedRecord>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if !std::mem::replace(&mut self.has_header, true) {
            let header = self.row(["WHEN", "CALL", "RULE", "STATUS", "TIME", "WHO"], "COMMAND");
            writeln!(out, "{}", fit(&header, self.style.width))?;
        }
        let (status, mood) = status(begin, end);
        let number = begin.call.map(|call| call.to_string()).unwrap_or_default();
        let took = end.unwrap_or(begin).duration_ms.map(duration).unwrap_or_default();
        let (when, who) = (self.when(begin.ts), self.who(begin));
        let rule = begin.rule.map(|rule| rule.to_string()).unwrap_or_default();
        let line = self.row([&when, &number, &rule, &status, &took, &who], &command(begin));
        let line = fit(&line, self.style.width);
        match mood.colour().filter(|_| self.style.is_coloured) {
            Some(colour) => writeln!(out, "\x1b[{colour}m{line}\x1b[0m")?,
            None => writeln!(out, "{line}")?,
        }
        match begin.detail.as_ref().filter(|_| self.details == RefusalDetails::Sentence) {
            Some(detail) => writeln!(out, "{}", fit(&format!("    {detail}"), self.style.width)),
            None => Ok(()),
        }
    }

    /// Whether the command would have too little room beside all columns.
    fn is_narrow(&self) -> bool {
        self.style.width.is_some_and(|width| width < LOG_COLUMNS_WIDE)
    }

    fn when(&self, ts: u64) -> String {
        let OutputStyle { zone, now, .. } = &self.style;
        if self.is_narrow() { when::shown_briefly(ts, *now, zone) } else { when::shown(ts, zone) }
    }

    /// The cells of a line. The command is the last cell, so that a text that callers chose stands before no
    /// other cell.
    fn row(&self, cells: [&str; 6], command: &str) -> String {
        let [when, call, rule, status, took, who] = cells;
        // A call that did not run has no time: a long reason uses that column too.
        let ended = |width: usize| {
            let rest = width.saturating_sub(status.chars().count() + 1);
            format!("{status} {took:>rest$}")
        };
        if self.is_narrow() {
            return format!("{when:<11} {call:>5} {rule:>4} {} {command}", ended(16));
        }
        format!("{when:<19} {call:>6} {rule:>4} {} {who:<14} {command}", ended(18))
    }

    /// The caller: its user and its process.
    fn who(&mut self, record: &ParsedRecord) -> String {
        let Some(uid) = record.uid else { return String::new() };
        let name = self.names.entry(uid).or_insert_with(|| {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            user.map_or_else(|| uid.to_string(), |user| user.name)
        });
        record.pid.map_or_else(|| name.clone(), |pid| format!("{name}[{pid}]"))
    }
}

/// Whether a call went as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowMood {
    Good,
    Bad,
    Refused,
    Running,
}

impl RowMood {
    /// The parameters of the terminal's colour.
    fn colour(self) -> Option<&'static str> {
        match self {
            Self::Good => None,
            Self::Bad => Some("31"),
            Self::Refused => Some("33"),
            Self::Running => Some("32"),
        }
    }
}

fn status(begin: &ParsedRecord, end: Option<&ParsedRecord>) -> (String, RowMood) {
    if begin.kind == RecordKind::Reject {
        let reason = begin.reason.clone().unwrap_or_default();
        let times =
            begin.count.filter(|count| *count > 1).map(|count| format!(" x{count}")).unwrap_or_default();
        return (reason + &times, RowMood::Refused);
    }
    let Some(end) = end.or((begin.kind == RecordKind::Exit).then_some(begin)) else {
        return ("running".into(), RowMood::Running);
    };
    let text = match end {
        ParsedRecord { kind: RecordKind::Lost, reason, .. } => lost(reason.as_deref()),
        ParsedRecord { timed_out: true, .. } => "timeout".into(),
        ParsedRecord { hangup: true, .. } => "hangup".into(),
        ParsedRecord { stopped: true, .. } => "stopped".into(),
        ParsedRecord { oom: true, .. } => "oom".into(),
        ParsedRecord { errno: Some(errno), .. } => errno.clone(),
        ParsedRecord { status: Some(status), .. } if *status == Status::AUDIT.get() => "audit".into(),
        ParsedRecord { signal: Some(signal), .. } => signal_name(*signal),
        ParsedRecord { status, .. } => status.map(|status| status.to_string()).unwrap_or_default(),
    };
    let mood = if text == "0" { RowMood::Good } else { RowMood::Bad };
    (text, mood)
}

/// `lost`, and the word for the reason.
fn lost(reason: Option<&str>) -> String {
    reason.map_or_else(|| "lost".to_owned(), |reason| format!("lost {reason}"))
}

fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

/// A span of time, in at most six characters where it is less than some days.
fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    const START: &str = r#"{"kind":"start","call":7,"ts":1700000000000,"socket":"a","rule":3,"argv":["echo","\u001b[31m\u202e"],"pid":12,"uid":4294967294"#;

    fn check(records: &[&str], width: Option<usize>, want: &[&str]) {
        let now = 1_700_000_100_000;
        let mut table = CallTable::new(
            OutputStyle { width, is_coloured: false, zone: TimeZone::UTC, now },
            RefusalDetails::Sentence,
        );
        let mut out = Vec::new();
        for record in records {
            let line = format!("{record},\"prev\":\"\"}}");
            let head = RecordHead::of(line.as_bytes()).expect("a head");
            let found = match (head.begins, head.kind == RecordKind::Start) {
                (true, true) => FoundLine::Begin,
                (true, false) => FoundLine::Whole,
                (false, _) => FoundLine::End,
            };
            table.take(head, found, line.as_bytes(), &mut out).expect("memory takes every write");
        }
        table.finish(&mut out).expect("memory takes every write");
        let text = String::from_utf8(out).expect("the table is text");
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), want);
    }

    #[test]
    fn a_call_stands_where_it_began() {
        let reject =
            r#"{"kind":"reject","call":8,"ts":1700000001000,"argv":["no"],"reason":"no_rule","count":4"#;
        let exit =
            r#"{"kind":"exit","call":7,"ts":1700000002000,"status":143,"duration_ms":61000,"signal":15"#;
        check(
            &[START, reject, exit],
            None,
            &[
                r"2023-11-14 22:13:20      7    3 SIGTERM      1m01s 4294967294[12] echo $'\x1b[31m\u202e'",
                "2023-11-14 22:13:21      8      no_rule x4                        no",
            ],
        );
        let reject = |reason: &str| reject.replace("no_rule", reason);
        check(
            &[&reject("exe_unresolved"), &reject("exe_untrusted")],
            None,
            &[
                "2023-11-14 22:13:21      8      exe_unresolved x4                 no",
                "2023-11-14 22:13:21      8      exe_untrusted x4                  no",
            ],
        );
        let once = reject("exe_unresolved").replace(",\"count\":4", "");
        check(&[&once], Some(50), &["22:13:21        8      exe_unresolved   no"]);
    }

    #[test]
    fn what_runs_and_what_was_lost_is_said() {
        let lost = r#"{"kind":"lost","call":7,"ts":1700000002000"#;
        check(&[START], Some(50), &["22:13:20        7    3 running          echo $'..."]);
        check(&[START, lost], Some(50), &["22:13:20        7    3 lost             echo $'..."]);
        let lost = format!("{lost},\"reason\":\"killed\"");
        check(&[START, &lost], Some(50), &["22:13:20        7    3 lost killed      echo $'..."]);
    }

    #[test]
    fn a_call_that_its_record_ended_says_audit() {
        let exit = r#"{"kind":"exit","call":7,"ts":1700000002000,"status":-6"#;
        let check_end = |more: &str, want: &str| {
            let exit = format!("{exit},\"duration_ms\":5{more}");
            check(&[START, &exit], Some(50), &[&format!("22:13:20        7    3 {want}")]);
        };
        check_end(r#","signal":15,"truncated":true"#, "audit        5ms echo $'...");
        check_end(r#","step":"sync","errno":"EIO""#, "EIO          5ms echo $'...");
    }

    #[test]
    fn a_time_is_short() {
        let shown = [999, 1_250, 60_000, 7_260_000].map(duration);
        assert_eq!(shown, ["999ms", "1.2s", "1m00s", "2h01m"]);
    }
}
