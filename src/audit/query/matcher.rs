//! Picks the records of the calls that are asked for out of all lines from some place on.

use std::collections::HashSet;
use std::io;

use memchr::memmem;

use crate::ids::CallId;

use super::filter::LineFilter;
use crate::audit::read::RecordHead;
use crate::audit::record::kind::RecordKind;

/// The part of its call that a found line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundLine {
    /// The first and only record of the call.
    Whole,
    /// The start of the call.
    Begin,
    /// The end of the call.
    End,
    /// Another record of the call: `carried`, `capture` or `kept`.
    More,
}

/// A function that takes the lines that are asked for: the head of each, the part of its call, and its
/// bytes.
pub type LineConsumer<'a> = dyn FnMut(RecordHead, FoundLine, &[u8]) -> io::Result<()> + 'a;

/// Picks lines. Remembers the calls that have begun and not ended, and the ended calls of which captures or
/// processes go on.
#[derive(Debug)]
pub struct CallMatcher {
    filter: LineFilter,
    running: HashSet<CallId>,
    lasting: HashSet<CallId>,
}

impl CallMatcher {
    /// A matcher for lines in the order of the manifest.
    pub fn new(filter: LineFilter) -> Self {
        Self { filter, running: HashSet::new(), lasting: HashSet::new() }
    }

    /// The filter that decides which calls are picked.
    pub fn filter(&self) -> &LineFilter {
        &self.filter
    }

    /// The head of a line and its part of its call, where the line is asked for.
    pub fn take(&mut self, line: &[u8]) -> Option<(RecordHead, FoundLine)> {
        let head = RecordHead::of(line)?;
        if head.begins {
            let found = if head.kind == RecordKind::Start { FoundLine::Begin } else { FoundLine::Whole };
            let takes = self.filter.takes(&head, line);
            if takes && found == FoundLine::Begin {
                self.running.insert(head.call);
            }
            return takes.then_some((head, found));
        }
        self.take_end(&head, line).map(|found| (head, found))
    }

    /// The part of its call that a line tells of when it is not the call's first. When a single call is
    /// asked for by its number, these lines are picked even where its start is gone.
    fn take_end(&mut self, head: &RecordHead, line: &[u8]) -> Option<FoundLine> {
        let is_asked = self.filter.call() == Some(head.call);
        if matches!(head.kind, RecordKind::Capture | RecordKind::Kept | RecordKind::Carried) {
            let is_known = self.running.contains(&head.call) || self.lasting.contains(&head.call);
            return (is_known || is_asked).then_some(FoundLine::More);
        }
        let ends = self.running.remove(&head.call) || is_asked;
        let goes_on = |field: &[u8]| memmem::find(line, field).is_some();
        if ends && (goes_on(b",\"capturing\":true") || goes_on(b",\"keeping\":true")) {
            self.lasting.insert(head.call);
        }
        ends.then_some(FoundLine::End)
    }
}
