//! Equal refusals in quick succession become one record with a count, so that a caller cannot flood the disk.
//! Knows numbers and times; writes nothing.

use std::collections::HashMap;
use std::time::Instant;

use crate::ids::CallId;
use crate::limits::{FOLD_AFTER, FOLD_KINDS_MAX, FOLD_WINDOW};

use super::rejected::Rejected;

/// Refusals that were written and may come again.
#[derive(Debug, Default)]
pub(super) struct Fold(HashMap<Rejected, Repeats>);

/// How often one came again since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeats {
    until: Instant,
    written: u64,
    pub(super) first: CallId,
    pub(super) last: CallId,
    pub(super) count: u64,
}

/// What to do with a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Write it.
    First,
    /// It was counted; a record comes when its window closes.
    Again,
}

impl Fold {
    /// Takes note of a refusal with this number.
    pub(super) fn hear(&mut self, call: CallId, rejected: &Rejected, now: Instant) -> Heard {
        // A window that has closed takes more until its count is taken out: a new one in its place would drop it.
        let is_open = |repeats: &&mut Repeats| now < repeats.until || repeats.count > 0;
        let Some(repeats) = self.0.get_mut(rejected).filter(is_open) else {
            let repeats = Repeats { until: now + FOLD_WINDOW, written: 1, first: call, last: call, count: 0 };
            self.0.insert(rejected.clone(), repeats);
            return Heard::First;
        };
        if repeats.written < FOLD_AFTER {
            repeats.written += 1;
            return Heard::First;
        }
        // A number that was taken early may come late.
        repeats.first = if repeats.count == 0 { call } else { repeats.first.min(call) };
        repeats.last = if repeats.count == 0 { call } else { repeats.last.max(call) };
        repeats.count += 1;
        Heard::Again
    }

    /// Takes out what needs a record now: windows that have closed, and the oldest where there are too many.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(Rejected, Repeats)> {
        let overflow = self.0.len().saturating_sub(FOLD_KINDS_MAX);
        let mut ends: Vec<_> = self.0.values().map(|repeats| repeats.until).collect();
        ends.sort_unstable();
        let limit = ends.get(overflow.wrapping_sub(1)).copied();
        self.take(|repeats| repeats.until <= now || limit.is_some_and(|limit| repeats.until <= limit))
    }

    /// Takes out everything: the manifest is about to close.
    pub(super) fn take_all(&mut self) -> Vec<(Rejected, Repeats)> {
        self.take(|_| true)
    }

    /// When the next window closes on something that came again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter(|repeats| repeats.count > 0).map(|repeats| repeats.until).min()
    }

    fn take(&mut self, due: impl Fn(&Repeats) -> bool) -> Vec<(Rejected, Repeats)> {
        let mut taken: Vec<_> =
            self.0.extract_if(|_, repeats| due(repeats)).filter(|(_, repeats)| repeats.count > 0).collect();
        taken.sort_unstable_by_key(|(_, repeats)| repeats.first);
        taken
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::SocketName;
    use crate::refusal::Refusal;

    use super::*;

    fn refusal(word: &str) -> Rejected {
        Rejected::new(&SocketName::new("agent"), None, &[word], &Refusal::Stopping)
    }

    #[test]
    fn the_first_are_written_and_the_rest_are_counted() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        assert_eq!(fold.hear(CallId::new(0), &refusal("a"), now), Heard::First);
        assert_eq!(fold.hear(CallId::new(1), &refusal("a"), now), Heard::First);
        assert_eq!(fold.hear(CallId::new(2), &refusal("b"), now), Heard::First);
        for number in 3..6 {
            assert_eq!(fold.hear(CallId::new(number), &refusal("a"), now), Heard::Again);
        }
        assert!(fold.take_due(now).is_empty());
        assert_eq!(fold.next_due(), Some(now + FOLD_WINDOW));
        let due = fold.take_due(now + FOLD_WINDOW);
        let counts: Vec<_> = due.iter().map(|(_, r)| (r.first.get(), r.last.get(), r.count)).collect();
        assert_eq!(counts, [(3, 5, 3)]);
        assert_eq!(fold.hear(CallId::new(6), &refusal("a"), now + FOLD_WINDOW), Heard::First);
    }

    #[test]
    fn a_count_that_is_overdue_is_not_dropped() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        for number in 0..3 {
            fold.hear(CallId::new(number), &refusal("a"), now);
        }
        let late = now + FOLD_WINDOW;
        assert_eq!(fold.hear(CallId::new(3), &refusal("a"), late), Heard::Again);
        let due = fold.take_due(late);
        let counts: Vec<_> = due.iter().map(|(_, r)| (r.first.get(), r.last.get(), r.count)).collect();
        assert_eq!(counts, [(2, 3, 2)]);
        assert_eq!(fold.hear(CallId::new(4), &refusal("a"), late), Heard::First);
    }

    #[test]
    fn kinds_are_bounded() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        for number in 0..1000 {
            fold.hear(CallId::new(number), &refusal(&number.to_string()), now);
            fold.take_due(now);
        }
        assert!(fold.0.len() <= FOLD_KINDS_MAX + 1);
    }
}
