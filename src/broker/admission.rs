//! The admission of one socket's calls: which of them run and which wait. No call is dropped: a call without
//! a place waits for its turn here, and a request that was not read yet waits in its connection or in the
//! kernel's backlog. Each socket has an admission of its own, so that no socket's callers hold up another's.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::limits::SOCKET_WAITING_BYTES_MAX;
use crate::sys::Locked;

use super::candidate::Candidate;

/// The order in which calls came: of two that wait for a place, the earlier one gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ArrivalOrder(u64);

/// The place of a running call. It has to be given back, by [`Admission::leave`] or [`Admission::trade`].
#[derive(Debug)]
pub(super) struct RunSlot {
    turn: ArrivalOrder,
    rule: Arc<str>,
}

/// The next call to run.
#[derive(Debug)]
pub(super) struct NextCandidate<G> {
    /// A call that waited, with its place.
    pub(super) placed: Option<(RunSlot, G)>,
    /// Whether another waiting call could have a place as well.
    pub(super) others: bool,
}

/// The threads that a socket has to spare for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpareThreads {
    /// None: what waits is told when there is one.
    None,
    /// One, which is taken now: what waits is told when there is another one.
    Last,
    /// One, which is taken now, and at least one more.
    Some,
}

/// The admission of one socket.
#[derive(Debug)]
pub(super) struct Admission<G> {
    places: Locked<AdmissionState<G>>,
    waiting_max: usize,
}

#[derive(Debug)]
struct AdmissionState<G> {
    threads: u32,
    running: u32,
    of_rule: HashMap<Arc<str>, u32>,
    /// In the order of their turns.
    waiting: VecDeque<(ArrivalOrder, G)>,
    turns: u64,
    /// Whether there was no thread to spare, or no further one: what waits is to be told when there is.
    asked: bool,
}

impl<G: Candidate> Admission<G> {
    /// An admission without calls. When `waiting_max` calls wait, no further request is read.
    pub(super) fn new(waiting_max: usize) -> Self {
        let places = AdmissionState {
            threads: 0,
            running: 0,
            of_rule: HashMap::new(),
            waiting: VecDeque::new(),
            turns: 0,
            asked: false,
        };
        Self { places: Locked::new(places), waiting_max }
    }

    /// Counts a thread that begins to answer a connection, if it may. Where many or large requests wait,
    /// further ones stay unread in the kernel, in memory that counts as their senders'.
    pub(super) fn begin_thread(&self, threads_max: u32) -> SpareThreads {
        let mut places = self.places.lock();
        let may_wait = self.may_wait(&places);
        places.begin_thread(threads_max, may_wait)
    }

    /// Counts a thread that begins to look after waiting calls, if it may.
    pub(super) fn begin_waiting_thread(&self, threads_max: u32) -> SpareThreads {
        self.places.lock().begin_thread(threads_max, true)
    }

    /// Whether one more request may come to wait.
    fn may_wait(&self, places: &AdmissionState<G>) -> bool {
        let bytes: usize = places.waiting.iter().map(|(_, candidate)| candidate.bytes()).sum();
        places.waiting.len() < self.waiting_max && bytes < SOCKET_WAITING_BYTES_MAX
    }

    /// Whether what waits is to be told that there is a thread to spare: there was none, and limits have
    /// changed, or fewer requests wait.
    pub(super) fn has_spare_thread_again(&self, threads_max: u32) -> bool {
        let mut places = self.places.lock();
        let is_spare = places.threads < threads_max && self.may_wait(&places);
        is_spare && std::mem::take(&mut places.asked)
    }

    /// Notes that a thread ends. Returns whether what waits for a thread is to be told.
    pub(super) fn end_thread(&self) -> bool {
        let mut places = self.places.lock();
        places.threads -= 1;
        std::mem::take(&mut places.asked)
    }

    /// The number of calls that run.
    pub(super) fn running(&self) -> u32 {
        self.places.lock().running
    }

    /// Whether no thread is at work and no call waits.
    pub(super) fn is_idle(&self) -> bool {
        let places = self.places.lock();
        places.threads == 0 && places.waiting.is_empty()
    }

    /// Whether a call waits.
    pub(super) fn is_waited_at(&self) -> bool {
        !self.places.lock().waiting.is_empty()
    }

    /// Returns the call with a place when it may run now. Otherwise `watch` is called with it, and the call
    /// waits, until a thread whose call is over runs it.
    pub(super) fn enter(&self, candidate: G, watch: impl FnOnce(&G)) -> Option<(RunSlot, G)> {
        let mut places = self.places.lock();
        places.turns += 1;
        let turn = ArrivalOrder(places.turns);
        if places.has_room(&candidate) {
            return Some((places.take(turn, &candidate), candidate));
        }
        watch(&candidate);
        places.wait(turn, candidate);
        None
    }

    /// Takes back the place of a call that is over. Returns the first waiting call that may run now.
    pub(super) fn leave(&self, ticket: &RunSlot) -> NextCandidate<G> {
        let mut places = self.places.lock();
        places.give_back(ticket);
        places.next()
    }

    /// Takes back the place of a call that needs another one. `watch` is called with the call, which waits
    /// for its place in its old turn. Returns the first call that may run, which may be this call.
    pub(super) fn trade(&self, ticket: &RunSlot, candidate: G, watch: impl FnOnce(&G)) -> NextCandidate<G> {
        let mut places = self.places.lock();
        places.give_back(ticket);
        watch(&candidate);
        places.wait(ticket.turn, candidate);
        places.next()
    }

    /// The first waiting call that may run now: limits may have changed since it came.
    pub(super) fn next(&self) -> NextCandidate<G> {
        self.places.lock().next()
    }

    /// Takes out the first waiting call of which `is_wanted` holds, to look at it.
    pub(super) fn take_out(&self, is_wanted: impl Fn(&G) -> bool) -> Option<(ArrivalOrder, G)> {
        let mut places = self.places.lock();
        let at = places.waiting.iter().position(|(_, candidate)| is_wanted(candidate))?;
        places.waiting.remove(at)
    }

    /// Takes out the waiting calls whose callers have left.
    pub(super) fn take_left(&self) -> Vec<G> {
        let mut places = self.places.lock();
        let (left, waiting): (VecDeque<_>, _) =
            std::mem::take(&mut places.waiting).into_iter().partition(|(_, candidate)| candidate.has_left());
        places.waiting = waiting;
        left.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// Tells the callers of waiting calls, those of version 2, which limit is full.
    pub(super) fn tell_waiting(&self) {
        let mut places = self.places.lock();
        let mut waiting = std::mem::take(&mut places.waiting);
        for (_, candidate) in &mut waiting {
            let limit = places.full_limit(candidate);
            candidate.tell_wait(limit);
        }
        places.waiting = waiting;
    }

    /// Puts back a call that was taken out.
    pub(super) fn put_back(&self, turn: ArrivalOrder, candidate: G) {
        self.places.lock().wait(turn, candidate);
    }

    /// Takes out all waiting calls: the broker stops.
    pub(super) fn turn_out(&self) -> Vec<G> {
        self.places.lock().waiting.drain(..).map(|(_, candidate)| candidate).collect()
    }
}

impl<G: Candidate> AdmissionState<G> {
    fn begin_thread(&mut self, threads_max: u32, may_wait: bool) -> SpareThreads {
        if self.threads >= threads_max || !may_wait {
            self.asked = true;
            return SpareThreads::None;
        }
        self.threads += 1;
        if self.threads < threads_max {
            return SpareThreads::Some;
        }
        self.asked = true;
        SpareThreads::Last
    }

    fn has_room(&self, candidate: &G) -> bool {
        let of_rule = self.of_rule.get(candidate.rule()).copied().unwrap_or(0);
        self.running < candidate.socket_limit() && candidate.rule_limit().is_none_or(|limit| of_rule < limit)
    }

    /// The limit for which a call waits: its rule's, where that one is full, else its socket's.
    fn full_limit(&self, candidate: &G) -> u32 {
        let of_rule = self.of_rule.get(candidate.rule()).copied().unwrap_or(0);
        candidate.rule_limit().filter(|&limit| of_rule >= limit).unwrap_or(candidate.socket_limit())
    }

    fn take(&mut self, turn: ArrivalOrder, candidate: &G) -> RunSlot {
        let rule = candidate.rule().clone();
        self.running += 1;
        *self.of_rule.entry(rule.clone()).or_default() += 1;
        RunSlot { turn, rule }
    }

    fn give_back(&mut self, ticket: &RunSlot) {
        self.running -= 1;
        if let Some(count) = self.of_rule.get_mut(&ticket.rule) {
            *count -= 1;
            if *count == 0 {
                self.of_rule.remove(&ticket.rule);
            }
        }
    }

    fn wait(&mut self, turn: ArrivalOrder, mut candidate: G) {
        candidate.note_wait();
        let at = self.waiting.partition_point(|(other, _)| *other < turn);
        self.waiting.insert(at, (turn, candidate));
    }

    fn next(&mut self) -> NextCandidate<G> {
        let free =
            |places: &Self| places.waiting.iter().position(|(_, candidate)| places.has_room(candidate));
        let first = free(self).and_then(|at| self.waiting.remove(at));
        let placed = first.map(|(turn, candidate)| (self.take(turn, &candidate), candidate));
        let others = placed.is_some() && free(self).is_some();
        NextCandidate { placed, others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Name {
        rule: Arc<str>,
        rule_limit: Option<u32>,
        socket_limit: u32,
        number: u32,
        waited: bool,
        told: Option<u32>,
    }

    impl Candidate for Name {
        fn rule(&self) -> &Arc<str> {
            &self.rule
        }
        fn rule_limit(&self) -> Option<u32> {
            self.rule_limit
        }
        fn socket_limit(&self) -> u32 {
            self.socket_limit
        }
        fn bytes(&self) -> usize {
            self.rule.len()
        }
        fn note_wait(&mut self) {
            self.waited = true;
        }
        fn has_left(&self) -> bool {
            self.number >= LEFT
        }
        fn tell_wait(&mut self, limit: u32) {
            self.told = Some(limit);
        }
    }

    /// The first number of calls whose callers have left.
    const LEFT: u32 = 1000;

    fn unwatched(_: &Name) {}

    /// A call of a socket for two calls at once.
    fn candidate(rule: &str, rule_limit: Option<u32>) -> Name {
        Name { rule: rule.into(), rule_limit, socket_limit: 2, number: 0, waited: false, told: None }
    }

    /// One of many calls, of a socket that is never full.
    fn numbered(rule: &str, rule_limit: u32, number: u32) -> Name {
        Name {
            rule: rule.into(),
            rule_limit: Some(rule_limit),
            socket_limit: 100,
            number,
            waited: false,
            told: None,
        }
    }

    fn placed(entered: Option<(RunSlot, Name)>) -> RunSlot {
        let (ticket, candidate) = entered.expect("there is room");
        assert!(!candidate.waited);
        ticket
    }

    /// The number of the next call, and whether other calls could run too.
    fn number(next: &NextCandidate<Name>) -> (Option<u32>, bool) {
        (next.placed.as_ref().map(|(_, candidate)| candidate.number), next.others)
    }

    #[test]
    fn a_socket_over_its_limit_makes_the_next_one_wait() {
        let admission = Admission::new(8);
        let first = placed(admission.enter(candidate("a", None), unwatched));
        placed(admission.enter(candidate("a", None), unwatched));
        assert!(admission.enter(candidate("b", None), unwatched).is_none());
        let (ticket, next) = admission.leave(&first).placed.expect("it waited");
        assert!(*next.rule == *"b" && next.waited);
        assert!(admission.leave(&ticket).placed.is_none());
        assert_eq!(admission.running(), 1);
    }

    #[test]
    fn who_has_left_is_taken_out_and_the_others_keep_their_turns() {
        let admission = Admission::new(8);
        let first = placed(admission.enter(numbered("a", 1, 0), unwatched));
        let mut watched = Vec::new();
        for number in [1, LEFT, 2, LEFT + 1] {
            admission.enter(numbered("a", 1, number), |waiting| watched.push(waiting.number));
        }
        assert_eq!(watched, [1, LEFT, 2, LEFT + 1]);
        let left: Vec<_> = admission.take_left().iter().map(|left| left.number).collect();
        assert_eq!(left, [LEFT, LEFT + 1]);
        assert_eq!(number(&admission.leave(&first)), (Some(1), false));
        assert_eq!(admission.turn_out().len(), 1);
    }

    #[test]
    fn who_waits_is_told_the_limit_that_is_full() {
        let admission = Admission::new(8);
        placed(admission.enter(candidate("a", Some(1)), unwatched));
        assert!(admission.enter(candidate("a", Some(1)), unwatched).is_none());
        placed(admission.enter(candidate("b", None), unwatched));
        assert!(admission.enter(candidate("b", None), unwatched).is_none());
        admission.tell_waiting();
        let told: Vec<_> = admission.turn_out().iter().map(|waiting| waiting.told).collect();
        assert_eq!(told, [Some(1), Some(2)]);
    }

    #[test]
    fn a_rule_at_its_limit_does_not_hold_up_another() {
        let admission = Admission::new(8);
        let first = placed(admission.enter(candidate("a", Some(1)), unwatched));
        assert!(admission.enter(candidate("a", Some(1)), unwatched).is_none());
        let other = placed(admission.enter(candidate("b", None), unwatched));
        assert!(admission.leave(&other).placed.is_none());
        assert!(admission.leave(&first).placed.is_some_and(|(_, next)| *next.rule == *"a"));
    }

    #[test]
    fn a_rule_runs_as_many_as_its_limit_and_no_more_whoever_leaves() {
        let admission = Admission::new(100);
        let mut running: Vec<_> =
            (0..3).map(|number| placed(admission.enter(numbered("a", 3, number), unwatched))).collect();
        (3..20).for_each(|number| assert!(admission.enter(numbered("a", 3, number), unwatched).is_none()));
        for number in 3..20 {
            let NextCandidate { placed: Some((ticket, next)), others: false } =
                admission.leave(&running.remove(0))
            else {
                panic!("one leaves, and one comes in")
            };
            assert_eq!(next.number, number, "in the order in which they came");
            running.push(ticket);
            assert_eq!(admission.running(), 3);
            assert!(admission.enter(numbered("a", 3, 99), unwatched).is_none(), "the rule is full");
            admission.take_out(|candidate| candidate.number == 99).expect("it waits");
        }
        running.iter().for_each(|ticket| assert!(admission.leave(ticket).placed.is_none()));
        assert_eq!(admission.running(), 0);
        placed(admission.enter(numbered("a", 1, 20), unwatched));
        assert!(admission.enter(numbered("a", 1, 21), unwatched).is_none(), "the count begins anew");
    }

    #[test]
    fn a_call_that_must_wait_again_keeps_its_turn() {
        let admission = Admission::new(8);
        let full = placed(admission.enter(numbered("old", 1, 0), unwatched));
        let taken = placed(admission.enter(numbered("new", 1, 1), unwatched));
        assert!(admission.enter(numbered("old", 1, 2), unwatched).is_none());
        assert!(admission.enter(numbered("new", 1, 3), unwatched).is_none());
        let (ticket, first) = admission.leave(&full).placed.expect("it waited");
        assert_eq!(first.number, 2);
        assert_eq!(
            number(&admission.trade(&ticket, numbered("new", 1, 2), unwatched)),
            (None, false),
            "that rule is full"
        );
        assert_eq!(number(&admission.leave(&taken)), (Some(2), false), "it came before the other one");
    }

    #[test]
    fn a_place_that_is_given_back_goes_to_the_call_that_it_fits() {
        let admission = Admission::new(8);
        let full = placed(admission.enter(numbered("old", 1, 0), unwatched));
        placed(admission.enter(numbered("new", 1, 1), unwatched));
        (2..4).for_each(|number| assert!(admission.enter(numbered("old", 1, number), unwatched).is_none()));
        let (ticket, first) = admission.leave(&full).placed.expect("it waited");
        assert_eq!(first.number, 2);
        assert_eq!(number(&admission.trade(&ticket, numbered("new", 1, 2), unwatched)), (Some(3), false));
    }

    #[test]
    fn limits_that_rise_let_in_all_that_they_allow() {
        let admission = Admission::new(8);
        placed(admission.enter(numbered("a", 1, 0), unwatched));
        (1..5).for_each(|number| assert!(admission.enter(numbered("a", 1, number), unwatched).is_none()));
        while let Some((turn, old)) = admission.take_out(|candidate| candidate.rule_limit == Some(1)) {
            admission.put_back(turn, Name { rule_limit: Some(3), ..old });
        }
        assert_eq!(number(&admission.next()), (Some(1), true));
        assert_eq!(number(&admission.next()), (Some(2), false));
        assert_eq!(number(&admission.next()), (None, false));
        let left: Vec<_> = admission.turn_out().iter().map(|candidate| candidate.number).collect();
        assert_eq!(left, [3, 4]);
        assert!(!admission.is_waited_at());
    }

    #[test]
    fn threads_are_bounded_and_what_waits_for_one_is_told() {
        let admission: Admission<Name> = Admission::new(1);
        assert_eq!(
            [admission.begin_thread(2), admission.begin_thread(2)],
            [SpareThreads::Some, SpareThreads::Last]
        );
        assert!(admission.end_thread(), "there was no further one");
        assert!(!admission.end_thread() && admission.is_idle(), "it was told");
        assert_eq!(
            [admission.begin_thread(1), admission.begin_thread(1)],
            [SpareThreads::Last, SpareThreads::None]
        );
        assert!(!admission.has_spare_thread_again(1));
        assert!(
            admission.has_spare_thread_again(2) && !admission.has_spare_thread_again(2),
            "a limit was raised"
        );
        assert!(!admission.end_thread());
    }

    #[test]
    fn a_socket_at_which_many_wait_has_no_thread_to_spare_for_connections() {
        let admission: Admission<Name> = Admission::new(1);
        (0..3).for_each(|_| drop(admission.enter(candidate("a", None), unwatched)));
        assert_eq!(admission.begin_thread(1), SpareThreads::None, "one waits, and there is room for one");
        assert_eq!(admission.begin_waiting_thread(1), SpareThreads::Last);
        assert_eq!(admission.begin_waiting_thread(1), SpareThreads::None);
        assert!(!admission.is_idle() && admission.end_thread());
        assert_eq!(admission.begin_thread(1), SpareThreads::None);
        assert!(!admission.has_spare_thread_again(1));
        drop(admission.turn_out());
        assert!(admission.has_spare_thread_again(1), "none waits");
    }

    #[test]
    fn requests_that_wait_are_bounded_by_their_bytes_too() {
        for (bytes, spare) in [
            (SOCKET_WAITING_BYTES_MAX - 1, SpareThreads::Last),
            (SOCKET_WAITING_BYTES_MAX, SpareThreads::None),
        ] {
            let admission: Admission<Name> = Admission::new(256);
            (0..2).for_each(|_| drop(admission.enter(candidate("a", None), unwatched)));
            assert!(admission.enter(candidate(&"b".repeat(bytes), None), unwatched).is_none(), "it waits");
            assert_eq!(admission.begin_thread(1), spare, "{bytes}");
        }
    }
}
