//! Checks call numbers: each is taken once, and each call ends once. Runs of numbers are kept as their two
//! ends, so that memory grows with the number of gaps and not with the number of calls.

use std::collections::BTreeMap;

use crate::ids::CallId;

use super::finding::ChainFinding;
use crate::audit::read::ParsedRecord;
use crate::audit::record::kind::RecordKind;

/// The numbers of a manifest, whatever the order of its files.
#[derive(Debug, Default)]
pub(super) struct CallNumbers {
    begun: NumberRuns,
    ended: NumberRuns,
    started: NumberRuns,
}

impl CallNumbers {
    /// Takes in a record.
    pub(super) fn add(&mut self, record: &ParsedRecord) -> Result<(), ChainFinding> {
        let Some(call) = record.call else { return Ok(()) };
        match record.kind {
            RecordKind::Start => {
                self.started.insert(call);
                self.begin(call)
            }
            RecordKind::Reject => {
                self.begin(call)?;
                record.last.filter(|last| *last != call).map_or(Ok(()), |last| self.begin(last))
            }
            RecordKind::Exit if record.begins_call() => {
                self.begin(call)?;
                self.end(call)
            }
            RecordKind::Exit | RecordKind::Lost => self.end(call),
            RecordKind::Open
            | RecordKind::Capture
            | RecordKind::Kept
            | RecordKind::Carried
            | RecordKind::List
            | RecordKind::Reload
            | RecordKind::Close => Ok(()),
        }
    }

    /// Calls with a start and without an end.
    pub(super) fn open_calls(&self) -> Vec<CallId> {
        self.started.without(&self.ended)
    }

    /// Calls with an end and without any record of their beginning.
    pub(super) fn bare_ends(&self) -> Vec<CallId> {
        self.ended.without(&self.begun)
    }

    /// How many numbers are on record.
    pub(super) fn count(&self) -> u64 {
        self.begun.count()
    }

    fn begin(&mut self, call: CallId) -> Result<(), ChainFinding> {
        if self.begun.insert(call) { Ok(()) } else { Err(ChainFinding::NumberTwice(call)) }
    }

    fn end(&mut self, call: CallId) -> Result<(), ChainFinding> {
        if self.ended.insert(call) { Ok(()) } else { Err(ChainFinding::EndTwice(call)) }
    }
}

/// A set of numbers, as runs: the first number of each run, and its last.
#[derive(Debug, Default)]
struct NumberRuns(BTreeMap<u64, u64>);

impl NumberRuns {
    /// Inserts a number; `false` when it was there already.
    fn insert(&mut self, call: CallId) -> bool {
        let number = call.get();
        let before = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let joins = |(_, last): &(u64, u64)| last.checked_add(1) == Some(number);
        let first = before.filter(joins).map_or(number, |(first, _)| first);
        let last = number.checked_add(1).and_then(|next| self.0.remove(&next)).unwrap_or(number);
        self.0.insert(first, last);
        true
    }

    fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The numbers that `other` does not have.
    fn without(&self, other: &Self) -> Vec<CallId> {
        let mut left = Vec::new();
        for (&first, &last) in &self.0 {
            let mut at = first;
            while at <= last {
                match other.run_of(at) {
                    Some(end) => at = end,
                    None => left.push(CallId::new(at)),
                }
                let Some(next) = at.checked_add(1) else { break };
                at = next;
            }
        }
        left
    }

    /// The last number of the run that this number is in.
    fn run_of(&self, number: u64) -> Option<u64> {
        let run = self.0.range(..=number).next_back().map(|(_, last)| *last);
        run.filter(|_| self.contains(number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_a_set(numbers in prop::collection::vec(0u64..40, 0..80), other in prop::collection::vec(0u64..40, 0..40)) {
            let (mut runs, mut others) = (NumberRuns::default(), NumberRuns::default());
            let mut set = std::collections::BTreeSet::new();
            for number in numbers {
                prop_assert_eq!(runs.insert(CallId::new(number)), set.insert(number));
            }
            let taken: std::collections::BTreeSet<_> = other.into_iter().collect();
            taken.iter().for_each(|number| { others.insert(CallId::new(*number)); });
            prop_assert_eq!(runs.count(), set.len() as u64);
            let left: Vec<_> = runs.without(&others).into_iter().map(CallId::get).collect();
            prop_assert_eq!(left, set.difference(&taken).copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_highest_number_is_a_number() {
        let mut runs = NumberRuns::default();
        assert!(runs.insert(CallId::new(u64::MAX)) && runs.insert(CallId::new(u64::MAX - 1)));
        assert!(!runs.insert(CallId::new(u64::MAX)));
        assert_eq!(runs.without(&NumberRuns::default()).len(), 2);
    }
}
