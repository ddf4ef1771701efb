//! The records of calls that are asked for, among all lines from some place on.

use std::collections::HashSet;
use std::io;

use memchr::memmem;

use crate::ids::CallId;

use super::super::read::{Head, Kind};
use super::filter::Filter;

/// A line of a call that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its first, and its only one.
    Whole,
    /// Its start.
    Begin,
    /// Its end.
    End,
    /// What is beside these: that it runs on in another file, or what became of what went on after its end.
    More,
}

/// Who is handed the lines that are asked for: the head of each, what it is of its call, and all of it.
pub type Take<'a> = dyn FnMut(Head, Found, &[u8]) -> io::Result<()> + 'a;

/// Picks lines. Remembers which calls have begun and not ended, and of which something goes on.
#[derive(Debug)]
pub struct Matcher {
    filter: Filter,
    running: HashSet<CallId>,
    lasting: HashSet<CallId>,
}

impl Matcher {
    /// For lines in the order of the manifest.
    pub fn new(filter: Filter) -> Self {
        Self { filter, running: HashSet::new(), lasting: HashSet::new() }
    }

    /// What was asked for.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// What a line is to what is asked for, if it is anything.
    pub fn take(&mut self, line: &[u8]) -> Option<(Head, Found)> {
        let head = Head::of(line)?;
        if head.begins {
            let found = if head.kind == Kind::Start { Found::Begin } else { Found::Whole };
            let takes = self.filter.takes(&head, line);
            if takes && found == Found::Begin {
                self.running.insert(head.call);
            }
            return takes.then_some((head, found));
        }
        self.take_end(&head, line).map(|found| (head, found))
    }

    /// What a line is that ends a call, or tells more of it. Who asks for one call is told of these even where its start
    /// is gone.
    fn take_end(&mut self, head: &Head, line: &[u8]) -> Option<Found> {
        let is_asked = self.filter.call() == Some(head.call);
        if matches!(head.kind, Kind::Capture | Kind::Kept | Kind::Carried) {
            let is_known = self.running.contains(&head.call) || self.lasting.contains(&head.call);
            return (is_known || is_asked).then_some(Found::More);
        }
        let ends = self.running.remove(&head.call) || is_asked;
        let goes_on = |field: &[u8]| memmem::find(line, field).is_some();
        if ends && (goes_on(b",\"capturing\":true") || goes_on(b",\"keeping\":true")) {
            self.lasting.insert(head.call);
        }
        ends.then_some(Found::End)
    }
}
