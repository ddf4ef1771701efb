//! The arguments of `sluicify`: only the first ones can be options, because everything after SOCKET belongs
//! to the command.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::text::quoted;
use crate::wire::v2::ListFormat;

/// The command that the arguments of `sluicify` ask for. A socket may be `-`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallerCommand<'a> {
    Call { socket: &'a OsStr, words: &'a [OsString], status_fd: Option<&'a OsStr> },
    List { socket: &'a OsStr, format: ListFormat },
    WithDescriptor { socket: &'a OsStr, command: &'a [OsString] },
    Shims { directory: &'a Path, socket: Option<&'a OsStr> },
    Version,
    Help,
}

/// Reads the arguments.
pub(super) fn parse(arguments: &[OsString]) -> Result<CallerCommand<'_>, String> {
    let (first, rest) = arguments.split_first().ok_or("missing SOCKET and CMD")?;
    match (first.to_str(), rest) {
        (Some("--version" | "-V"), []) => Ok(CallerCommand::Version),
        (Some("--help" | "-h"), []) => Ok(CallerCommand::Help),
        (Some("--list"), rest) => list(rest),
        (Some("--status-fd"), [number, rest @ ..]) => call(rest, Some(number)),
        (Some("--with-fd"), rest) => {
            let (socket, command) = named(rest)?;
            Ok(CallerCommand::WithDescriptor { socket, command })
        }
        (Some("shims"), rest) => shims(rest),
        (Some("--status-fd"), []) => Err("--status-fd needs a number".into()),
        (Some(option @ ("--version" | "-V" | "--help" | "-h")), _) => {
            Err(format!("{option} was given more than it takes"))
        }
        _ => call(arguments, None),
    }
}

fn call<'a>(arguments: &'a [OsString], status_fd: Option<&'a OsString>) -> Result<CallerCommand<'a>, String> {
    let (socket, words) = named(arguments)?;
    Ok(CallerCommand::Call { socket, words, status_fd: status_fd.map(OsString::as_os_str) })
}

/// The socket, and the command after it.
fn named(arguments: &[OsString]) -> Result<(&OsStr, &[OsString]), String> {
    let (socket, rest) = arguments.split_first().ok_or("missing SOCKET and CMD")?;
    let socket = checked(socket)?;
    match rest {
        [] => Err("missing CMD after the socket".into()),
        [dashes] if dashes == "--" => Err("missing CMD after the socket and --".into()),
        // One `--` before the command is skipped, as by other programs that run a command: no program has
        // this name.
        [dashes, words @ ..] if dashes == "--" => Ok((socket, words)),
        words => Ok((socket, words)),
    }
}

fn list(rest: &[OsString]) -> Result<CallerCommand<'_>, String> {
    let (socket, format) = match rest {
        [socket] => (socket, ListFormat::Text),
        [socket, json] | [json, socket] if json == "--json" => (socket, ListFormat::Json),
        [] => return Err("--list needs the socket".into()),
        _ => return Err("--list was given more than it takes".into()),
    };
    Ok(CallerCommand::List { socket: checked(socket)?, format })
}

fn shims(rest: &[OsString]) -> Result<CallerCommand<'_>, String> {
    match rest {
        [directory] if !directory.is_empty() => {
            Ok(CallerCommand::Shims { directory: Path::new(directory), socket: None })
        }
        [directory, socket] if !directory.is_empty() => {
            Ok(CallerCommand::Shims { directory: Path::new(directory), socket: Some(checked(socket)?) })
        }
        _ => Err("shims takes a directory, and a socket or none (a socket of that name is ./shims)".into()),
    }
}

fn checked(socket: &OsString) -> Result<&OsStr, String> {
    match socket.to_str() {
        Some("") => Err("the socket's path is empty (an unset variable?)".into()),
        Some(option) if option.starts_with('-') && option != "-" => {
            Err(format!("no option {} here (a socket of that name is ./-name)", quoted(option)))
        }
        _ => Ok(socket),
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
        let (socket, status_fd) = (OsStr::new("/run/s"), None);
        let words = &[OsString::from("git"), "--help".into()][..];
        check("sluicify /run/s git --help", Ok(CallerCommand::Call { socket, words, status_fd }));
        check("sluicify /run/s -- git --help", Ok(CallerCommand::Call { socket, words, status_fd }));
        let dashes = &["--".into(), "--".into()][..];
        check("sluicify /run/s -- -- --", Ok(CallerCommand::Call { socket, words: dashes, status_fd }));
        let dash = OsStr::new("-");
        check("sluicify - git --help", Ok(CallerCommand::Call { socket: dash, words, status_fd }));
        check("sluicify --version", Ok(CallerCommand::Version));
        check("sluicify --help", Ok(CallerCommand::Help));
    }

    #[test]
    fn an_option_stands_before_the_socket() {
        let socket = OsStr::new("/run/s");
        let words = &[OsString::from("git"), "--json".into()][..];
        let status_fd = Some(OsStr::new("5"));
        check(
            "sluicify --status-fd 5 /run/s git --json",
            Ok(CallerCommand::Call { socket, words, status_fd }),
        );
        let (text, json) = (ListFormat::Text, ListFormat::Json);
        check("sluicify --list /run/s", Ok(CallerCommand::List { socket, format: text }));
        check("sluicify --list /run/s --json", Ok(CallerCommand::List { socket, format: json }));
        check("sluicify --list --json /run/s", Ok(CallerCommand::List { socket, format: json }));
        check(
            "sluicify --with-fd /run/s -- git --json",
            Ok(CallerCommand::WithDescriptor { socket, command: words }),
        );
        let directory = Path::new("d");
        check("sluicify shims d", Ok(CallerCommand::Shims { directory, socket: None }));
        check("sluicify shims d /run/s", Ok(CallerCommand::Shims { directory, socket: Some(socket) }));
    }

    #[test]
    fn a_wrong_use_says_what_is_wrong() {
        check("sluicify", Err("missing SOCKET and CMD"));
        check("sluicify /run/s", Err("missing CMD after the socket"));
        check("sluicify /run/s --", Err("missing CMD"));
        check("sluicify --list", Err("--list needs the socket"));
        check("sluicify --list /run/s git", Err("--list was given more"));
        check("sluicify --list ", Err("path is empty"));
        check("sluicify --version now", Err("--version was given more"));
        check("sluicify  git", Err("path is empty"));
        check("sluicify --json /run/s", Err("no option --json here"));
        check("sluicify --status-fd", Err("--status-fd needs a number"));
        check("sluicify --status-fd 5", Err("missing SOCKET"));
        check("sluicify --with-fd /run/s", Err("missing CMD"));
        check("sluicify shims", Err("shims takes a directory"));
        check("sluicify shims a b c", Err("shims takes a directory"));
    }
}
