//! The record of refusals that were too many to have records of their own.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::{CallId, SocketName};

use super::fold::CountedRefusals;
use super::record::now_ms;

/// `reject`: refusals of one socket that were too many to have records of their own, counted by their reasons.
#[derive(Debug, Serialize)]
pub(super) struct RejectManyRecord<'a> {
    kind: &'static str,
    pub(super) call: CallId,
    ts: u64,
    pub(super) socket: &'a SocketName,
    pub(super) reason: &'static str,
    pub(super) detail: String,
    pub(super) reasons: &'a BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "<[i32]>::is_empty")]
    pids: &'a [i32],
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    uids: &'a [u32],
    pub(super) count: u64,
    pub(super) last: CallId,
}

impl<'a> RejectManyRecord<'a> {
    pub(super) fn new(socket: &'a SocketName, many: &'a CountedRefusals) -> Self {
        let reasons: Vec<_> =
            many.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        Self {
            kind: "reject",
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
