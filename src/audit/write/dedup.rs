//! Decides which refusals are written and which are only counted, so that a caller cannot flood the disk.
//! Equal refusals in quick succession become one record with a count. Refusals of one socket that exceed its
//! budget, equal or not, become one record a second that counts them by their reasons. Knows numbers and
//! times; writes nothing.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::audit::record::reject::RefusedRequest;
use crate::ids::{CallId, SocketName};
use crate::limits::{DEDUP_AFTER, DEDUP_KINDS_MAX, DEDUP_WINDOW, REFUSAL_CALLERS_MAX};

use super::budget::RefusalBudget;

/// Refusals that were written and may come again, and refusals that exceeded a budget.
#[derive(Debug, Default)]
pub(super) struct RefusalDedup {
    equal: HashMap<RefusedRequest, RepeatCount>,
    sockets: HashMap<SocketName, SocketShare>,
}

/// How often one refusal came again since it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RepeatCount {
    until: Instant,
    written: u64,
    pub(in crate::audit) first: CallId,
    pub(in crate::audit) last: CallId,
    pub(in crate::audit) count: u64,
}

/// The budget of one socket's refusals, and a count of the refusals that exceeded it.
#[derive(Debug, Default)]
struct SocketShare {
    budget: RefusalBudget,
    many: Option<CountedRefusals>,
}

/// Refusals of one socket that are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct CountedRefusals {
    until: Instant,
    pub(in crate::audit) first: CallId,
    pub(in crate::audit) last: CallId,
    pub(in crate::audit) count: u64,
    pub(in crate::audit) reasons: BTreeMap<&'static str, u64>,
    /// The first processes, and the first users, that were refused.
    pub(in crate::audit) pids: Vec<i32>,
    pub(in crate::audit) uids: Vec<u32>,
}

/// The verdict on a refusal: written or counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DedupVerdict {
    /// The refusal is to be written.
    First,
    /// The refusal was counted; a record comes when its window closes.
    Again,
}

/// A record that is due.
#[derive(Debug)]
pub(super) enum DueRecord {
    /// A count of refusals that are equal.
    Equal(RefusedRequest, RepeatCount),
    /// A count of refusals of one socket that are not.
    Many(SocketName, CountedRefusals),
}

/// The bytes that a record of a refusal takes.
type RecordCost<'a> = &'a dyn Fn(&RefusedRequest) -> u64;

impl RefusalDedup {
    /// Takes note of a refusal with this number, and decides whether it is written.
    pub(in crate::audit) fn hear(
        &mut self,
        call: CallId,
        rejected: &RefusedRequest,
        now: Instant,
        cost: RecordCost<'_>,
    ) -> DedupVerdict {
        if self.is_over(&rejected.socket) {
            self.count(rejected, RepeatCount::of(call, now), now);
            return DedupVerdict::Again;
        }
        // A closed window takes further refusals until its count is taken out: a new window would drop the
        // count.
        let is_open = |repeats: &&mut RepeatCount| now < repeats.until || repeats.count > 0;
        let Some(repeats) = self.equal.get_mut(rejected).filter(is_open) else {
            let heard = self.write_or_count(call, rejected, now, cost);
            if heard == DedupVerdict::First {
                self.equal.insert(rejected.clone(), RepeatCount { count: 0, ..RepeatCount::of(call, now) });
            }
            return heard;
        };
        if repeats.written < DEDUP_AFTER {
            repeats.written += 1;
            return self.write_or_count(call, rejected, now, cost);
        }
        // Refusals may come out of the order of their numbers, which are taken earlier.
        repeats.first = if repeats.count == 0 { call } else { repeats.first.min(call) };
        repeats.last = if repeats.count == 0 { call } else { repeats.last.max(call) };
        repeats.count += 1;
        DedupVerdict::Again
    }

    fn write_or_count(
        &mut self,
        call: CallId,
        rejected: &RefusedRequest,
        now: Instant,
        cost: RecordCost<'_>,
    ) -> DedupVerdict {
        let share = self.share(&rejected.socket);
        if share.budget.take(cost(rejected), now) {
            return DedupVerdict::First;
        }
        self.count(rejected, RepeatCount::of(call, now), now);
        DedupVerdict::Again
    }

    /// Counts equal refusals together with other refusals of their socket.
    fn count(&mut self, rejected: &RefusedRequest, repeats: RepeatCount, now: Instant) {
        let many = self.share(&rejected.socket).many.get_or_insert_with(|| CountedRefusals {
            until: now + DEDUP_WINDOW,
            first: repeats.first,
            last: repeats.last,
            count: 0,
            reasons: BTreeMap::new(),
            pids: Vec::new(),
            uids: Vec::new(),
        });
        many.first = many.first.min(repeats.first);
        many.last = many.last.max(repeats.last);
        many.count += repeats.count;
        *many.reasons.entry(rejected.reason).or_default() += repeats.count;
        if let Some(caller) = &rejected.caller {
            caller.pid().into_iter().for_each(|pid| add(&mut many.pids, pid));
            add(&mut many.uids, caller.uid());
        }
    }

    fn is_over(&self, socket: &SocketName) -> bool {
        self.sockets.get(socket).is_some_and(|share| share.many.is_some())
    }

    fn share(&mut self, socket: &SocketName) -> &mut SocketShare {
        self.sockets.entry(socket.clone()).or_default()
    }

    /// Takes out the counts that need a record now: those of closed windows, and the oldest where there are
    /// too many.
    pub(in crate::audit) fn take_due(&mut self, now: Instant, cost: RecordCost<'_>) -> Vec<DueRecord> {
        let overflow = self.equal.len().saturating_sub(DEDUP_KINDS_MAX);
        let mut ends: Vec<_> = self.equal.values().map(|repeats| repeats.until).collect();
        ends.sort_unstable();
        let limit = ends.get(overflow.wrapping_sub(1)).copied();
        let is_due = |until: Instant| until <= now || limit.is_some_and(|limit| until <= limit);
        let mut due = Vec::new();
        for (rejected, repeats) in self.take_equal(|repeats| is_due(repeats.until)) {
            // A record with a count holds the same words as the record of one refusal: it costs as much.
            if !self.is_over(&rejected.socket)
                && self.share(&rejected.socket).budget.take(cost(&rejected), now)
            {
                due.push(DueRecord::Equal(rejected, repeats));
            } else {
                self.count(&rejected, repeats, now);
            }
        }
        due.extend(self.take_many(|many| many.until <= now));
        due
    }

    /// Takes out all counts: the manifest is about to close.
    pub(super) fn take_all(&mut self) -> Vec<DueRecord> {
        let equal = self.take_equal(|_| true).into_iter();
        let mut all: Vec<_> = equal.map(|(rejected, repeats)| DueRecord::Equal(rejected, repeats)).collect();
        all.extend(self.take_many(|_| true));
        all
    }

    /// When the next window with a count closes.
    pub(in crate::audit) fn next_due(&self) -> Option<Instant> {
        let equal = self.equal.values().filter(|repeats| repeats.count > 0).map(|repeats| repeats.until);
        let many = self.sockets.values().filter_map(|share| share.many.as_ref()).map(|many| many.until);
        equal.chain(many).min()
    }

    fn take_equal(&mut self, due: impl Fn(&RepeatCount) -> bool) -> Vec<(RefusedRequest, RepeatCount)> {
        let taken = self.equal.extract_if(|_, repeats| due(repeats));
        let mut taken: Vec<_> = taken.filter(|(_, repeats)| repeats.count > 0).collect();
        taken.sort_unstable_by_key(|(_, repeats)| repeats.first);
        taken
    }

    fn take_many(&mut self, due: impl Fn(&CountedRefusals) -> bool) -> Vec<DueRecord> {
        let taken = self.sockets.iter_mut().filter_map(|(socket, share)| {
            share.many.take_if(|many| due(many)).map(|many| DueRecord::Many(socket.clone(), many))
        });
        taken.collect()
    }
}

impl RepeatCount {
    fn of(call: CallId, now: Instant) -> Self {
        Self { until: now + DEDUP_WINDOW, written: 1, first: call, last: call, count: 1 }
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if list.len() < REFUSAL_CALLERS_MAX && !list.contains(&one) {
        list.push(one);
    }
}
