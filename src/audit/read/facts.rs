//! The fields that are read of many lines: numbers, calls and the rule, borrowed from the line.

use std::borrow::Cow;
use std::ops::Deref;

use serde::{Deserialize, Deserializer};

use crate::audit::record::kind::RecordKind;
use crate::ids::CallId;

/// The fields of a line that a broker's start and a query look at. All are empty where the line is no JSON,
/// or has another type for one of them.
#[derive(Debug, Default, Deserialize)]
pub(in crate::audit) struct RecordFacts<'l> {
    /// The kind, where this version knows it.
    #[serde(default, deserialize_with = "known_kind")]
    pub(in crate::audit) kind: Option<RecordKind>,
    pub(in crate::audit) call: Option<CallId>,
    pub(in crate::audit) last: Option<CallId>,
    next: Option<CallId>,
    #[serde(default)]
    pub(in crate::audit) running: Vec<CallId>,
    #[serde(default)]
    pub(in crate::audit) capturing: bool,
    #[serde(default)]
    pub(in crate::audit) keeping: bool,
    #[serde(borrow)]
    pub(in crate::audit) boot: Option<LineText<'l>>,
    pub(in crate::audit) rule: Option<u64>,
    pub(in crate::audit) file: Option<LineText<'l>>,
    #[serde(default)]
    pub(in crate::audit) argv: Vec<LineText<'l>>,
    pub(in crate::audit) cgroup: Option<LineText<'l>>,
    pub(in crate::audit) cgroup_id: Option<u64>,
    pub(in crate::audit) stdin: Option<LineText<'l>>,
    pub(in crate::audit) stdout: Option<LineText<'l>>,
    pub(in crate::audit) stderr: Option<LineText<'l>>,
}

impl<'l> RecordFacts<'l> {
    pub(in crate::audit) fn of(line: &'l [u8]) -> Self {
        serde_json::from_slice(line).unwrap_or_default()
    }

    /// The first number that the line leaves free.
    pub(in crate::audit) fn after(&self) -> CallId {
        let used = self.call.max(self.last).map_or(CallId::FIRST, CallId::next);
        used.max(self.next.unwrap_or(CallId::new(0)))
    }
}

fn known_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RecordKind>, D::Error> {
    LineText::deserialize(deserializer).map(|name| RecordKind::of(name.as_bytes()))
}

/// A text of a line: borrowed, unless it is written with escapes.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(in crate::audit) struct LineText<'l>(#[serde(borrow)] Cow<'l, str>);

impl Deref for LineText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for LineText<'_> {
    fn as_ref(&self) -> &str {
        self
    }
}
