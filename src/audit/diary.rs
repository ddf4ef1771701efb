//! The lines of a manifest in which a broker tells of itself: it begins to write, it read its rules again, it leaves.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::ids::CallId;

use super::chain::LineHash;

/// `open`: a broker begins to write here.
#[derive(Debug, Serialize)]
pub(super) struct OpenRecord<'a> {
    pub(super) kind: &'static str,
    pub(super) ts: u64,
    pub(super) version: &'static str,
    pub(super) broker: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) boot: Option<String>,
    pub(super) rules: &'a str,
    pub(super) policy: &'a str,
    pub(super) next: CallId,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) running: BTreeSet<CallId>,
    #[serde(skip_serializing_if = "is_none_of")]
    pub(super) torn: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) torn_sha256: Option<LineHash>,
    #[serde(skip_serializing_if = "is_none_of")]
    pub(super) foreign: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) foreign_sha256: Option<LineHash>,
    /// Bytes of the file before this line: it shows when a file was cut at its head.
    #[serde(skip_serializing_if = "is_none_of")]
    pub(super) at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<String>,
}

/// By whose word records are written.
#[derive(Clone, Copy, Debug)]
pub struct RecordAuthor<'a> {
    /// The rules file.
    pub rules: &'a str,
    /// The hash of the rules in force.
    pub policy: &'a str,
}

/// The host's boot, as the kernel calls it, without its dashes; `None` where it does not say.
pub(super) fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.chars().filter(char::is_ascii_hexdigit).collect())
}

/// `reload`: the rules were read again.
#[derive(Debug, Serialize)]
pub(super) struct ReloadRecord<'a> {
    pub(super) kind: &'static str,
    pub(super) ts: u64,
    pub(super) ok: bool,
    pub(super) policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'a str>,
}

/// `close`: the broker leaves.
#[derive(Debug, Serialize)]
pub(super) struct CloseRecord {
    pub(super) kind: &'static str,
    pub(super) ts: u64,
    pub(super) next: CallId,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none_of(count: &u64) -> bool {
    *count == 0
}
