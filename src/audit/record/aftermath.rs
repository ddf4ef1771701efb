//! The lines that tell of calls after their end, or for want of one: their captures are closed, they run on while a new
//! file is begun, a broker that was killed left something of them. REFERENCE.md has each field's meaning.

use serde::Serialize;

use crate::audit::write::leftovers::{CallTrace, LeftoverOutcome};
use crate::audit::write::live::LiveParts;
use crate::ids::CallId;
use crate::limits::REQUEST_FDS;

use super::call::{CaptureTally, CapturedBytes, is_false, is_zero, now_ms};
use super::kind::RecordKind;

/// `capture`: the captures of an ended call, which what it left had gone on writing, are closed.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct CaptureRecord {
    pub(in crate::audit) kind: RecordKind,
    pub(in crate::audit) call: CallId,
    ts: u64,
    #[serde(flatten)]
    pub(in crate::audit) captured: CaptureTally,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "is_zero")]
    ended: usize,
    #[serde(skip_serializing_if = "is_zero")]
    left: usize,
}

impl CaptureRecord {
    pub(in crate::audit) fn new(call: CallId, captured: &CapturedBytes) -> Self {
        let captured = CaptureTally::new(captured);
        Self { kind: RecordKind::Capture, call, ts: now_ms(), captured, reason: None, ended: 0, left: 0 }
    }

    /// Captures that ended with their broker.
    pub(in crate::audit) fn lost(remains: LeftoverOutcome) -> Self {
        let LeftoverOutcome { call, reason, ended, left, bytes } = remains;
        let captured = CapturedBytes { bytes, ..CapturedBytes::default() };
        Self { reason: Some(reason), ended, left, ..Self::new(call, &captured) }
    }
}

/// `kept`: what an ended call had left running outlived its broker, and is ended.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct KeptRecord {
    pub(in crate::audit) kind: RecordKind,
    pub(in crate::audit) call: CallId,
    ts: u64,
    pub(in crate::audit) reason: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::audit) ended: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::audit) left: usize,
}

impl KeptRecord {
    pub(in crate::audit) fn new(remains: LeftoverOutcome) -> Self {
        let LeftoverOutcome { call, reason, ended, left, .. } = remains;
        Self { kind: RecordKind::Kept, call, ts: now_ms(), reason, ended, left }
    }
}

/// `carried`: a call whose start stands in an earlier file, and of which something runs or is captured on.
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

    /// Whether its command has not ended.
    pub(in crate::audit) fn runs(&self) -> bool {
        !self.capturing && !self.keeping
    }
}

/// `lost`: a call whose end nobody saw.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct LostRecord {
    kind: RecordKind,
    pub(in crate::audit) call: CallId,
    ts: u64,
    pub(in crate::audit) reason: &'static str,
    #[serde(flatten)]
    captured: CaptureTally,
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::audit) ended: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::audit) left: usize,
}

impl LostRecord {
    /// What an earlier broker left of a call.
    pub(in crate::audit) fn new(remains: LeftoverOutcome) -> Self {
        let LeftoverOutcome { call, reason, ended, left, bytes } = remains;
        let captured = CaptureTally::new(&CapturedBytes { bytes, ..CapturedBytes::default() });
        Self { kind: RecordKind::Lost, call, ts: now_ms(), reason, captured, ended, left }
    }

    /// A call that this broker lost sight of.
    pub(in crate::audit) fn failed(call: CallId) -> Self {
        Self::new(LeftoverOutcome { call, reason: "failed", ended: 0, left: 0, bytes: [None; REQUEST_FDS] })
    }

    /// The reason as the end of a sentence.
    pub(in crate::audit) fn why(&self) -> &'static str {
        match self.reason {
            "killed" => "its broker was killed",
            "host" => "the host went down",
            _ => "a part of the broker failed",
        }
    }
}
