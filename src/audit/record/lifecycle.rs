//! The records of a broker on itself: it begins to write, it read its rules again, it leaves.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::ids::CallId;

use crate::audit::chain::LineHash;

use super::kind::RecordKind;

/// `open`: a broker begins to write here.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct OpenRecord<'a> {
    pub(in crate::audit) kind: RecordKind,
    pub(in crate::audit) ts: u64,
    pub(in crate::audit) version: &'static str,
    pub(in crate::audit) broker: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) boot: Option<String>,
    pub(in crate::audit) rules: &'a str,
    pub(in crate::audit) policy: &'a str,
    pub(in crate::audit) next: CallId,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(in crate::audit) running: BTreeSet<CallId>,
    #[serde(skip_serializing_if = "is_none_of")]
    pub(in crate::audit) torn: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) torn_sha256: Option<LineHash>,
    #[serde(skip_serializing_if = "is_none_of")]
    pub(in crate::audit) foreign: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) foreign_sha256: Option<LineHash>,
    /// Bytes of the file before this line, by which a reader sees that lines before it were cut off.
    #[serde(skip_serializing_if = "is_none_of")]
    pub(in crate::audit) at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) missing: Option<String>,
}

/// The rules of the broker that writes records, as records name them.
#[derive(Clone, Copy, Debug)]
pub struct RecordAuthor<'a> {
    /// The rules file.
    pub rules: &'a str,
    /// The hash of the rules in force.
    pub policy: &'a str,
}

/// The kernel's id of the host's boot, without its dashes; `None` where the kernel does not give it.
pub(in crate::audit) fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.chars().filter(char::is_ascii_hexdigit).collect())
}

/// `reload`: the rules were read again.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct ReloadRecord<'a> {
    pub(in crate::audit) kind: RecordKind,
    pub(in crate::audit) ts: u64,
    pub(in crate::audit) ok: bool,
    pub(in crate::audit) policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) error: Option<&'a str>,
}

/// `close`: the broker leaves.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct CloseRecord {
    pub(in crate::audit) kind: RecordKind,
    pub(in crate::audit) ts: u64,
    pub(in crate::audit) next: CallId,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none_of(count: &u64) -> bool {
    *count == 0
}
