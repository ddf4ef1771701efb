//! The program `sluicify`: its arguments, its exit codes, and where its text goes. The messages about
//! failures are in `advice.rs`. No crate parses the arguments: the program has to start in microseconds and
//! to be small.

#![forbid(unsafe_code)]

mod advice;
mod unit;
mod unreached;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::client::{self, CallFailure};
use crate::text::{quoted, visible};
use crate::wire::Status;

use advice::AskedCall;

/// The text that `--help` prints.
const HELP: &str = "\
Has a command run outside of this sandbox, by the broker that listens on SOCKET.

usage: sluicify SOCKET [--] CMD [ARGS...]   run CMD with this stdin, stdout and stderr
       sluicify --list SOCKET               show what may be called
       sluicify --version | --help

Exits as the command did (128 + signal when one ended it), or with
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
/// Exit code when no broker was asked: no broker's status maps to it, and timeout(1) and env(1) exit with it
/// when they fail themselves.
const UNREACHED: u8 = 125;
/// Exit code when the answer is missing or unreadable. No status maps to it: -7 is [`TIMED_OUT`].
const UNANSWERED: u8 = 135;

/// The command that the arguments of `sluicify` ask for.
#[derive(Debug, PartialEq, Eq)]
enum CallerCommand<'a> {
    Call(&'a Path, &'a [OsString]),
    List(&'a Path),
    Version,
    Help,
}

/// Runs `sluicify` with these arguments, its own name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().skip(1).collect();
    let code = match parse(&arguments) {
        Ok(CallerCommand::Call(socket, words)) => call(socket, words),
        Ok(CallerCommand::List(socket)) => list(socket),
        Ok(CallerCommand::Version) => print(concat!("sluicify ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(CallerCommand::Help) => print(HELP),
        Err(problem) => complain(USAGE_ERROR, &format!("{problem}; usage: {USAGE}")),
    };
    ExitCode::from(code)
}

/// Reads the arguments. Only the first one can be an option: everything after SOCKET belongs to the command.
fn parse(arguments: &[OsString]) -> Result<CallerCommand<'_>, String> {
    let (first, rest) = arguments.split_first().ok_or("missing SOCKET and CMD")?;
    match (first.to_str(), rest) {
        (Some("--version" | "-V"), []) => Ok(CallerCommand::Version),
        (Some("--help" | "-h"), []) => Ok(CallerCommand::Help),
        (Some("--list"), [socket]) if !socket.is_empty() => Ok(CallerCommand::List(Path::new(socket))),
        (Some("--list"), []) => Err("--list needs the socket".into()),
        (Some(option @ ("--list" | "--version" | "-V" | "--help" | "-h")), _) => {
            Err(format!("{option} was given more than it takes, or an empty socket"))
        }
        (Some(""), _) => Err("the socket's path is empty (an unset variable?)".into()),
        (Some(option), _) if option.starts_with('-') => {
            Err(format!("no option {} here (a socket of that name is ./-name)", quoted(option)))
        }
        (_, []) => Err("missing CMD after the socket".into()),
        (_, [dashes]) if dashes == "--" => Err("missing CMD after the socket and --".into()),
        // One `--` before the command is skipped, as by other programs that run a command: no program has
        // this name.
        (_, [dashes, words @ ..]) if dashes == "--" => Ok(CallerCommand::Call(Path::new(first), words)),
        (_, words) => Ok(CallerCommand::Call(Path::new(first), words)),
    }
}

fn call(socket: &Path, words: &[OsString]) -> u8 {
    let asked = AskedCall { socket, words };
    client::call(socket, words, &mut say_unheard(&asked)).unwrap_or_else(|failure| give_up(&asked, &failure))
}

fn list(socket: &Path) -> u8 {
    let asked = AskedCall { socket, words: &[] };
    match client::list(socket, &mut say_unheard(&asked)) {
        Ok(text) => print(&shown(&text)),
        Err(failure) => give_up(&asked, &failure),
    }
}

/// Makes the function that says, once, that the broker has not taken the request yet. The wait goes on all
/// the same.
fn say_unheard(asked: &AskedCall<'_>) -> impl FnMut() {
    let mut is_said = false;
    move || {
        if !std::mem::replace(&mut is_said, true) {
            complain(0, &asked.unheard());
        }
    }
}

/// The listing, with characters escaped that steer a terminal or hide text. Piped text is escaped too,
/// because it is shown in the end. A broker of this version has escaped the listing already; one of another
/// version may not have.
fn shown(listing: &str) -> String {
    listing.lines().flat_map(|line| [visible(line), "\n".into()]).collect()
}

fn give_up(asked: &AskedCall<'_>, failure: &CallFailure) -> u8 {
    complain(exit_code(failure), &asked.advice(failure))
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
    match io::stderr().write_all(format!("sluicify: {message}\n").as_bytes()) {
        Ok(()) | Err(_) => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, want: Result<CallerCommand<'_>, &str>) {
        let arguments: Vec<OsString> = line.split(' ').skip(1).map(OsString::from).collect();
        match (parse(&arguments), want) {
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
            (got, want) => assert_eq!(got, want.map_err(str::to_owned)),
        }
    }

    #[test]
    fn the_first_argument_decides() {
        let words = [OsString::from("git"), "--help".into()];
        check("sluicify /run/s git --help", Ok(CallerCommand::Call(Path::new("/run/s"), &words)));
        check("sluicify /run/s -- git --help", Ok(CallerCommand::Call(Path::new("/run/s"), &words)));
        let dashes = ["--".into(), "--".into()];
        check("sluicify /run/s -- -- --", Ok(CallerCommand::Call(Path::new("/run/s"), &dashes)));
        check("sluicify --list /run/s", Ok(CallerCommand::List(Path::new("/run/s"))));
        check("sluicify --version", Ok(CallerCommand::Version));
        check("sluicify --help", Ok(CallerCommand::Help));
    }

    #[test]
    fn a_wrong_use_says_what_is_wrong() {
        check("sluicify", Err("missing SOCKET and CMD"));
        check("sluicify /run/s", Err("missing CMD after the socket"));
        check("sluicify /run/s --", Err("missing CMD"));
        check("sluicify --list", Err("--list needs the socket"));
        check("sluicify --list /run/s git", Err("--list was given more"));
        check("sluicify --version now", Err("--version was given more"));
        check("sluicify  git", Err("path is empty"));
        check("sluicify --json /run/s", Err("no option --json here"));
    }

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
