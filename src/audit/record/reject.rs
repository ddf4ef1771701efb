//! The record of one refusal, or of several equal ones.

use std::hash::{Hash, Hasher};

use serde::Serialize;

use crate::ids::{CallId, SocketName};
use crate::limits::{RECORD_DETAIL_BYTES_MAX, SUMMARY_CHARS_MAX};
use crate::refusal::Refusal;
use crate::text::command_line;

use super::argv::{Caller, RecordedArgv};
use super::call::now_ms;
use super::kind::RecordKind;

/// A refusal without its number and time. Two refusals are equal when all fields but the process are: a
/// flood may come from a new process each time.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedRequest {
    pub(in crate::audit) socket: SocketName,
    #[serde(flatten)]
    pub(in crate::audit) caller: Option<Caller>,
    #[serde(flatten)]
    pub(super) words: RecordedArgv,
    pub(in crate::audit) reason: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::audit) detail: String,
    pub(in crate::audit) status: i32,
}

impl RefusedRequest {
    /// A refusal on `socket`; `argv` is empty when it is not known.
    pub fn new(socket: &SocketName, caller: Option<Caller>, argv: &[&str], refusal: &Refusal) -> Self {
        let mut detail = refusal.to_string();
        detail.truncate(detail.floor_char_boundary(RECORD_DETAIL_BYTES_MAX));
        Self {
            socket: socket.clone(),
            caller,
            words: RecordedArgv::new(argv.iter().copied()),
            reason: refusal.reason(),
            detail,
            status: refusal.status().get(),
        }
    }

    /// The reason, the socket and the beginning of the command line, for people.
    pub fn summary(&self) -> String {
        let mut summary = format!("{} on {}", self.reason, self.socket);
        if !self.words.argv().is_empty() {
            let shown: String = command_line(self.words.argv()).chars().take(SUMMARY_CHARS_MAX).collect();
            summary.push_str(&format!(": {shown}"));
        }
        summary
    }

    fn likeness(&self) -> RefusalKey<'_> {
        let uid = self.caller.as_ref().map(Caller::uid);
        (&self.socket, uid, &self.words, self.reason, &self.detail, self.status)
    }

    /// The refusal without its words, and without the detail that quotes them, for a log policy that keeps
    /// words out of every record.
    pub fn without_words(self) -> Self {
        Self { words: RecordedArgv::new(std::iter::empty()), detail: String::new(), ..self }
    }
}

type RefusalKey<'a> = (&'a SocketName, Option<u32>, &'a RecordedArgv, &'static str, &'a str, i32);

impl PartialEq for RefusedRequest {
    fn eq(&self, other: &Self) -> bool {
        self.likeness() == other.likeness()
    }
}

impl Eq for RefusedRequest {}

impl Hash for RefusedRequest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.likeness().hash(state);
    }
}

/// `reject`: one refusal, or several equal ones.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct RejectRecord<'a> {
    kind: RecordKind,
    pub(in crate::audit) call: CallId,
    ts: u64,
    #[serde(flatten)]
    pub(in crate::audit) rejected: &'a RefusedRequest,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) last: Option<CallId>,
}

impl<'a> RejectRecord<'a> {
    pub(in crate::audit) fn one(call: CallId, rejected: &'a RefusedRequest) -> Self {
        Self { kind: RecordKind::Reject, call, ts: now_ms(), rejected, count: None, last: None }
    }

    pub(in crate::audit) fn many(
        first: CallId,
        last: CallId,
        count: u64,
        rejected: &'a RefusedRequest,
    ) -> Self {
        Self { count: Some(count), last: Some(last), ..Self::one(first, rejected) }
    }
}

/// A refusal, or several equal ones, that no manifest can hold.
#[derive(Debug)]
pub(in crate::audit) struct UnfiledReject<'a> {
    pub(in crate::audit) rejected: &'a RefusedRequest,
    pub(in crate::audit) count: u64,
}
