//! The outcome of a call for a program: one line of JSON on a descriptor that the caller names, because every
//! exit code can be the command's own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use crate::sys;
use crate::text::quoted;
use crate::wire::Status;

use super::json::json_string;

/// How a call ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    /// It exited.
    Exited,
    /// A signal ended it.
    Signaled,
    /// Its rule's timeout ended it.
    Timeout,
    /// It did not run, or not to its end, by the broker's word.
    Refused,
    /// There is no word of the broker.
    Error,
}

/// Exit code when no broker was asked: no broker's status maps to it, and timeout(1) and env(1) exit with it
/// when they fail themselves.
pub(super) const UNREACHED: u8 = 125;

/// The outcome of a call.
#[derive(Debug, PartialEq, Eq)]
pub struct CallerOutcome {
    /// How the call ended, in one word.
    pub kind: OutcomeKind,
    /// The exit code of this process.
    pub code: u8,
    /// The signal that ended the command.
    pub signal: Option<i32>,
    /// The broker's status, if it is one of its own.
    pub status: Option<Status>,
    /// The number of the call in the records.
    pub call: Option<u64>,
    /// The reason of an end that is not the command's.
    pub reason: Option<String>,
}

impl CallerOutcome {
    /// An end that this process found by itself.
    pub fn error(code: u8, reason: String) -> Self {
        let (kind, reason) = (OutcomeKind::Error, Some(reason));
        Self { kind, code, signal: None, status: None, call: None, reason }
    }

    /// The outcome where no broker could be asked.
    pub fn unreached(reason: String) -> Self {
        Self::error(UNREACHED, reason)
    }

    /// The outcome as `--status-fd` has it.
    pub fn line(&self) -> String {
        let outcome = match self.kind {
            OutcomeKind::Exited => "exited",
            OutcomeKind::Signaled => "signaled",
            OutcomeKind::Timeout => "timeout",
            OutcomeKind::Refused => "refused",
            OutcomeKind::Error => "error",
        };
        let text = |text: Option<&str>| text.map_or("null".into(), json_string);
        let number = |number: Option<u64>| number.map_or("null".into(), |number| number.to_string());
        let status = self.status.and_then(Status::name);
        format!(
            "{{\"outcome\":\"{outcome}\",\"code\":{},\"signal\":{},\"status\":{},\"call\":{},\"reason\":{}}}\n",
            self.code,
            number(self.signal.and_then(|signal| signal.try_into().ok())),
            text(status),
            number(self.call),
            text(self.reason.as_deref()),
        )
    }
}

/// The descriptor for the outcome, if the caller wants it.
#[derive(Debug)]
pub(super) struct OutcomeWriter(Option<File>);

impl OutcomeWriter {
    /// The descriptor that the option names, or else the environment. Errors: it is not open.
    pub(super) fn named(option: Option<&OsStr>) -> Result<Self, String> {
        let from_environment = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let (name, number) = match (option, &from_environment) {
            (Some(number), _) => ("--status-fd", number),
            (None, Some(number)) => ("$SLUICE_STATUS_FD", OsString::as_os_str(number)),
            (None, None) => return Ok(Self(None)),
        };
        let descriptor = number.to_str().and_then(|number| number.parse().ok()).map(open);
        let problem = || {
            format!(
                "{name} is {}, and no descriptor of that number is open",
                quoted(&number.to_string_lossy())
            )
        };
        let descriptor = descriptor.and_then(Result::ok).ok_or_else(problem)?;
        Ok(Self(Some(descriptor.into())))
    }

    /// Writes the outcome, the first time. Where that fails, the exit code is left.
    pub(super) fn write(&mut self, outcome: &CallerOutcome) {
        if let Some(mut file) = self.0.take() {
            file.write_all(outcome.line().as_bytes()).ok();
        }
    }
}

/// The variable that stands for `--status-fd`.
const VARIABLE: &str = "SLUICE_STATUS_FD";

fn open(number: i32) -> io::Result<OwnedFd> {
    match usize::try_from(number).ok().and_then(|number| sys::stdio().get(number).copied()) {
        Some(standard) => standard.try_clone_to_owned(),
        None => sys::adopt_open(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(outcome: &CallerOutcome, want: &str) {
        assert_eq!(outcome.line(), format!("{want}\n"));
    }

    #[test]
    fn an_outcome_has_all_its_keys() {
        let (kind, status, reason) = (OutcomeKind::Signaled, None, None);
        check(
            &CallerOutcome { kind, code: 137, signal: Some(9), status, call: Some(17), reason },
            r#"{"outcome":"signaled","code":137,"signal":9,"status":null,"call":17,"reason":null}"#,
        );
        let (kind, status) = (OutcomeKind::Refused, Some(Status::NO_RULE));
        check(
            &CallerOutcome {
                kind,
                code: 129,
                signal: None,
                status,
                call: None,
                reason: Some("a \"b\"".into()),
            },
            r#"{"outcome":"refused","code":129,"signal":null,"status":"NO_RULE","call":null,"reason":"a \"b\""}"#,
        );
    }
}
