//! Records as entries of the journal: a sentence for a person, an id for each kind, and the fields that
//! tools ask for. A new kind of record needs an entry here: without [`Record`] it cannot be written at all.

use std::borrow::Cow;

use serde::Serialize;

use crate::ids::{CallId, SocketName};
use crate::limits::JOURNAL_MESSAGE_CHARS_MAX;
use crate::sd::{JournalEntry, Priority};
use crate::text::{command_line_ascii, visible};
use crate::wire::Status;

use super::aftermath::{AftermathRecord, CarriedRecord, Leftovers, LossReason};
use super::argv::{Caller, RecordedArgv};
use super::call::{ExitRecord, StartRecord};
use super::kind::RecordKind;
use super::lifecycle::{CloseRecord, OpenRecord, ReloadRecord};
use super::listing::ListRecord;
use super::reject::{RefusedRequest, RejectRecord, UnfiledReject};
use super::reject_many::RejectManyRecord;

/// A line of the manifest, and its entry in the journal.
pub(in crate::audit) trait Record: Serialize {
    /// The entry, without the hash of the line.
    fn entry(&self) -> JournalEntry;
}

fn new(kind: RecordKind, priority: Priority, message: &str) -> JournalEntry {
    let shown = visible(message);
    let end = shown.char_indices().nth(JOURNAL_MESSAGE_CHARS_MAX).map_or(shown.len(), |(end, _)| end);
    let mut entry = JournalEntry::new(kind.message_id(), priority, &shown[..end]);
    entry.add("SLUICE_KIND", kind.name());
    entry
}

fn add_call(entry: &mut JournalEntry, call: CallId, socket: &SocketName) {
    entry.add("SLUICE_CALL", &call.to_string());
    entry.add("SLUICE_SOCKET", socket.as_str());
}

fn add_caller(entry: &mut JournalEntry, caller: &Caller) {
    if let Some(pid) = caller.pid() {
        entry.add("SLUICE_CALLER_PID", &pid.to_string());
    }
    entry.add("SLUICE_CALLER_UID", &caller.uid().to_string());
}

fn add_words(entry: &mut JournalEntry, words: &RecordedArgv) {
    if words.argv().is_empty() {
        return;
    }
    entry.add("SLUICE_ARGV", &command_line(words));
    if let Some(bytes) = words.cut_bytes() {
        entry.add("SLUICE_ARGV_BYTES", &bytes.to_string());
    }
}

fn command_line(words: &RecordedArgv) -> String {
    quoted_words(words.argv())
}

fn quoted_words(words: &[String]) -> String {
    command_line_ascii(words)
}

impl Record for OpenRecord<'_> {
    fn entry(&self) -> JournalEntry {
        let message =
            format!("broker {} writes here from call {} on, by {}", self.broker, self.next, self.rules);
        let mut entry = new(self.kind, Priority::Notice, &message);
        if self.at > 0 {
            entry.add("SLUICE_AT", &self.at.to_string());
        }
        entry
    }
}

impl Record for StartRecord<'_> {
    fn entry(&self) -> JournalEntry {
        let Self { call, socket, words, .. } = self;
        let message = format!("call {call} on {socket} starts: {}", command_line(words));
        let mut entry = new(self.kind, Priority::Info, &message);
        add_call(&mut entry, *call, socket);
        entry.add("SLUICE_RULE", &place(self.file, self.rule.get()));
        add_words(&mut entry, words);
        if !self.paths.kept().is_empty() {
            entry.add("SLUICE_PATHS", &quoted_words(self.paths.kept()));
        }
        entry.add("SLUICE_EXE", self.resolved);
        entry.add("SLUICE_SCOPE", self.scope);
        add_caller(&mut entry, self.caller);
        entry
    }
}

/// The place of a rule: its line, after the name of its file where that is an included one.
fn place(file: Option<&str>, line: u32) -> String {
    file.map_or_else(|| line.to_string(), |file| format!("{file}:{line}"))
}

impl Record for ExitRecord<'_> {
    fn entry(&self) -> JournalEntry {
        let (opening, took) = (self.opening, self.took.as_micros());
        let (socket, milliseconds) = (opening.socket, self.took.as_millis());
        let message =
            format!("call {} on {socket} {} after {milliseconds} ms", self.call, self.what_happened());
        let mut entry = new(RecordKind::Exit, self.priority(), &message);
        add_call(&mut entry, self.call, socket);
        entry.add("SLUICE_RULE", &place(opening.file, opening.rule.get()));
        if !opening.hidden {
            entry.add("SLUICE_EXE", opening.resolved);
        }
        entry.add("SLUICE_SCOPE", opening.scope);
        entry.add("SLUICE_STATUS", &self.status.get().to_string());
        if let Some(signal) = self.signal {
            entry.add("SLUICE_SIGNAL", &signal.to_string());
        }
        if let Some(reason) = self.reason() {
            entry.add("SLUICE_REASON", &reason);
        }
        if !self.denied.texts().is_empty() {
            entry.add("SLUICE_DENIED", &self.denied.texts().join("; "));
        }
        entry.add("SLUICE_DURATION_USEC", &took.to_string());
        add_caller(&mut entry, opening.caller);
        entry
    }
}

impl ExitRecord<'_> {
    fn priority(&self) -> Priority {
        match self {
            Self { step: Some(_), .. } => Priority::Error,
            Self { left: 1.., .. } => Priority::Warning,
            Self { status: Status::AUDIT, .. } => Priority::Error,
            Self { timed_out: true, .. }
            | Self { hangup: true, .. }
            | Self { stopped: true, .. }
            | Self { oom: true, .. } => Priority::Notice,
            _ => Priority::Info,
        }
    }

    /// The reason, in the manifest's words, of a call that the broker or the kernel ended, or that did not
    /// start.
    fn reason(&self) -> Option<Cow<'static, str>> {
        match self {
            Self { step: Some(step), errno, .. } => {
                Some(format!("{step}: {}", errno.as_deref().unwrap_or_default()).into())
            }
            Self { timed_out: true, .. } => Some("timed_out".into()),
            Self { hangup: true, .. } => Some("hangup".into()),
            Self { stopped: true, .. } => Some("stopped".into()),
            Self { status: Status::AUDIT, .. } => Some("audit".into()),
            Self { oom: true, .. } => Some("oom".into()),
            _ => None,
        }
    }

    fn what_happened(&self) -> String {
        let ended = match self {
            Self { step: Some(_), .. } => {
                return format!("could not be started ({})", self.reason().unwrap_or_default());
            }
            Self { timed_out: true, .. } => "ran into its timeout and was ended".into(),
            Self { hangup: true, .. } => "was ended because its caller left".into(),
            Self { stopped: true, .. } => "was ended because the broker stops".into(),
            Self { status: Status::AUDIT, .. } => "was ended because it could not be captured".into(),
            Self { signal: Some(signal), .. } => format!("was ended by signal {signal}"),
            _ => format!("exited with {}", self.status.get()),
        };
        let ended = if self.oom { format!("{ended}, out of memory,") } else { ended };
        if self.left == 0 { ended } else { format!("{ended}, leaving {} processes,", self.left) }
    }
}

impl Record for AftermathRecord {
    fn entry(&self) -> JournalEntry {
        let (call, Leftovers { reason, captured, ended, left }) = (self.call, &self.leftovers);
        let (is_capture, is_kept) = (self.kind == RecordKind::Capture, self.kind == RecordKind::Kept);
        let (priority, mut message) = if is_capture {
            let cut = if captured.drain_timeout { ", before what it left had closed them" } else { "" };
            (Priority::Info, format!("the captures of call {call} are closed{cut}"))
        } else if is_kept {
            (Priority::Warning, format!("what call {call} had left running outlived its broker"))
        } else {
            let why = reason.map_or("", LossReason::sentence);
            (Priority::Error, format!("the end of call {call} was not seen: {why}"))
        };
        for (processes, what) in [(*ended, "was ended"), (*left, "could not be ended")] {
            if processes > 0 && !is_capture {
                message += &format!("; of what it started, {processes} {what}");
            }
        }
        let mut entry = new(self.kind, priority, &message);
        entry.add("SLUICE_CALL", &call.to_string());
        if let Some(reason) = reason.filter(|_| !is_capture) {
            entry.add("SLUICE_REASON", reason.word());
        }
        entry
    }
}

impl Record for CarriedRecord {
    fn entry(&self) -> JournalEntry {
        let what = match (self.runs(), self.keeping) {
            (true, _) => "runs on",
            (_, true) => "is over, and what it left runs on",
            (_, false) => "is over, and what it left is captured on",
        };
        let message = format!("call {}, which began in an earlier file, {what}", self.call);
        let mut entry = new(self.kind, Priority::Info, &message);
        entry.add("SLUICE_CALL", &self.call.to_string());
        entry
    }
}

impl Record for RejectRecord<'_> {
    fn entry(&self) -> JournalEntry {
        let mut entry = new(RecordKind::Reject, Priority::Notice, &self.sentence());
        add_call(&mut entry, self.call, &self.rejected.socket);
        add_rejected(&mut entry, self.rejected);
        if let (Some(count), Some(last)) = (self.count, self.last) {
            entry.add("SLUICE_COUNT", &count.to_string());
            entry.add("SLUICE_LAST", &last.to_string());
        }
        entry
    }
}

impl RejectRecord<'_> {
    fn sentence(&self) -> String {
        let which = match (self.count, self.last) {
            (Some(count), Some(last)) => format!("{count} calls from {} to {last}", self.call),
            _ => format!("call {}", self.call),
        };
        refused(&which, self.rejected)
    }
}

impl UnfiledReject<'_> {
    /// The journal's entry, which is the only record of these refusals.
    pub(in crate::audit) fn entry(&self) -> JournalEntry {
        let which = if self.count == 1 { "a request".into() } else { format!("{} requests", self.count) };
        let mut entry = new(RecordKind::Reject, Priority::Warning, &refused(&which, self.rejected));
        entry.add("SLUICE_SOCKET", self.rejected.socket.as_str());
        add_rejected(&mut entry, self.rejected);
        if self.count > 1 {
            entry.add("SLUICE_COUNT", &self.count.to_string());
        }
        entry
    }
}

fn refused(which: &str, rejected: &RefusedRequest) -> String {
    let detail = Some(&rejected.detail).filter(|detail| !detail.is_empty());
    let why = detail.map_or_else(String::new, |detail| format!(", {detail}"));
    format!("{which} on {} refused: {}{why}", rejected.socket, rejected.reason)
}

fn add_rejected(entry: &mut JournalEntry, rejected: &RefusedRequest) {
    add_words(entry, &rejected.words);
    entry.add("SLUICE_REASON", rejected.reason);
    entry.add("SLUICE_STATUS", &rejected.status.to_string());
    if let Some(caller) = &rejected.caller {
        add_caller(entry, caller);
    }
}

impl Record for RejectManyRecord<'_> {
    fn entry(&self) -> JournalEntry {
        let Self { call, last, count, socket, detail, .. } = self;
        let message = format!("{count} calls from {call} to {last} on {socket} refused, {detail}");
        let mut entry = new(RecordKind::Reject, Priority::Notice, &message);
        add_call(&mut entry, self.call, socket);
        entry.add("SLUICE_REASON", self.reason);
        entry.add("SLUICE_COUNT", &count.to_string());
        entry.add("SLUICE_LAST", &last.to_string());
        entry
    }
}

impl RejectManyRecord<'_> {
    /// The journal's entry, which is the only record of these refusals.
    pub(in crate::audit) fn unfiled_entry(&self) -> JournalEntry {
        let Self { count, socket, detail, .. } = self;
        let message = format!("{count} requests on {socket} refused, {detail}");
        let mut entry = new(RecordKind::Reject, Priority::Warning, &message);
        entry.add("SLUICE_SOCKET", socket.as_str());
        entry.add("SLUICE_REASON", self.reason);
        entry.add("SLUICE_COUNT", &count.to_string());
        entry
    }
}

impl Record for ListRecord {
    fn entry(&self) -> JournalEntry {
        let message = match (self.count, &self.caller) {
            (Some(count), _) => format!("the listing of {} was given {count} times more", self.socket),
            (None, Some(caller)) => {
                let who = caller
                    .pid()
                    .map_or("a process that cannot be seen".into(), |pid| format!("process {pid}"));
                format!("the listing of {} was given to {who}", self.socket)
            }
            (None, None) => format!("the listing of {} was given", self.socket),
        };
        let mut entry = new(RecordKind::List, Priority::Info, &message);
        entry.add("SLUICE_SOCKET", self.socket.as_str());
        if let Some(count) = self.count {
            entry.add("SLUICE_COUNT", &count.to_string());
        }
        if let Some(caller) = &self.caller {
            add_caller(&mut entry, caller);
        }
        entry
    }
}

impl Record for ReloadRecord<'_> {
    fn entry(&self) -> JournalEntry {
        match self.error {
            None => new(self.kind, Priority::Notice, "the rules were read again"),
            Some(error) => {
                new(self.kind, Priority::Error, &format!("reload failed, the old rules stay: {error}"))
            }
        }
    }
}

impl Record for CloseRecord {
    fn entry(&self) -> JournalEntry {
        new(self.kind, Priority::Notice, &format!("the broker leaves; the next call is {}", self.next))
    }
}
