//! The lines of a manifest, one type a kind; REFERENCE.md has each field's meaning. A field that says nothing is
//! left out; `prev` is added when the line is written.

use std::hash::{Hash, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::ids::{CallId, RuleLine, SocketName};
use crate::limits::{RECORD_ARGV_BYTES_MAX, RECORD_DETAIL_BYTES_MAX};
use crate::refusal::Refusal;
use crate::sys::Sender;
use crate::wire::Status;

/// Who asked.
#[derive(Clone, Debug, Serialize)]
pub struct Caller {
    pid: i32,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    connector: Option<i32>,
}

impl Caller {
    /// The sender of the request; the process that connected is named too when it is another one.
    pub fn new(sender: Sender, connector: Option<Sender>) -> Self {
        let connector = connector.map(|connector| connector.pid).filter(|&pid| pid != sender.pid);
        Self { pid: sender.pid, uid: sender.uid, gid: sender.gid, connector }
    }

    /// The process that sent the request.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its user.
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

/// An argument list as records show it: whole, or cut with its length and hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Words {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    argv: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    argv_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    argv_sha256: Option<String>,
}

impl Words {
    fn new<'w>(words: impl Iterator<Item = &'w str> + Clone) -> Self {
        let bytes = words.clone().map(|word| word.len() + 1).sum::<usize>();
        if bytes <= RECORD_ARGV_BYTES_MAX {
            return Self { argv: words.map(str::to_owned).collect(), argv_bytes: None, argv_sha256: None };
        }
        let mut room = RECORD_ARGV_BYTES_MAX;
        let argv = words.clone().map_while(|word| keep(word, &mut room)).collect();
        let mut hash = Sha256::new();
        for word in words {
            hash.update(word);
            hash.update([0]);
        }
        Self { argv, argv_bytes: Some(bytes), argv_sha256: Some(format!("{:x}", hash.finalize())) }
    }
}

/// As much of `word` as there is room for, and nothing when there is none.
fn keep(word: &str, room: &mut usize) -> Option<String> {
    let end = word.floor_char_boundary(*room);
    let kept = (*room > 0).then(|| word[..end].to_owned());
    *room = room.saturating_sub(word.len() + 1);
    kept
}

/// `start`: a command is about to run.
#[derive(Debug, Serialize)]
pub(super) struct Start<'a> {
    pub(super) kind: &'static str,
    pub(super) call: CallId,
    ts: u64,
    socket: &'a SocketName,
    rule: RuleLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(flatten)]
    words: Words,
    resolved: &'a str,
    cwd: &'a str,
    #[serde(flatten)]
    caller: &'a Caller,
    child: i32,
    scope: &'static str,
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
            scope: "off",
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
    call: CallId,
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<&'a SocketName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<RuleLine>,
    #[serde(flatten)]
    caller: Option<&'a Caller>,
    status: Status,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "is_false")]
    timed_out: bool,
    #[serde(skip_serializing_if = "is_false")]
    hangup: bool,
    #[serde(skip_serializing_if = "is_false")]
    stopped: bool,
    #[serde(skip_serializing_if = "is_zero")]
    left: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
}

impl<'a> Ending<'a> {
    /// The end of `call` after `took`. One whose start is not on record (`log = exit-only`) says who called.
    pub(super) fn new(
        call: CallId,
        took: Duration,
        outcome: &Outcome,
        hidden: Option<&'a Opening<'a>>,
    ) -> Self {
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
            step: None,
            errno: None,
        };
        match outcome {
            Outcome::Ran { signal, cause, left, .. } => {
                ending.signal = *signal;
                ending.timed_out = *cause == Some(Cause::Timeout);
                ending.hangup = *cause == Some(Cause::Hangup);
                ending.stopped = *cause == Some(Cause::Stop);
                ending.left = *left;
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
    call: CallId,
    ts: u64,
}

impl Lost {
    pub(super) fn new(call: CallId) -> Self {
        Self { kind: "lost", call, ts: now_ms() }
    }
}

/// A refusal without its number and time. Two are equal when all but the process is: a flood may come from a new
/// process each time.
#[derive(Clone, Debug, Serialize)]
pub struct Rejected {
    socket: SocketName,
    #[serde(flatten)]
    caller: Option<Caller>,
    #[serde(flatten)]
    words: Words,
    reason: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    status: i32,
}

impl Rejected {
    /// A refusal on `socket`; `argv` is empty when it is not known.
    pub fn new(socket: &SocketName, caller: Option<Caller>, argv: &[&str], refusal: &Refusal) -> Self {
        let mut detail = refusal.to_string();
        detail.truncate(detail.floor_char_boundary(RECORD_DETAIL_BYTES_MAX));
        Self {
            socket: socket.clone(),
            caller,
            words: Words::new(argv.iter().copied()),
            reason: refusal.reason(),
            detail,
            status: refusal.status().get(),
        }
    }

    fn likeness(&self) -> Likeness<'_> {
        let uid = self.caller.as_ref().map(|caller| caller.uid);
        (&self.socket, uid, &self.words, self.reason, &self.detail, self.status)
    }

    /// The same without the words and what quotes them: a log policy keeps them out of every record.
    pub fn without_words(self) -> Self {
        Self { words: Words::new(std::iter::empty()), detail: String::new(), ..self }
    }
}

type Likeness<'a> = (&'a SocketName, Option<u32>, &'a Words, &'static str, &'a str, i32);

impl PartialEq for Rejected {
    fn eq(&self, other: &Self) -> bool {
        self.likeness() == other.likeness()
    }
}

impl Eq for Rejected {}

impl Hash for Rejected {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.likeness().hash(state);
    }
}

/// `reject`: one refusal, or several equal ones.
#[derive(Debug, Serialize)]
pub(super) struct Reject<'a> {
    kind: &'static str,
    call: CallId,
    ts: u64,
    #[serde(flatten)]
    rejected: &'a Rejected,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<CallId>,
}

impl<'a> Reject<'a> {
    pub(super) fn one(call: CallId, rejected: &'a Rejected) -> Self {
        Self { kind: "reject", call, ts: now_ms(), rejected, count: None, last: None }
    }

    pub(super) fn many(first: CallId, last: CallId, count: u64, rejected: &'a Rejected) -> Self {
        Self { count: Some(count), last: Some(last), ..Self::one(first, rejected) }
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
fn is_zero(value: &usize) -> bool {
    *value == 0
}
