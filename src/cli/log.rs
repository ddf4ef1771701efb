//! `sluice log`: the calls on record, as a table, as records, or one call in full. `find.rs` finds the
//! manifest, `table.rs` makes the table.

mod capture;
mod denials;
mod detail;
mod empty;
mod find;
mod style;
mod table;
mod when;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, absolute};
use std::process::ExitCode;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use serde_json::Value;

use crate::audit::{
    CallCount, CallHistory, CallMatcher, CallQuery, FoundLine, LineFilter, ManifestFollower, ParsedRecord,
    RecordHead, UnreadPart, rotated, to_ascii,
};
use crate::ids::CallId;
use crate::limits::{LOG_CALLS_DEFAULT, LOG_FOLLOW_INTERVAL};
use crate::sys::poll_until;
use crate::text::printable;

use super::args::LogArgs;
use super::exit::{NO, answer, fail};

use capture::CaptureStream;
use denials::DenialSearch;
use style::OutputStyle;
use table::{CallTable, RefusalDetails};

pub(super) use find::find_manifest;
pub(super) use when::parse_when;

/// Answers from the manifest that the arguments name.
pub(super) fn run(args: &LogArgs) -> ExitCode {
    let manifest = match &args.file {
        Some(file) => absolute(file).map_err(|error| error.to_string()),
        None => find::manifest_of_word(args.name.as_deref()),
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(why) => return fail(&format!("sluice: {why}")),
    };
    match args.output {
        Some(call) => print_capture(&manifest, call, stream(args)),
        None => print_calls(&manifest, args),
    }
}

fn stream(args: &LogArgs) -> CaptureStream {
    match (args.stderr, args.stdin) {
        (true, _) => CaptureStream::Stderr,
        (false, true) => CaptureStream::Stdin,
        (false, false) => CaptureStream::Stdout,
    }
}

fn print_calls(manifest: &Path, args: &LogArgs) -> ExitCode {
    let is_bounded = args.since.is_some() || args.until.is_some() || args.call.is_some();
    let usual = if is_bounded { CallCount::All } else { CallCount::Last(LOG_CALLS_DEFAULT) };
    let filter = LineFilter::new(CallQuery {
        since: args.since,
        until: args.until,
        rejects: args.rejects,
        rule: args.rule.clone(),
        call: args.call.map(CallId::new),
    });
    let history = match find_history(manifest, &filter, args.lines.unwrap_or(usual)) {
        Ok(history) => history,
        Err(why) => return fail(&format!("sluice: {why}")),
    };
    let mut shown = ShownCalls::new(args);
    let code = answer(|out| print(manifest, history, filter, args.follow, &mut shown, out));
    if code == ExitCode::from(NO) {
        fail(&format!("sluice: {}", empty::said(manifest, args)));
    }
    code
}

/// The place of the calls that are asked for. Parts that cannot be shown are reported on stderr.
fn find_history(manifest: &Path, filter: &LineFilter, count: CallCount) -> Result<CallHistory, String> {
    let files = rotated(manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let mut history = CallHistory::find(&files, filter, count);
    let mut unshown = history.unshown();
    if history.is_empty() {
        let first = if unshown.is_empty() { None } else { Some(unshown.swap_remove(0)) };
        return Err(
            first.map_or_else(|| format!("{}: no such file", manifest.display()), |first| said(&first))
        );
    }
    for one in unshown.iter().rev() {
        fail(&format!("sluice: {}", said(one)));
    }
    Ok(history)
}

/// The message about records that are not shown, with what to do.
fn said(unshown: &UnreadPart) -> String {
    match unshown {
        UnreadPart::Unread(error) => format!("{error}; its calls are not shown"),
        UnreadPart::Foreign { path, line, places } => {
            let places = if *places == 1 { "one place".to_owned() } else { format!("{places} places") };
            let path = path.display();
            format!(
                "{path}:{line}: no broker wrote what stands there, or it was changed ({places}); it is not shown; \
                 see `sluice verify {path}`"
            )
        }
    }
}

fn print(
    manifest: &Path,
    history: CallHistory,
    filter: LineFilter,
    follow: bool,
    shown: &mut ShownCalls,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    let mut matcher = CallMatcher::new(filter);
    let newest = history.read(&mut matcher, &mut |head, found, line| shown.take(head, found, line, out))?;
    shown.finish(out)?;
    if !follow {
        return Ok(if shown.count > 0 { ExitCode::SUCCESS } else { ExitCode::from(NO) });
    }
    let mut follow = ManifestFollower::new(manifest, newest);
    loop {
        out.flush()?;
        if reader_left()? {
            return Ok(ExitCode::SUCCESS);
        }
        follow.read(&mut matcher, &mut |head, found, line| shown.follow(head, found, line, out))?;
    }
}

/// Waits until there may be more to read. Returns true when stdout has no reader any more.
fn reader_left() -> io::Result<bool> {
    let stdout = io::stdout();
    poll_until(
        &mut [PollFd::new(stdout.as_fd(), PollFlags::empty())],
        Some(Instant::now() + LOG_FOLLOW_INTERVAL),
    )
}

/// The form in which calls are shown, and how many were.
#[derive(Debug)]
struct ShownCalls {
    form: LogForm,
    count: usize,
}

#[derive(Debug)]
enum LogForm {
    Table(CallTable),
    /// The records' own lines.
    Records,
    /// The record field by field.
    Detail(OutputStyle, DenialSearch),
}

impl ShownCalls {
    fn new(args: &LogArgs) -> Self {
        let form = match (args.json, args.call) {
            (true, _) => LogForm::Records,
            (false, Some(_)) => LogForm::Detail(OutputStyle::of_stdout(), DenialSearch::default()),
            (false, None) => {
                let details = if args.rejects { RefusalDetails::Sentence } else { RefusalDetails::None };
                LogForm::Table(CallTable::new(OutputStyle::of_stdout(), details))
            }
        };
        Self { form, count: 0 }
    }

    fn take(
        &mut self,
        head: RecordHead,
        found: FoundLine,
        line: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.count += 1;
        match &mut self.form {
            LogForm::Table(table) => table.take(head, found, line, out),
            LogForm::Records => write_line(line, out),
            LogForm::Detail(style, search) => {
                search.note(line);
                detail::write_record(line, style, out)
            }
        }
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match &mut self.form {
            LogForm::Table(table) => table.finish(out),
            LogForm::Records => Ok(()),
            LogForm::Detail(_, search) => detail::write_denials(&search.find(), out),
        }
    }

    fn follow(
        &mut self,
        head: RecordHead,
        found: FoundLine,
        line: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        match &mut self.form {
            LogForm::Table(table) => table.follow(head, found, line, out),
            LogForm::Records | LogForm::Detail(..) => self.take(head, found, line, out),
        }
    }
}

/// Writes a record's line. A broker writes printable ASCII; a line with other bytes is encoded anew as ASCII.
fn write_line(line: &[u8], out: &mut dyn Write) -> io::Result<()> {
    if line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        out.write_all(line)?;
        return out.write_all(b"\n");
    }
    match serde_json::from_slice::<Value>(line) {
        Ok(record) => writeln!(out, "{}", to_ascii(&record)),
        Err(_) => Ok(()),
    }
}

fn print_capture(manifest: &Path, call: u64, stream: CaptureStream) -> ExitCode {
    let path = match find_capture(manifest, CallId::new(call), stream) {
        Ok(Some(path)) => path,
        Ok(None) => {
            let name = stream.name();
            fail(&format!("sluice: no {name} of call {call} was captured{}", others(manifest, call)));
            return ExitCode::from(NO);
        }
        Err(why) => return fail(&format!("sluice: {why}")),
    };
    match capture::open(&path) {
        Ok(file) => answer(|out| capture::copy(file, out).map(|()| ExitCode::SUCCESS)),
        Err(why) => fail(&format!("sluice: {}", printable(&why))),
    }
}

/// A clause that names the streams of a call that were captured, and the flags that ask for them.
fn others(manifest: &Path, call: u64) -> String {
    let flags = [
        (CaptureStream::Stdin, " --stdin"),
        (CaptureStream::Stdout, ""),
        (CaptureStream::Stderr, " --stderr"),
    ];
    let is_there = |stream| matches!(find_capture(manifest, CallId::new(call), stream), Ok(Some(_)));
    let flags = flags.into_iter().filter(|(stream, _)| is_there(*stream));
    let there: Vec<_> =
        flags.map(|(stream, flag)| format!("its {} was: --output {call}{flag}", stream.name())).collect();
    if there.is_empty() { String::new() } else { format!("; {}", there.join(", ")) }
}

/// The capture file that the records of a call name.
fn find_capture(manifest: &Path, call: CallId, stream: CaptureStream) -> Result<Option<String>, String> {
    let filter = LineFilter::new(CallQuery { call: Some(call), ..CallQuery::default() });
    let history = find_history(manifest, &filter, CallCount::All)?;
    let mut path = None;
    let mut take = |_: RecordHead, _: FoundLine, line: &[u8]| {
        if let Some(record) = ParsedRecord::of(line) {
            path = path.take().or(stream.file(&record).map(str::to_owned));
        }
        Ok(())
    };
    history
        .read(&mut CallMatcher::new(filter), &mut take)
        .map_err(|error| format!("{}: {error}", manifest.display()))?;
    Ok(path)
}
