//! The refusals of a broker that has no manifest, because its rules cannot be read: they are recorded in the
//! journal alone, without a call's number. Where there are many they are counted, as in a manifest.

use std::io;
use std::time::Instant;

use crate::audit::record::reject::{RefusedRequest, UnfiledReject};
use crate::audit::record::reject_many::RejectManyRecord;
use crate::ids::CallId;
use crate::rules::JournalMode;

use super::counts::cost;
use super::dedup::{DedupVerdict, DueRecord, RefusalDedup};
use super::journal_sink::{JournalSink, NewsListener};

/// Refusals that no manifest can hold.
#[derive(Debug)]
pub struct UnfiledRefusals {
    sink: JournalSink,
    fold: RefusalDedup,
    /// The number for the next refusal, by which equal refusals are counted; in no record.
    next: CallId,
}

impl UnfiledRefusals {
    /// No refusals yet. `hear` is called when the journal takes no entries. Errors: no socket for the
    /// journal can be had.
    pub fn new(hear: NewsListener) -> io::Result<Self> {
        Ok(Self {
            sink: JournalSink::new(JournalMode::Require, hear)?,
            fold: RefusalDedup::default(),
            next: CallId::FIRST,
        })
    }

    /// Records a refusal, or counts it where equal refusals came just before.
    /// Errors: the journal does not take the record.
    pub fn reject(&mut self, rejected: &RefusedRequest) -> io::Result<()> {
        let call = self.next;
        self.next = call.next();
        match self.fold.hear(call, rejected, Instant::now(), &cost) {
            DedupVerdict::First => self.sink.enter(|| UnfiledReject { rejected, count: 1 }.entry()),
            DedupVerdict::Again => Ok(()),
        }
    }

    /// Records the counts whose time has come.
    pub fn settle(&mut self) {
        for due in self.fold.take_due(Instant::now(), &cost) {
            let entry = || match &due {
                DueRecord::Equal(rejected, repeats) => {
                    UnfiledReject { rejected, count: repeats.count }.entry()
                }
                DueRecord::Many(socket, many) => RejectManyRecord::new(socket, many).unfiled_entry(),
            };
            // The sink reports a journal that takes nothing.
            self.sink.enter(entry).ok();
        }
    }

    /// When the next count is to be recorded.
    pub fn next_due(&self) -> Option<Instant> {
        self.fold.next_due()
    }
}
