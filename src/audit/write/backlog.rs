//! Ends of calls that could not be written when they came. They are kept, with their entries for the
//! journal, until the manifest takes lines again.

use std::collections::VecDeque;

use crate::ids::CallId;
use crate::limits::BACKLOG_ENDS_MAX;
use crate::sd::JournalEntry;

use super::live::LiveParts;

/// The ends that are still to be written, the oldest first.
#[derive(Debug, Default)]
pub(super) struct EndBacklog(VecDeque<UnwrittenEnd>);

/// An end that could not be written, without its `prev`.
#[derive(Debug)]
pub(super) struct UnwrittenEnd {
    pub(in crate::audit) call: CallId,
    pub(in crate::audit) goes_on: LiveParts,
    /// The record's JSON.
    pub(in crate::audit) body: String,
    pub(in crate::audit) entry: JournalEntry,
}

impl EndBacklog {
    /// Keeps an end. `false` when there are too many: the next broker will record that call as lost.
    pub(in crate::audit) fn push(&mut self, end: UnwrittenEnd) -> bool {
        let fits = self.0.len() < BACKLOG_ENDS_MAX;
        if fits {
            self.0.push_back(end);
        }
        fits
    }

    /// The end to write next.
    pub(in crate::audit) fn first(&self) -> Option<&UnwrittenEnd> {
        self.0.front()
    }

    /// Takes the first end out, after it was written.
    pub(super) fn shift(&mut self) -> Option<UnwrittenEnd> {
        self.0.pop_front()
    }
}
