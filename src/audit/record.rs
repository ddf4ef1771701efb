//! The lines of a manifest, one type a kind; REFERENCE.md has each field's meaning. A field that says nothing is
//! left out; `prev` is added when the line is written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::ids::{CallId, RuleLine, SocketName};
use crate::sd::Account;
use crate::wire::Status;

use super::words::{Caller, Words};

/// `start`: a command is about to run.
#[derive(Debug, Serialize)]
pub(super) struct Start<'a> {
    pub(super) kind: &'static str,
    pub(super) call: CallId,
    ts: u64,
    pub(super) socket: &'a SocketName,
    pub(super) rule: RuleLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<&'a str>,
    #[serde(flatten)]
    pub(super) words: Words,
    pub(super) resolved: &'a str,
    cwd: &'a str,
    #[serde(flatten)]
    pub(super) caller: &'a Caller,
    child: i32,
    pub(super) scope: &'a str,
    policy: &'a str,
}

/// What a start record is made from.
#[derive(Debug)]
pub struct Opening<'a> {
    /// The socket that was asked.
    pub socket: &'a SocketName,
    /// The rule that allows it.
    pub rule: RuleLine,
    /// The rules file, when it is an included one.
    pub file: Option<&'a str>,
    /// The command line.
    pub argv: Vec<&'a str>,
    /// The program that runs.
    pub resolved: &'a str,
    /// Where it runs.
    pub cwd: &'a str,
    /// Who asked.
    pub caller: &'a Caller,
    /// The process that becomes the command.
    pub child: i32,
    /// The scope that it is in, or `off`.
    pub scope: &'a str,
    /// The hash of the rules in force.
    pub policy: &'a str,
    /// Whether the log policy keeps what ran out of every record.
    pub hidden: bool,
}

impl<'a> Start<'a> {
    pub(super) fn new(call: CallId, opening: &'a Opening<'a>) -> Self {
        Self {
            kind: "start",
            call,
            ts: now_ms(),
            socket: opening.socket,
            rule: opening.rule,
            file: opening.file,
            words: Words::new(opening.argv.iter().copied()),
            resolved: opening.resolved,
            cwd: opening.cwd,
            caller: opening.caller,
            child: opening.child,
            scope: opening.scope,
            policy: opening.policy,
        }
    }
}

/// Why a call was ended before its command did so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its rule's timeout fired.
    Timeout,
    /// Its caller went away.
    Hangup,
    /// The broker stops.
    Stop,
}

/// How a call that was on record as started ended.
#[derive(Debug)]
pub enum Outcome {
    /// The command ran.
    Ran {
        /// What its caller is answered.
        status: Status,
        /// The signal that ended it.
        signal: Option<i32>,
        /// Why the broker ended it, if it did.
        cause: Option<Cause>,
        /// Processes that it left and that could not be ended.
        left: usize,
        /// What all that ran in its scope used.
        account: Account,
    },
    /// Nothing of the command ran.
    NotStarted {
        /// The step that failed.
        step: &'static str,
        /// What it gave.
        errno: nix::errno::Errno,
    },
}

impl Outcome {
    /// What the caller is answered.
    pub fn status(&self) -> Status {
        match self {
            Self::NotStarted { .. } => Status::SPAWN,
            Self::Ran { cause: Some(Cause::Timeout), .. } => Status::TIMEOUT,
            Self::Ran { cause: Some(Cause::Stop), .. } => Status::STOPPING,
            Self::Ran { status, .. } => *status,
        }
    }
}

/// `exit`: a call ended.
#[derive(Debug, Serialize)]
pub(super) struct Ending<'a> {
    kind: &'static str,
    pub(super) call: CallId,
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<&'a SocketName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<RuleLine>,
    #[serde(flatten)]
    caller: Option<&'a Caller>,
    pub(super) status: Status,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signal: Option<i32>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) timed_out: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) hangup: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) stopped: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) left: usize,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) oom: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) errno: Option<String>,
    /// For the journal, where an entry stands by itself.
    #[serde(skip)]
    pub(super) opening: &'a Opening<'a>,
    #[serde(skip)]
    pub(super) took: Duration,
}

impl<'a> Ending<'a> {
    /// The end of `call` after `took`. One whose start is not on record (`log = exit-only`) says who called.
    pub(super) fn new(call: CallId, took: Duration, outcome: &Outcome, opening: &'a Opening<'a>) -> Self {
        let hidden = opening.hidden.then_some(opening);
        let mut ending = Self {
            kind: "exit",
            call,
            ts: now_ms(),
            socket: hidden.map(|opening| opening.socket),
            rule: hidden.map(|opening| opening.rule),
            caller: hidden.map(|opening| opening.caller),
            status: outcome.status(),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            signal: None,
            timed_out: false,
            hangup: false,
            stopped: false,
            left: 0,
            oom: false,
            cpu_ms: None,
            memory_peak: None,
            step: None,
            errno: None,
            opening,
            took,
        };
        match outcome {
            Outcome::Ran { signal, cause, left, account, .. } => {
                ending.signal = *signal;
                ending.timed_out = *cause == Some(Cause::Timeout);
                ending.hangup = *cause == Some(Cause::Hangup);
                ending.stopped = *cause == Some(Cause::Stop);
                ending.left = *left;
                ending.oom = account.oom;
                ending.cpu_ms = account.cpu_ms;
                ending.memory_peak = account.memory_peak;
            }
            Outcome::NotStarted { step, errno } => {
                ending.step = Some(step);
                ending.errno = Some(format!("{errno:?}"));
            }
        }
        ending
    }
}

/// `lost`: a call whose end nobody saw.
#[derive(Debug, Serialize)]
pub(super) struct Lost {
    kind: &'static str,
    pub(super) call: CallId,
    ts: u64,
}

impl Lost {
    pub(super) fn new(call: CallId) -> Self {
        Self { kind: "lost", call, ts: now_ms() }
    }
}

/// `open`: a broker begins to write here.
#[derive(Debug, Serialize)]
pub(super) struct Open<'a> {
    pub(super) kind: &'static str,
    pub(super) ts: u64,
    pub(super) version: &'static str,
    pub(super) broker: u32,
    pub(super) rules: &'a str,
    pub(super) policy: &'a str,
    pub(super) next: CallId,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) torn: usize,
    /// Bytes of the file before this line: it shows when a file was cut at its head.
    #[serde(skip_serializing_if = "is_start_of_file")]
    pub(super) at: u64,
}

/// `reload`: the rules were read again.
#[derive(Debug, Serialize)]
pub(super) struct Reload<'a> {
    pub(super) kind: &'static str,
    pub(super) ts: u64,
    pub(super) ok: bool,
    pub(super) policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'a str>,
}

/// `close`: the broker leaves.
#[derive(Debug, Serialize)]
pub(super) struct Close {
    pub(super) kind: &'static str,
    pub(super) ts: u64,
    pub(super) next: CallId,
}

/// Milliseconds since the epoch; 0 on a clock set before it.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_start_of_file(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}
