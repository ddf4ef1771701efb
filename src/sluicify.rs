//! The program `sluicify`: its arguments, its exit codes, and where its text goes. The messages about
//! failures are in `advice.rs`. No crate parses the arguments: the program has to start in microseconds and
//! to be small.

#![forbid(unsafe_code)]

mod advice;
mod arguments;
mod call;
mod door;
mod json;
mod leavable;
mod outcome;
mod place;
mod shims;
mod signals;
mod terminal;
mod unit;
mod unreached;

use std::cell::RefCell;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;

use crate::client::{BrokerAddress, CallFailure, PendingRequest, RequestEvent};
use crate::limits::UNHEARD_WAIT;
use crate::sys;
use crate::text::{quoted, visible};
use crate::wire::v2::{CallEnd, ListFormat};
use crate::wire::{Explanation, Malformed, Status};

use arguments::CallerCommand;
use call::{RunningCall, say};
use door::DoorFailure;
use outcome::{OutcomeWriter, UNREACHED};
use shims::{ListedPrograms, OWN_NAME, ShimReport, make_links};

pub use advice::AskedCall;
pub use leavable::{CallResult, CallStep, ENDING_SIGNALS, LeavableCall, SignalStep};
pub use outcome::{CallerOutcome, OutcomeKind};
pub use place::{AskedPlace, PlaceVariables, ask_at};

/// The text that `--help` prints.
const HELP: &str = "\
Has a command run outside of this sandbox, by the broker that listens on SOCKET.

usage: sluicify SOCKET [--] CMD [ARGS...]     run CMD with this stdin, stdout and stderr
       sluicify --status-fd N SOCKET CMD...   the same, with the outcome as JSON on descriptor N
       sluicify --list SOCKET [--json]        show what may be called
       sluicify shims DIR [SOCKET]            make DIR a directory of links, one for each program
       sluicify --with-fd SOCKET -- CMD...    connect, and become CMD with the connection in $SLUICE_FD
       sluicify --version | --help

SOCKET may be - for the environment's broker: $SLUICE_FD, else $SLUICE_SOCKET. A link to sluicify calls the
program that it is named like, through that broker; a link called bwrap is the stand-in for bubblewrap.

Signals go to the command; TERM, HUP and the end of this process end it. Exits as the command did (128 + signal when
one ended it), or with
    2  the arguments are wrong; nothing was sent
  124  the rule's timeout ended the command
  125  no broker could be asked; nothing ran
  129  no rule allows it
  132  it is allowed but could not be started; nothing of it ran
  135  asked, but no answer came; the command may have run
Others are the broker's own status s as 128 + |s|; share/doc/sluice/REFERENCE.md has them all.
";

/// The usage, for the message about wrong arguments.
const USAGE: &str = "sluicify SOCKET [--] CMD [ARGS...], or sluicify --list SOCKET, or sluicify --help";

/// Exit code for arguments that make no request.
const USAGE_ERROR: u8 = 2;
/// Exit code for a broker's [`Status::TIMEOUT`], as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// Exit code when a program that this process was to become could not be started, as of env(1).
const NOT_STARTED: u8 = 126;
/// Exit code when there is no such program.
const NO_PROGRAM: u8 = 127;
/// Exit code when the answer is missing or unreadable. No status maps to it: -7 is [`TIMED_OUT`].
const UNANSWERED: u8 = 135;

/// Runs `sluicify` with these arguments, its own name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let code = match Path::new(&name).file_name() {
        Some(link) if !is_own_name(link) => run_link(link, arguments),
        _ => run_command(&arguments),
    };
    ExitCode::from(code)
}

fn run_command(arguments: &[OsString]) -> u8 {
    match arguments::parse(arguments) {
        Ok(CallerCommand::Call { socket, words, status_fd }) => call(socket, words, status_fd),
        Ok(CallerCommand::List { socket, format }) => list(socket, format),
        Ok(CallerCommand::WithDescriptor { socket, command }) => {
            not_become(&door::with_descriptor(socket, command))
        }
        Ok(CallerCommand::Shims { directory, socket }) => {
            make_shims(directory, socket.unwrap_or(OsStr::new("-")))
        }
        Ok(CallerCommand::Version) => print(concat!("sluicify ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(CallerCommand::Help) => print(HELP),
        Err(problem) => complain(USAGE_ERROR, &format!("{problem}; usage: {USAGE}")),
    }
}

/// Calls the program that a link to this one is named like, through the broker of the environment.
fn run_link(link: &OsStr, arguments: Vec<OsString>) -> u8 {
    if link == door::STAND_IN {
        return not_become(&door::stand_in(&arguments));
    }
    let words: Vec<_> = std::iter::once(link.to_owned()).chain(arguments).collect();
    call(OsStr::new("-"), &words, None)
}

/// Whether a name is that of this program, or of a version of it.
fn is_own_name(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(OWN_NAME.as_bytes())
}

fn call(socket: &OsStr, words: &[OsString], status_fd: Option<&OsStr>) -> u8 {
    let outcomes = match OutcomeWriter::named(status_fd) {
        Ok(outcomes) => RefCell::new(outcomes),
        Err(problem) => return complain(USAGE_ERROR, &format!("{problem}; nothing was sent")),
    };
    let variables = PlaceVariables::of_environment();
    let called =
        ask_at(socket, &variables, |place, address| call_on(&AskedCall { place, words }, address, &outcomes));
    let (outcome, message) = called.unwrap_or_else(|problem| {
        let outcome = CallerOutcome::unreached(problem.clone());
        (outcome, Some(problem))
    });
    if let Some(message) = message {
        say(&message);
    }
    outcomes.borrow_mut().write(&outcome);
    // Nothing is left to be written, and the runtime would undo by hand what the end of a process undoes.
    sys::exit_now(outcome.code.into())
}

/// The outcome of a call at one place, with a message for a person. Errors: nothing could be asked.
fn call_on(
    asked: &AskedCall<'_>,
    address: BrokerAddress,
    outcomes: &RefCell<OutcomeWriter>,
) -> Result<(CallerOutcome, Option<String>), String> {
    let mut running = match RunningCall::begin(asked, address) {
        Ok(running) => running,
        Err(failure) => return failed(asked, &failure),
    };
    let result = running.finish();
    let call = running.number();
    match result {
        CallResult::Ended(end) => {
            // The end of this process closes its descriptors in one go.
            std::mem::forget(running);
            ended(asked, end, call)
        }
        CallResult::Left(signal) => {
            let code = u8::try_from(128 + signal as i32).unwrap_or(UNANSWERED);
            let when = if call.is_none() { " before the command began" } else { "" };
            let outcome =
                CallerOutcome { call, ..CallerOutcome::error(code, format!("{signal} came{when}")) };
            outcomes.borrow_mut().write(&outcome);
            running.let_take_effect(signal);
            // The first process of a PID namespace survives.
            Ok((outcome, None))
        }
        CallResult::Failed(failure) => failed(asked, &failure),
    }
}

/// The outcome of a call that is over by the broker's word, with a message for a person. Errors: nothing was
/// asked.
pub fn ended(
    asked: &AskedCall<'_>,
    end: CallEnd,
    call: Option<u64>,
) -> Result<(CallerOutcome, Option<String>), String> {
    let CallEnd { status, signal, .. } = end;
    let Ok(code) = u8::try_from(status.get()) else {
        return failed(asked, &CallFailure::Refused(status, Some(Explanation::new(call, &told(end)))));
    };
    let kind = if signal.is_some() { OutcomeKind::Signaled } else { OutcomeKind::Exited };
    Ok((CallerOutcome { kind, code, signal, status: None, call, reason: None }, None))
}

/// The outcome of a call, or a request for the listing, that failed, with a message for a person. Errors:
/// nothing was asked.
pub fn failed(
    asked: &AskedCall<'_>,
    failure: &CallFailure,
) -> Result<(CallerOutcome, Option<String>), String> {
    let (code, message) = (exit_code(failure), asked.advice(failure));
    let outcome = match failure {
        CallFailure::Refused(status, why) => {
            let kind = if *status == Status::TIMEOUT { OutcomeKind::Timeout } else { OutcomeKind::Refused };
            let reason = why.as_ref().map(|why| why.reason().to_owned());
            let (call, status) = (why.as_ref().and_then(Explanation::call), Some(*status));
            CallerOutcome { kind, code, signal: None, status, call, reason }
        }
        CallFailure::Unreached(_) | CallFailure::Unsent(_) | CallFailure::Version1Only => {
            return Err(message);
        }
        CallFailure::Words(_) | CallFailure::Unanswered | CallFailure::Unreadable(_) => {
            CallerOutcome::error(code, message.clone())
        }
    };
    Ok((outcome, Some(message)))
}

/// The reason of an end that is no exit status, as far as the broker's frame tells it.
fn told(end: CallEnd) -> String {
    match end.status {
        Status::TIMEOUT => format!("after {} ms", end.microseconds / 1000),
        _ => String::new(),
    }
}

fn list(socket: &OsStr, format: ListFormat) -> u8 {
    match listing(socket, format) {
        Ok(text) if format == ListFormat::Text => print(&shown(&text)),
        Ok(json) => print(&json),
        Err((code, message)) => complain(code, &message),
    }
}

/// The listing. Errors: the exit code, and a message.
fn listing(socket: &OsStr, format: ListFormat) -> Result<String, (u8, String)> {
    let asked = ask_at(socket, &PlaceVariables::of_environment(), |place, address| {
        let asked = AskedCall { place, words: &[] };
        match ask_listing(&asked, address, format) {
            Ok(text) => Ok(Ok(text)),
            Err(failure) => match (exit_code(&failure), asked.advice(&failure)) {
                (UNREACHED, message) => Err(message),
                (code, message) => Ok(Err((code, message))),
            },
        }
    });
    asked.unwrap_or_else(|message| Err((UNREACHED, message)))
}

/// Says why this process has not become another program, and gives env(1)'s exit codes.
fn not_become(failure: &DoorFailure) -> u8 {
    match failure {
        DoorFailure::Closed(message) => complain(UNREACHED, &format!("{message}; nothing was started")),
        DoorFailure::NoProgram(program, errno) => {
            let code = if *errno == Errno::ENOENT { NO_PROGRAM } else { NOT_STARTED };
            complain(code, &format!("cannot start {}: {}", quoted(program), errno.desc()))
        }
    }
}

fn make_shims(directory: &Path, socket: &OsStr) -> u8 {
    let listing = match listing(socket, ListFormat::Json) {
        Ok(listing) => listing,
        Err((code, message)) => return complain(code, &message),
    };
    let Some(programs) = ListedPrograms::parse(&listing) else {
        return complain(UNANSWERED, "the broker's listing cannot be read: is it newer than this sluicify?");
    };
    let made = env::current_exe().and_then(|target| make_links(directory, &target, &programs));
    match made {
        Ok(ShimReport { lines, is_incomplete }) => {
            let lines = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            print(&lines).max(is_incomplete.into())
        }
        Err(error) => {
            complain(1, &format!("cannot make links in {}: {error}", quoted(&directory.to_string_lossy())))
        }
    }
}

/// Waits for the listing. Where no broker takes the request, that is said once.
fn ask_listing(
    asked: &AskedCall<'_>,
    address: BrokerAddress,
    format: ListFormat,
) -> Result<String, CallFailure> {
    let mut request = PendingRequest::<BorrowedFd<'static>>::list(address, format)?;
    let mut end = request.wait_for_end(Instant::now().checked_add(UNHEARD_WAIT))?;
    if end.is_none() && request.is_untaken() {
        say(&asked.unheard());
    }
    while end.is_none() {
        end = request.wait_for_end(None)?;
    }
    match end {
        Some(RequestEvent::Listing(text)) => Ok(text),
        _ => Err(CallFailure::Unreadable(Malformed::Truncated)),
    }
}

/// The listing, with characters escaped that steer a terminal or hide text. Piped text is escaped too,
/// because it is shown in the end. A broker of this version has escaped the listing already; one of another
/// version may not have.
fn shown(listing: &str) -> String {
    listing.lines().flat_map(|line| [visible(line), "\n".into()]).collect()
}

/// The exit code of a failure.
fn exit_code(failure: &CallFailure) -> u8 {
    match failure {
        CallFailure::Words(_) => USAGE_ERROR,
        CallFailure::Unreached(_) | CallFailure::Unsent(_) | CallFailure::Version1Only => UNREACHED,
        CallFailure::Unanswered | CallFailure::Unreadable(_) => UNANSWERED,
        CallFailure::Refused(Status::TIMEOUT, _) => TIMED_OUT,
        CallFailure::Refused(status, _) => match status.get() {
            // 128 + |status| fits a byte: no broker has a status below -127.
            negative @ -127..=-1 => u8::try_from(128 - negative).unwrap_or(UNANSWERED),
            _ => UNANSWERED,
        },
    }
}

fn print(text: &str) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => 0,
        Err(error) => complain(1, &format!("cannot write to stdout: {error}")),
    }
}

/// Says `message` in one line on stderr, and returns `code`. Where stderr cannot be written to, only the code
/// is left.
fn complain(code: u8, message: &str) -> u8 {
    say(message);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_keeps_its_lines_and_nothing_that_hides() {
        assert_eq!(
            shown("git <n>\n  \u{1b}[2J\u{202e}x\n\ndate\n"),
            "git <n>\n  \\u{1b}[2J\\u{202e}x\n\ndate\n"
        );
        assert_eq!(shown(""), "");
    }

    #[test]
    fn every_status_has_its_exit_code() {
        let code = |status| exit_code(&CallFailure::Refused(Status::from_wire(status), None));
        let got: Vec<_> = Status::NAMES.iter().map(|(status, _)| code(status.get())).collect();
        assert_eq!(got, [129, 130, 131, 132, 134, 124, 136, 137, 138]);
        assert_eq!([-5, -127, -128, 256, i32::MIN].map(code), [133, 255, 135, 135, 135]);
    }
}
