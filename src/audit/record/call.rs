//! The records of a call's start and end, one type for each; REFERENCE.md has each field's meaning. A field
//! without information is left out; `prev` is added when the line is written. `aftermath.rs` and
//! `lifecycle.rs` have other records.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use serde::Serialize;

use crate::audit::record::trace::CallTrace;
use crate::audit::write::live::LiveParts;
use crate::cgroup::CgroupUsage;
use crate::confine::EnforcedParts;
use crate::ids::{CallId, RuleLine, SocketName};
use crate::limits::REQUEST_FDS;
use crate::wire::Status;
use crate::wire::v2::{CallEnd, EndFlags};

use super::argv::{Caller, RecordedArgv, RecordedPaths};
use super::denied::DeniedAccesses;
use super::kind::RecordKind;

/// `start`: a command is about to run.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct StartRecord<'a> {
    pub(in crate::audit) kind: RecordKind,
    pub(in crate::audit) call: CallId,
    ts: u64,
    pub(in crate::audit) socket: &'a SocketName,
    pub(in crate::audit) rule: RuleLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) file: Option<&'a str>,
    #[serde(flatten)]
    pub(super) words: RecordedArgv,
    #[serde(flatten)]
    pub(in crate::audit) paths: RecordedPaths,
    pub(super) resolved: &'a str,
    cwd: &'a str,
    #[serde(flatten)]
    pub(in crate::audit) caller: &'a Caller,
    child: i32,
    pub(super) scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confinement: Option<&'a EnforcedParts>,
    policy: &'a str,
}

/// The facts of a call that its start record is made from.
#[derive(Debug)]
pub struct CallStart<'a> {
    /// The socket that was asked.
    pub socket: &'a SocketName,
    /// The rule that allows it.
    pub rule: RuleLine,
    /// The rules file, when it is an included one.
    pub file: Option<&'a str>,
    /// The command line.
    pub argv: Vec<&'a str>,
    /// The real places of the paths in it that have to lie in a directory, in order: the command gets these
    /// instead of the paths.
    pub paths: Vec<&'a str>,
    /// The program that runs.
    pub resolved: &'a str,
    /// The directory in which it runs.
    pub cwd: &'a str,
    /// The caller.
    pub caller: &'a Caller,
    /// The process that becomes the command.
    pub child: i32,
    /// The scope that it is in, or `off`.
    pub scope: &'a str,
    /// The name of its own group in the scope, which other calls have before and after it.
    pub group: Option<&'a str>,
    /// The path and the number of the scope's cgroup.
    pub cgroup: Option<(&'a str, u64)>,
    /// The files in which stdin, stdout and stderr are captured.
    pub captures: [Option<&'a str>; REQUEST_FDS],
    /// What confines it.
    pub confinement: Option<&'a EnforcedParts>,
    /// The hash of the rules in force.
    pub policy: &'a str,
    /// Whether the log policy keeps the command out of every record.
    pub hidden: bool,
}

impl CallStart<'_> {
    /// The cgroup and captures of the call, as far as its log policy lets records tell.
    pub(in crate::audit) fn trace(&self) -> CallTrace {
        let [stdin, stdout, stderr] = self.captures.map(|path| path.map(PathBuf::from));
        let (cgroup, cgroup_id) = self.cgroup.map(|(path, id)| (path.to_owned(), id)).unzip();
        if self.hidden {
            CallTrace::default()
        } else {
            CallTrace { cgroup, cgroup_id, stdin, stdout, stderr }
        }
    }
}

impl<'a> StartRecord<'a> {
    pub(in crate::audit) fn new(call: CallId, opening: &'a CallStart<'a>) -> Self {
        let [stdin, stdout, stderr] = opening.captures;
        Self {
            kind: RecordKind::Start,
            call,
            ts: now_ms(),
            socket: opening.socket,
            rule: opening.rule,
            file: opening.file,
            words: RecordedArgv::new(opening.argv.iter().copied()),
            paths: RecordedPaths::new(&opening.paths),
            resolved: opening.resolved,
            cwd: opening.cwd,
            caller: opening.caller,
            child: opening.child,
            scope: opening.scope,
            group: opening.group,
            cgroup: opening.cgroup.map(|(path, _)| path),
            cgroup_id: opening.cgroup.map(|(_, id)| id),
            stdin,
            stdout,
            stderr,
            confinement: opening.confinement,
            policy: opening.policy,
        }
    }
}

/// Why the broker ended a call before its command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Its rule's timeout fired.
    Timeout,
    /// Its caller went away.
    Hangup,
    /// The broker stops.
    Stop,
    /// A capture failed, and the rule has `audit = strict`.
    CaptureLost,
}

/// The contents of a call's captures, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapturedBytes {
    /// The captured bytes of stdin, stdout and stderr, where there is a capture.
    pub bytes: [Option<u64>; REQUEST_FDS],
    /// Bytes of stdin that were written to the command's pipe and that the command did not read.
    pub stdin_unread: u64,
    /// A capture lacks bytes that passed.
    pub truncated: bool,
    /// The streams were cut off while a process held them open, or before the caller had all bytes.
    pub drain_timeout: bool,
    /// Processes that the command left go on writing.
    pub goes_on: bool,
}

/// The end of a call whose start was on record.
#[derive(Debug)]
pub enum CallOutcome {
    /// The command ran.
    Ran {
        /// The status that its caller is answered.
        status: Status,
        /// The signal that ended the command.
        signal: Option<i32>,
        /// Why the broker ended it, if it did.
        cause: Option<EndCause>,
        /// Processes that the command left and that could not be ended.
        left: usize,
        /// Other processes run on, as the rule lets them.
        keeps: bool,
        /// The processor time and memory of all processes in its scope.
        account: CgroupUsage,
        /// The contents of its captures.
        captured: CapturedBytes,
        /// The accesses that the kernel is known to have denied it.
        denied: DeniedAccesses,
    },
    /// Nothing of the command ran.
    NotStarted {
        /// The step that failed.
        step: &'static str,
        /// The error of that step.
        errno: Errno,
    },
    /// Nothing of the command ran, because its start is not certain to be on disk.
    NotDurable {
        /// The error of the sync.
        errno: Errno,
    },
}

impl CallOutcome {
    /// Whether processes that the call left could not be ended.
    pub fn leaves_some(&self) -> bool {
        matches!(self, Self::Ran { left: 1.., .. })
    }

    /// The parts of the call that go on after its end.
    pub fn goes_on(&self) -> LiveParts {
        match self {
            Self::Ran { captured, keeps, .. } => LiveParts { capturing: captured.goes_on, keeping: *keeps },
            Self::NotStarted { .. } | Self::NotDurable { .. } => LiveParts::default(),
        }
    }

    /// The status that the caller is answered.
    pub fn status(&self) -> Status {
        match self {
            Self::NotStarted { .. } => Status::SPAWN,
            Self::NotDurable { .. } => Status::AUDIT,
            Self::Ran { cause: Some(EndCause::Timeout), .. } => Status::TIMEOUT,
            Self::Ran { cause: Some(EndCause::Stop), .. } => Status::STOPPING,
            Self::Ran { cause: Some(EndCause::CaptureLost), .. } => Status::AUDIT,
            Self::Ran { status, .. } => *status,
        }
    }

    /// How the call ended, for a caller of version 2; `None` where nothing of the command ran.
    pub fn end(&self, took: Duration) -> Option<CallEnd> {
        let Self::Ran { signal, cause, account, captured, .. } = self else { return None };
        let flags = EndFlags::default()
            .with(EndFlags::TIMED_OUT, *cause == Some(EndCause::Timeout))
            .with(EndFlags::TRUNCATED, captured.truncated)
            .with(EndFlags::OUT_OF_MEMORY, account.oom)
            .with(EndFlags::HUNG_UP, *cause == Some(EndCause::Hangup));
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Some(CallEnd { status: self.status(), signal: *signal, flags, microseconds })
    }

    /// The reason why there is no exit status, for the caller; `None` where there is one. `timeout` is the
    /// rule's.
    pub fn told(&self, timeout: Option<Duration>) -> Option<String> {
        match self {
            // The program was found a moment ago, so another file is missing.
            Self::NotStarted { step: "exec", errno: Errno::ENOENT } => Some(format!(
                "exec: {}: the program is there, and not the interpreter that its first line names (`#!`), or its loader",
                Errno::ENOENT.desc()
            )),
            Self::NotStarted { step, errno } => Some(format!("{step}: {}", errno.desc())),
            Self::NotDurable { errno } => {
                Some(format!("nothing ran: its start cannot be put on record: {}", errno.desc()))
            }
            Self::Ran { cause: Some(EndCause::Timeout), .. } => {
                timeout.map(|timeout| format!("it ran for {timeout:?}"))
            }
            Self::Ran { cause: Some(EndCause::Stop), .. } => Some("it ran, and was ended".into()),
            Self::Ran { cause: Some(EndCause::CaptureLost), .. } => {
                Some("it ran, and was ended: what it wrote could not be kept".into())
            }
            Self::Ran { .. } => None,
        }
    }
}

/// `exit`: a call ended.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct ExitRecord<'a> {
    kind: RecordKind,
    pub(in crate::audit) call: CallId,
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<&'a SocketName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<RuleLine>,
    #[serde(flatten)]
    caller: Option<&'a Caller>,
    pub(in crate::audit) status: Status,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) signal: Option<i32>,
    #[serde(skip_serializing_if = "is_false")]
    pub(in crate::audit) timed_out: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(in crate::audit) hangup: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(in crate::audit) stopped: bool,
    #[serde(flatten)]
    pub(in crate::audit) captured: CaptureTally,
    #[serde(skip_serializing_if = "is_false")]
    keeping: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::audit) left: usize,
    #[serde(skip_serializing_if = "is_false")]
    pub(in crate::audit) oom: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak: Option<u64>,
    #[serde(flatten)]
    pub(super) denied: DeniedAccesses,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) errno: Option<String>,
    /// For the journal, where an entry has to be understood without the start.
    #[serde(skip)]
    pub(in crate::audit) opening: &'a CallStart<'a>,
    #[serde(skip)]
    pub(super) took: Duration,
}

impl<'a> ExitRecord<'a> {
    /// The end of `call`, which took `took`. It names the caller where no start is on record
    /// (`log = exit-only`).
    pub(in crate::audit) fn new(
        call: CallId,
        took: Duration,
        outcome: &CallOutcome,
        opening: &'a CallStart<'a>,
    ) -> Self {
        let hidden = opening.hidden.then_some(opening);
        let mut ending = Self {
            kind: RecordKind::Exit,
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
            captured: CaptureTally::default(),
            keeping: outcome.goes_on().keeping,
            left: 0,
            oom: false,
            cpu_ms: None,
            memory_peak: None,
            denied: DeniedAccesses::default(),
            step: None,
            errno: None,
            opening,
            took,
        };
        match outcome {
            CallOutcome::Ran { signal, cause, left, account, captured, denied, .. } => {
                ending.denied = denied.clone();
                ending.signal = *signal;
                ending.timed_out = *cause == Some(EndCause::Timeout);
                ending.hangup = *cause == Some(EndCause::Hangup);
                ending.stopped = *cause == Some(EndCause::Stop);
                ending.captured = CaptureTally::new(captured);
                ending.left = *left;
                ending.oom = account.oom;
                ending.cpu_ms = account.cpu_ms;
                ending.memory_peak = account.memory_peak;
            }
            CallOutcome::NotStarted { step, errno } => {
                ending.step = Some(step);
                ending.errno = Some(format!("{errno:?}"));
            }
            CallOutcome::NotDurable { errno } => {
                ending.step = Some("sync");
                ending.errno = Some(format!("{errno:?}"));
            }
        }
        ending
    }
}

/// The contents of captures, in the fields of records.
#[derive(Debug, Default, Serialize)]
pub(in crate::audit) struct CaptureTally {
    #[serde(skip_serializing_if = "Option::is_none")]
    stdin_bytes: Option<u64>,
    #[serde(skip_serializing_if = "is_none_left")]
    stdin_unread: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_bytes: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) truncated: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) drain_timeout: bool,
    #[serde(skip_serializing_if = "is_false")]
    capturing: bool,
}

impl CaptureTally {
    pub(in crate::audit) fn new(captured: &CapturedBytes) -> Self {
        let [stdin_bytes, stdout_bytes, stderr_bytes] = captured.bytes;
        let CapturedBytes { stdin_unread, truncated, drain_timeout, goes_on, .. } = *captured;
        Self {
            stdin_bytes,
            stdin_unread,
            stdout_bytes,
            stderr_bytes,
            truncated,
            drain_timeout,
            capturing: goes_on,
        }
    }
}

/// Milliseconds since the epoch; 0 on a clock set before it.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_zero(value: &usize) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none_left(bytes: &u64) -> bool {
    *bytes == 0
}
