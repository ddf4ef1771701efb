//! The record of refusals that were too many to have records of their own.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::audit::write::dedup::CountedRefusals;
use crate::ids::{CallId, SocketName};

use super::call::now_ms;
use super::kind::RecordKind;

/// `reject`: refusals of one socket that were too many to have records of their own, counted by their
/// reasons.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct RejectManyRecord<'a> {
    kind: RecordKind,
    pub(in crate::audit) call: CallId,
    ts: u64,
    pub(in crate::audit) socket: &'a SocketName,
    pub(in crate::audit) reason: &'static str,
    pub(in crate::audit) detail: String,
    pub(in crate::audit) reasons: &'a BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "<[i32]>::is_empty")]
    pids: &'a [i32],
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    uids: &'a [u32],
    pub(in crate::audit) count: u64,
    pub(in crate::audit) last: CallId,
}

impl<'a> RejectManyRecord<'a> {
    pub(in crate::audit) fn new(socket: &'a SocketName, many: &'a CountedRefusals) -> Self {
        let reasons: Vec<_> =
            many.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        Self {
            kind: RecordKind::Reject,
            call: many.first,
            ts: now_ms(),
            socket,
            reason: "many",
            detail: format!("more than have records of their own: {}", reasons.join(", ")),
            reasons: &many.reasons,
            pids: &many.pids,
            uids: &many.uids,
            count: many.count,
            last: many.last,
        }
    }
}
