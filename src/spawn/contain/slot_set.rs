//! The slots of one socket: how many there should be, and those that are free. There are as many as calls ran
//! or waited at one time lately, and a few more; fewer when it is quiet again; and none for a socket that has
//! had no call for long.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{SCOPES_QUIET, SCOPES_SLEEP, SLOTS_SPARE};

/// The slots of one socket and one kind.
#[derive(Debug)]
pub(super) struct SlotSet<T> {
    /// The free ones.
    free: VecDeque<T>,
    /// Those that calls have, or that are to be cleaned.
    out: usize,
    /// Those of them that are to be cleaned.
    pub(super) unclean: usize,
    /// Those that the manager was asked for.
    pub(super) making: usize,
    /// Calls that wait for one.
    pub(super) waiting: usize,
    /// The most that calls had or waited for at one time, lately.
    peak: usize,
    /// When there were last as many.
    peaked: Instant,
    used: Instant,
}

impl<T> SlotSet<T> {
    /// An empty set, as if a call had come at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            free: VecDeque::new(),
            out: 0,
            unclean: 0,
            making: 0,
            waiting: 0,
            peak: 0,
            peaked: now,
            used: now,
        }
    }

    /// A call wants a slot: notes it. Gives whether the set was out of use.
    pub(super) fn note_call(&mut self, now: Instant) -> bool {
        let was_idle = self.free.is_empty() && self.out == 0;
        self.used = now;
        let wanted = self.busy() + 1;
        if wanted >= self.peak {
            (self.peak, self.peaked) = (wanted, now);
        }
        was_idle
    }

    /// A free slot for a call.
    pub(super) fn take(&mut self) -> Option<T> {
        let taken = self.free.pop_front()?;
        self.out += 1;
        Some(taken)
    }

    /// Notes a slot that a call has, and that was not in the set.
    pub(super) fn note_out(&mut self) {
        self.out += 1;
    }

    /// The free slots.
    pub(super) fn free(&mut self) -> impl Iterator<Item = &mut T> {
        self.free.iter_mut()
    }

    /// A slot is free: one that a call had, or a new one.
    pub(super) fn put(&mut self, slot: T, was_out: bool) {
        self.out = self.out.saturating_sub(usize::from(was_out));
        self.free.push_back(slot);
    }

    /// A slot that a call had is given up.
    pub(super) fn lose_one(&mut self) {
        self.out = self.out.saturating_sub(1);
    }

    /// The calls that run or wait.
    fn busy(&self) -> usize {
        self.out.saturating_sub(self.unclean) + self.waiting
    }

    /// How many slots are wanted, those of running calls included.
    fn target(&mut self, now: Instant) -> usize {
        let busy = self.busy();
        if busy == 0 && now >= self.used + SCOPES_SLEEP {
            self.peak = 0;
            return 0;
        }
        if now >= self.peaked + SCOPES_QUIET {
            (self.peak, self.peaked) = (busy, now);
        }
        self.peak.max(busy) + SLOTS_SPARE
    }

    /// How many are to be made.
    pub(super) fn missing(&mut self, now: Instant) -> usize {
        self.target(now).saturating_sub(self.free.len() + self.out + self.making)
    }

    /// Whether no slot is free, for the next call or for one that waits.
    pub(super) fn is_short(&self) -> bool {
        self.free.is_empty()
    }

    /// Whether calls have slots, which may be free again soon.
    pub(super) fn comes_back(&self) -> bool {
        self.out > 0
    }

    /// Takes out the free slots that are not wanted. They count as out until they are given up.
    pub(super) fn surplus(&mut self, now: Instant) -> Vec<T> {
        let kept = self.target(now).saturating_sub(self.out + self.making).max(self.waiting);
        self.take_from(kept.min(self.free.len()))
    }

    /// Takes out the free slots for which `is_spoilt`. They count as out until they are given up.
    pub(super) fn take_spoilt(&mut self, is_spoilt: impl Fn(&T) -> bool) -> Vec<T> {
        let (spoilt, free): (VecDeque<_>, _) = self.free.drain(..).partition(is_spoilt);
        self.free = free;
        self.out += spoilt.len();
        spoilt.into()
    }

    /// Takes out all free slots. They count as out until they are given up.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.take_from(0)
    }

    fn take_from(&mut self, kept: usize) -> Vec<T> {
        let taken: Vec<_> = self.free.drain(kept..).collect();
        self.out += taken.len();
        taken
    }

    /// When to look whether fewer slots are wanted; `None` where there are none, and no call came lately.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.free.is_empty() && self.out == 0 && now >= self.used + SCOPES_SLEEP {
            return None;
        }
        let is_more = self.free.len() > self.waiting + SLOTS_SPARE;
        let quiet =
            if is_more && self.peaked + SCOPES_QUIET > now { self.peaked } else { now } + SCOPES_QUIET;
        let sleep = self.used + SCOPES_SLEEP;
        Some(if sleep > now { sleep.min(quiet) } else { quiet })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that finds a slot, or one that is made for it.
    fn call(set: &mut SlotSet<()>, now: Instant) {
        set.note_call(now);
        if set.take().is_none() {
            set.note_out();
        }
    }

    #[test]
    fn there_are_as_many_as_calls_at_one_time_and_spare_ones() {
        let now = Instant::now();
        let mut set = SlotSet::new(now);
        call(&mut set, now);
        assert_eq!(set.missing(now), SLOTS_SPARE);
        (0..SLOTS_SPARE).for_each(|_| set.put((), false));
        assert_eq!(set.missing(now), 0);
        (0..9).for_each(|_| call(&mut set, now));
        assert_eq!((set.out, set.missing(now)), (10, SLOTS_SPARE));
        (0..10).for_each(|_| set.put((), true));
        assert_eq!((set.missing(now), set.surplus(now).len()), (SLOTS_SPARE, 0));
    }

    #[test]
    fn quiet_has_fewer_kept_and_sleep_none() {
        let now = Instant::now();
        let mut set = SlotSet::new(now);
        (0..10).for_each(|_| call(&mut set, now));
        (0..10).for_each(|_| set.put((), true));
        assert_eq!(set.due(now), Some(now + SCOPES_QUIET));
        assert_eq!(set.surplus(now + SCOPES_QUIET).len(), 10 - SLOTS_SPARE);
        (SLOTS_SPARE..10).for_each(|_| set.lose_one());
        assert_eq!(set.due(now + SCOPES_SLEEP / 2), Some(now + SCOPES_SLEEP / 2 + SCOPES_QUIET));
        assert_eq!(set.surplus(now + SCOPES_SLEEP).len(), SLOTS_SPARE);
        (0..SLOTS_SPARE).for_each(|_| set.lose_one());
        assert_eq!(set.due(now + SCOPES_SLEEP), None);
    }
}
