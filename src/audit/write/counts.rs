//! Writes refusals and listings to the manifest, or counts them until the count is written.

use std::io;
use std::time::Instant;

use crate::audit::record::argv::Caller;
use crate::audit::record::ascii::to_ascii;
use crate::audit::record::listing::ListRecord;
use crate::audit::record::reject::{RefusedRequest, RejectRecord};
use crate::audit::record::reject_many::RejectManyRecord;
use crate::ids::{CallId, SocketName};

use super::dedup::{DedupVerdict, DueRecord};
use super::file::ManifestFile;

impl ManifestFile {
    /// Puts a refusal on record, or counts it.
    pub(super) fn refuse(&mut self, call: CallId, rejected: &RefusedRequest, now: Instant) -> io::Result<()> {
        let written = match self.fold.hear(call, rejected, now, &cost) {
            DedupVerdict::First => self.write(&RejectRecord::one(call, rejected)),
            DedupVerdict::Again => self.note(),
        };
        written.and_then(|()| self.settle(now))
    }

    /// Puts a listing on record, or counts it.
    pub(in crate::audit) fn list(
        &mut self,
        socket: &SocketName,
        caller: Option<Caller>,
        now: Instant,
    ) -> io::Result<()> {
        let written = self.lists.hear(socket, caller, now).map_or(Ok(()), |list| self.write(&list));
        written.and_then(|()| self.settle(now))
    }

    /// When the next count is to be written.
    pub(in crate::audit) fn next_due(&self) -> Option<Instant> {
        self.fold.next_due().into_iter().chain(self.lists.next_due()).min()
    }

    /// Writes the counts whose time has come.
    pub(in crate::audit) fn settle(&mut self, now: Instant) -> io::Result<()> {
        let due = self.fold.take_due(now, &cost);
        let lists = self.lists.take_due(Some(now));
        self.write_counts(&due, &lists)
    }

    /// Writes all counts: the manifest is about to close.
    pub(super) fn settle_all(&mut self) -> io::Result<()> {
        let (counts, lists) = (self.fold.take_all(), self.lists.take_due(None));
        self.write_counts(&counts, &lists)
    }

    /// Writes each count, even where another one fails: a count that fails is in the journal at least.
    fn write_counts(&mut self, counts: &[DueRecord], lists: &[ListRecord]) -> io::Result<()> {
        let counts = counts.iter().map(|due| match due {
            DueRecord::Equal(rejected, of) => {
                self.write(&RejectRecord::many(of.first, of.last, of.count, rejected))
            }
            DueRecord::Many(socket, many) => self.write(&RejectManyRecord::new(socket, many)),
        });
        let counted = counts.fold(Ok(()), io::Result::and);
        lists.iter().map(|list| self.write(list)).fold(counted, io::Result::and)
    }
}

/// The bytes that the record of a refusal takes.
pub(super) fn cost(rejected: &RefusedRequest) -> u64 {
    to_ascii(&RejectRecord::one(CallId::FIRST, rejected)).len() as u64
}
