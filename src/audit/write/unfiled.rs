//! The refusals of a broker that has no manifest, because its rules cannot be read: they are recorded in the
//! journal alone, without a call's number. Many are counted as ever.

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
    /// For the counting of equal ones; in no record.
    next: CallId,
}

impl UnfiledRefusals {
    /// None yet. `hear` is told when the journal takes no entries. Errors: there is no socket to write to it.
    pub fn new(hear: NewsListener) -> io::Result<Self> {
        Ok(Self {
            sink: JournalSink::new(JournalMode::Require, hear)?,
            fold: RefusalDedup::default(),
            next: CallId::FIRST,
        })
    }

    /// Records one, or counts it where equal ones came just before.
    /// Errors: the journal does not take it.
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
            // The sink says what the journal does not take.
            self.sink.enter(entry).ok();
        }
    }

    /// When there is a count to record.
    pub fn next_due(&self) -> Option<Instant> {
        self.fold.next_due()
    }
}
