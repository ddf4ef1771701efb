//! Collects what the records of a manifest say about its calls, one record after the other.

use std::collections::BTreeMap;

use crate::audit::chain::{Digest, LineHash};
use crate::audit::read::{RecordFacts, TornLine};
use crate::audit::record::kind::RecordKind;
use crate::audit::write::leftovers::UnendedCall;
use crate::ids::CallId;
use crate::limits::CALL_NUMBER_MAX;

/// The contents of a manifest, as far as a broker that goes on after it needs them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::audit) struct ManifestScan {
    /// The number of the next request.
    pub(in crate::audit) next: CallId,
    /// The last record, unless there is none.
    pub(in crate::audit) last: Option<ScanTail>,
    /// The part of a line that a crash or a full disk left at the end.
    pub(in crate::audit) torn: Option<TornLine>,
    /// The last line lacks its newline.
    pub(in crate::audit) is_open_ended: bool,
    /// The lines after the last record that are no records, without the torn one.
    pub(in crate::audit) foreign: Option<ForeignTail>,
    /// Calls that a broker began here and did not end.
    pub(in crate::audit) unfinished: BTreeMap<CallId, UnendedCall>,
    /// Calls that ended, and whose captures went on.
    pub(in crate::audit) capturing: BTreeMap<CallId, UnendedCall>,
    /// Calls that ended, and left processes that still run.
    pub(in crate::audit) keeping: BTreeMap<CallId, UnendedCall>,
    /// The host's boot in which the last broker began.
    pub(in crate::audit) boot: Option<String>,
    /// Calls without an end before a gap in the chain for which no mark vouches: an end after the gap is not
    /// believed.
    severed: BTreeMap<CallId, UnendedCall>,
}

/// The end of a manifest's records.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::audit) struct ScanTail {
    /// The hash of the last record: the `prev` of the next one.
    pub(in crate::audit) hash: LineHash,
    /// The `prev` of the last record.
    before: LineHash,
}

/// Lines after the last record that no broker wrote.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::audit) struct ForeignTail {
    /// The number of these lines.
    pub(in crate::audit) lines: u64,
    /// The hash of all of them, each with a newline.
    pub(in crate::audit) hash: LineHash,
}

impl ScanTail {
    /// Whether the mark of a manifest that nobody touched can name the line `noted`: it is the last line, or
    /// the line before it, where a broker was killed before it noted the last one.
    pub(in crate::audit) fn follows(&self, noted: &LineHash) -> bool {
        self.hash == *noted || self.before == *noted
    }
}

impl From<(Digest, Digest)> for ScanTail {
    fn from((hash, before): (Digest, Digest)) -> Self {
        Self { hash: hash.to_hash(), before: before.to_hash() }
    }
}

impl ManifestScan {
    /// Takes only the number from a line that may be a record: where no mark names the next number, none may
    /// be used twice.
    pub(super) fn pass_by(&mut self, bytes: &[u8]) {
        let after = RecordFacts::of(bytes).after();
        if after.get() <= CALL_NUMBER_MAX {
            self.next = self.next.max(after);
        }
    }

    /// Notes a gap: the next lines do not follow the lines so far, and no mark vouches for them.
    pub(super) fn sever(&mut self) {
        self.severed = std::mem::take(&mut self.unfinished);
    }

    /// Puts the calls from before the gap back at the end of the file: they have no end.
    pub(super) fn unite(&mut self) {
        self.unfinished.append(&mut self.severed);
    }

    pub(super) fn take(&mut self, bytes: &[u8], is_left: fn(&UnendedCall) -> bool) {
        let line = RecordFacts::of(bytes);
        self.next = self.next.max(line.after());
        match (line.kind, line.call) {
            (Some(RecordKind::Start), Some(call)) => {
                self.unfinished.insert(call, UnendedCall { line: bytes.to_owned(), is_of_other_boot: false });
            }
            (Some(RecordKind::Carried), Some(call)) => {
                let begun = UnendedCall { line: bytes.to_owned(), is_of_other_boot: false };
                if line.capturing || line.keeping {
                    self.end(call, &line, begun, is_left);
                } else {
                    self.unfinished.insert(call, begun);
                }
            }
            (Some(RecordKind::Exit | RecordKind::Lost), Some(call)) => {
                if let Some(begun) = self.unfinished.remove(&call) {
                    self.end(call, &line, begun, is_left);
                }
            }
            (Some(RecordKind::Capture), Some(call)) => drop(self.capturing.remove(&call)),
            (Some(RecordKind::Kept), Some(call)) => drop(self.keeping.remove(&call)),
            (Some(RecordKind::Open), _) => {
                self.compare_boot(line.boot.as_deref());
                for call in line.running {
                    self.unfinished.entry(call).or_default();
                }
                self.boot = line.boot.map(|boot| boot.to_string());
            }
            // Calls of which something went on when a broker left this file end in another file.
            (Some(RecordKind::Close), _) => {
                self.unfinished.clear();
                self.capturing.clear();
                self.keeping.clear();
            }
            _ => {}
        }
    }

    /// Remembers an ended call whose processes or captures went on.
    fn end(
        &mut self,
        call: CallId,
        line: &RecordFacts<'_>,
        begun: UnendedCall,
        is_left: fn(&UnendedCall) -> bool,
    ) {
        if line.keeping && is_left(&begun) {
            self.keeping.insert(call, begun.clone());
        }
        if line.capturing {
            self.capturing.insert(call, begun);
        }
    }
}

impl ManifestScan {
    /// Marks the calls so far if the host was booted since they began; `now` is the present boot.
    pub(in crate::audit) fn compare_boot(&mut self, now: Option<&str>) {
        if self.boot.is_some() && self.boot.as_deref() != now {
            let begun = self.unfinished.values_mut().chain(self.capturing.values_mut());
            begun.for_each(|begun| begun.is_of_other_boot = true);
            self.keeping.clear();
        }
    }
}
