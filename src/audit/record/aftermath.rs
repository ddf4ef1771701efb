//! The records of calls after their end, or in place of it: captures are closed, a call goes on while a new
//! file is begun, a killed broker left something of a call. REFERENCE.md has each field's meaning.

use serde::Serialize;

use crate::audit::record::trace::CallTrace;
use crate::audit::write::live::LiveParts;
use crate::ids::CallId;

use super::call::{CaptureTally, CapturedBytes, is_false, is_zero, now_ms};
use super::kind::RecordKind;

/// `lost`, `kept` or `capture`: a call's broker ended before the call did, processes of an ended call
/// outlived their broker, or the captures of an ended call, which its processes had gone on writing, are
/// closed.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct AftermathRecord {
    pub(in crate::audit) kind: RecordKind,
    pub(in crate::audit) call: CallId,
    ts: u64,
    #[serde(flatten)]
    pub(in crate::audit) leftovers: Leftovers,
}

/// The captures and processes that a call left after its end or its broker's, in numbers.
#[derive(Debug, Default, Serialize)]
pub(in crate::audit) struct Leftovers {
    /// Why its broker did not see the call to its end; `None` where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) reason: Option<LossReason>,
    #[serde(flatten)]
    pub(in crate::audit) captured: CaptureTally,
    /// Processes that still ran, and were ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::audit) ended: usize,
    /// Processes that could not be ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::audit) left: usize,
}

/// Why a broker did not see a call to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::audit) enum LossReason {
    /// The broker was killed.
    Killed,
    /// The host was booted since.
    Host,
    /// A thread of the broker panicked.
    Failed,
}

impl LossReason {
    /// The word in records.
    pub(in crate::audit) fn word(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Host => "host",
            Self::Failed => "failed",
        }
    }

    /// The reason as the end of a sentence.
    pub(in crate::audit) fn sentence(self) -> &'static str {
        match self {
            Self::Killed => "its broker was killed",
            Self::Host => "the host went down",
            Self::Failed => "a part of the broker failed",
        }
    }
}

impl AftermathRecord {
    /// A record of one of the three kinds.
    pub(in crate::audit) fn new(kind: RecordKind, call: CallId, leftovers: Leftovers) -> Self {
        Self { kind, call, ts: now_ms(), leftovers }
    }

    /// `capture` of a call that this broker saw to its end.
    pub(in crate::audit) fn captures_closed(call: CallId, captured: &CapturedBytes) -> Self {
        let leftovers = Leftovers { captured: CaptureTally::new(captured), ..Leftovers::default() };
        Self::new(RecordKind::Capture, call, leftovers)
    }

    /// `lost` of a call whose thread in this broker panicked.
    pub(in crate::audit) fn failed(call: CallId) -> Self {
        let leftovers = Leftovers { reason: Some(LossReason::Failed), ..Leftovers::default() };
        Self::new(RecordKind::Lost, call, leftovers)
    }
}

/// `carried`: a call whose start stands in an earlier file, and of which the command, processes or captures
/// go on.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct CarriedRecord {
    pub(in crate::audit) kind: RecordKind,
    pub(in crate::audit) call: CallId,
    ts: u64,
    #[serde(skip_serializing_if = "is_false")]
    capturing: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(in crate::audit) keeping: bool,
    #[serde(flatten)]
    trace: CallTrace,
}

impl CarriedRecord {
    pub(in crate::audit) fn new(call: CallId, goes_on: LiveParts, trace: CallTrace) -> Self {
        let LiveParts { capturing, keeping } = goes_on;
        Self { kind: RecordKind::Carried, call, ts: now_ms(), capturing, keeping, trace }
    }

    /// Whether the command of the call still runs.
    pub(in crate::audit) fn runs(&self) -> bool {
        !self.capturing && !self.keeping
    }
}
