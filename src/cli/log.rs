//! `sluice log`: the calls on record, as a table, as they are, or one in full. `find.rs` says which manifest, `table.rs`
//! how it looks.

mod capture;
mod detail;
mod find;
mod nothing;
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
    Asked, Count, Filter, Follow, Found, Head, History, Matcher, Recorded, RuleAsked, Unshown, rotated,
    to_ascii,
};
use crate::ids::{CallId, RuleLine};
use crate::limits::{LOG_CALLS_DEFAULT, LOG_FOLLOW_INTERVAL};
use crate::sys::poll_until;

use super::{LogArgs, NO, answer, serve};

use capture::Stream;
use style::Style;
use table::{Details, Table};

pub(super) use find::find_manifest;
pub(super) use when::parse_when;

/// The value of `--lines`.
pub(super) fn parse_count(text: &str) -> Result<Count, String> {
    match text {
        "all" => Ok(Count::All),
        _ => text.parse().map(Count::Last).map_err(|_| "it is a number, or `all`".to_owned()),
    }
}

/// The value of `--rule`: a line of the rules file, `FILE:LINE` of an included one, or text of the command.
pub(super) fn parse_rule(text: &str) -> RuleAsked {
    let line = |text: &str| text.parse().ok().map(RuleLine::new);
    let place = text.rsplit_once(':').and_then(|(file, number)| Some((file, line(number)?)));
    match (line(text), place) {
        (Some(line), _) => RuleAsked::Line(line),
        (None, Some((file, line))) if file.starts_with('/') => RuleAsked::Place(file.to_owned(), line),
        _ => RuleAsked::Text(text.to_owned()),
    }
}

/// Answers from the manifest that is asked for.
pub(super) fn run(args: &LogArgs) -> ExitCode {
    let manifest = match &args.file {
        Some(file) => absolute(file).map_err(|error| error.to_string()),
        None => find_manifest(args.name.as_deref()),
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(why) => return serve::fail(&format!("sluice: {why}")),
    };
    match args.output {
        Some(call) => print_capture(&manifest, call, stream(args)),
        None => print_calls(&manifest, args),
    }
}

fn stream(args: &LogArgs) -> Stream {
    match (args.stderr, args.stdin) {
        (true, _) => Stream::Stderr,
        (false, true) => Stream::Stdin,
        (false, false) => Stream::Stdout,
    }
}

fn print_calls(manifest: &Path, args: &LogArgs) -> ExitCode {
    let is_bounded = args.since.is_some() || args.until.is_some() || args.call.is_some();
    let usual = if is_bounded { Count::All } else { Count::Last(LOG_CALLS_DEFAULT) };
    let filter = Filter::new(Asked {
        since: args.since,
        until: args.until,
        rejects: args.rejects,
        rule: args.rule.clone(),
        call: args.call.map(CallId::new),
    });
    let history = match find_history(manifest, &filter, args.lines.unwrap_or(usual)) {
        Ok(history) => history,
        Err(why) => return serve::fail(&format!("sluice: {why}")),
    };
    let mut shown = Shown::new(args);
    let code = answer(|out| print(manifest, history, filter, args.follow, &mut shown, out));
    if code == ExitCode::from(NO) {
        serve::fail(&format!("sluice: {}", nothing::said(manifest, args)));
    }
    code
}

/// The place of the calls that are asked for. What cannot be shown is said.
fn find_history(manifest: &Path, filter: &Filter, count: Count) -> Result<History, String> {
    let files = rotated(manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let mut history = History::find(&files, filter, count);
    let mut unshown = history.unshown();
    if history.is_empty() {
        let first = if unshown.is_empty() { None } else { Some(unshown.swap_remove(0)) };
        return Err(
            first.map_or_else(|| format!("{}: no such file", manifest.display()), |first| said(&first))
        );
    }
    for one in unshown.iter().rev() {
        serve::fail(&format!("sluice: {}", said(one)));
    }
    Ok(history)
}

/// What is not shown, and what to do.
fn said(unshown: &Unshown) -> String {
    match unshown {
        Unshown::Unread(error) => format!("{error}; its calls are not shown"),
        Unshown::Foreign { path, line, places } => {
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
    history: History,
    filter: Filter,
    follow: bool,
    shown: &mut Shown,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    let mut matcher = Matcher::new(filter);
    let newest = history.read(&mut matcher, &mut |head, found, line| shown.take(head, found, line, out))?;
    shown.finish(out)?;
    if !follow {
        return Ok(if shown.count > 0 { ExitCode::SUCCESS } else { ExitCode::from(NO) });
    }
    let mut follow = Follow::new(manifest, newest);
    loop {
        out.flush()?;
        if reader_left()? {
            return Ok(ExitCode::SUCCESS);
        }
        follow.read(&mut matcher, &mut |head, found, line| shown.follow(head, found, line, out))?;
    }
}

/// Waits until there may be more to read, or nobody reads what is written.
fn reader_left() -> io::Result<bool> {
    let stdout = io::stdout();
    poll_until(
        &mut [PollFd::new(stdout.as_fd(), PollFlags::empty())],
        Some(Instant::now() + LOG_FOLLOW_INTERVAL),
    )
}

/// In which form calls are shown.
#[derive(Debug)]
struct Shown {
    form: Form,
    count: usize,
}

#[derive(Debug)]
enum Form {
    Table(Table),
    /// The lines themselves.
    Records,
    /// Field by field.
    Detail(Style),
}

impl Shown {
    fn new(args: &LogArgs) -> Self {
        let form = match (args.json, args.call) {
            (true, _) => Form::Records,
            (false, Some(_)) => Form::Detail(Style::of_stdout()),
            (false, None) => {
                let details = if args.rejects { Details::Sentence } else { Details::None };
                Form::Table(Table::new(Style::of_stdout(), details))
            }
        };
        Self { form, count: 0 }
    }

    fn take(&mut self, head: Head, found: Found, line: &[u8], out: &mut dyn Write) -> io::Result<()> {
        self.count += 1;
        match &mut self.form {
            Form::Table(table) => table.take(head, found, line, out),
            Form::Records => write_line(line, out),
            Form::Detail(style) => detail::write_record(line, style, out),
        }
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if let Form::Table(table) = &mut self.form { table.finish(out) } else { Ok(()) }
    }

    fn follow(&mut self, head: Head, found: Found, line: &[u8], out: &mut dyn Write) -> io::Result<()> {
        match &mut self.form {
            Form::Table(table) => table.follow(head, found, line, out),
            Form::Records | Form::Detail(_) => self.take(head, found, line, out),
        }
    }
}

/// A record as it is. A broker writes printable ASCII; what is not is written anew, so that it is.
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

fn print_capture(manifest: &Path, call: u64, stream: Stream) -> ExitCode {
    let path = match find_capture(manifest, CallId::new(call), stream) {
        Ok(Some(path)) => path,
        Ok(None) => {
            serve::fail(&format!("sluice: no {} of call {call} was captured", stream.name()));
            return ExitCode::from(NO);
        }
        Err(why) => return serve::fail(&format!("sluice: {why}")),
    };
    match capture::open(&path) {
        Ok(file) => answer(|out| capture::copy(file, out).map(|()| ExitCode::SUCCESS)),
        Err(why) => serve::fail(&format!("sluice: {}", style::printable(&why))),
    }
}

/// The file that the records of a call name.
fn find_capture(manifest: &Path, call: CallId, stream: Stream) -> Result<Option<String>, String> {
    let filter = Filter::new(Asked { call: Some(call), ..Asked::default() });
    let history = find_history(manifest, &filter, Count::All)?;
    let mut path = None;
    let mut take = |_: Head, _: Found, line: &[u8]| {
        if let Some(record) = Recorded::of(line) {
            path = path.take().or(stream.file(&record).map(str::to_owned));
        }
        Ok(())
    };
    history
        .read(&mut Matcher::new(filter), &mut take)
        .map_err(|error| format!("{}: {error}", manifest.display()))?;
    Ok(path)
}
