//! Who of a socket's callers runs and who waits. Nobody is dropped: a request that finds no place keeps its turn
//! here, one that was not read yet keeps it in the lobby or in the kernel's backlog. One gate a socket, so that no
//! socket's callers hold up another's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a gate lets in: it counts against its rule, under limits of its own.
pub(super) trait Guest {
    /// The rule, as its running calls are counted.
    fn rule(&self) -> &Arc<str>;
    /// Calls of the rule that may run at once.
    fn rule_limit(&self) -> Option<u32>;
    /// Calls of the socket that may run at once.
    fn socket_limit(&self) -> u32;
}

/// The gate of one socket.
#[derive(Debug)]
pub(super) struct Gate<G> {
    places: Mutex<Places<G>>,
    waiting_max: usize,
}

#[derive(Debug)]
struct Places<G> {
    threads: u32,
    running: u32,
    of_rule: HashMap<Arc<str>, u32>,
    waiting: VecDeque<G>,
    /// The lobby was turned away, and wants to be told of room.
    asked: bool,
}

impl<G: Guest> Gate<G> {
    /// An empty gate that keeps at most `waiting_max` requests in waiting.
    pub(super) fn new(waiting_max: usize) -> Self {
        let places = Places {
            threads: 0,
            running: 0,
            of_rule: HashMap::new(),
            waiting: VecDeque::new(),
            asked: false,
        };
        Self { places: Mutex::new(places), waiting_max }
    }

    /// Whether a thread may begin to answer a connection; counts it.
    pub(super) fn begin_thread(&self, threads_max: u32) -> bool {
        let mut places = self.places();
        let room = places.threads < threads_max && places.waiting.len() < self.waiting_max;
        places.asked |= !room;
        places.threads += u32::from(room);
        room
    }

    /// A thread ends. Gives whether the lobby wants to know.
    pub(super) fn end_thread(&self) -> bool {
        let mut places = self.places();
        places.threads -= 1;
        std::mem::take(&mut places.asked)
    }

    /// Calls that run.
    pub(super) fn running(&self) -> u32 {
        self.places().running
    }

    /// Whether no thread is at work and nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        let places = self.places();
        places.threads == 0 && places.waiting.is_empty()
    }

    /// Gives the guest back when it may run now; else it waits, for a thread that leaves to take it along.
    pub(super) fn enter(&self, guest: G) -> Option<G> {
        let mut places = self.places();
        if places.has_room(&guest) {
            places.count(&guest);
            return Some(guest);
        }
        places.waiting.push_back(guest);
        None
    }

    /// A call of `rule` is over. Gives the first waiting guest that may run now.
    pub(super) fn leave(&self, rule: &Arc<str>) -> Option<G> {
        let mut places = self.places();
        places.running -= 1;
        if let Some(count) = places.of_rule.get_mut(rule) {
            *count -= 1;
            if *count == 0 {
                places.of_rule.remove(rule);
            }
        }
        let next = (0..places.waiting.len()).find(|&at| places.has_room(&places.waiting[at]))?;
        let guest = places.waiting.remove(next)?;
        places.count(&guest);
        Some(guest)
    }

    /// Takes out everybody who waits: the broker stops.
    pub(super) fn turn_out(&self) -> Vec<G> {
        self.places().waiting.drain(..).collect()
    }

    fn places(&self) -> MutexGuard<'_, Places<G>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G: Guest> Places<G> {
    fn has_room(&self, guest: &G) -> bool {
        let of_rule = self.of_rule.get(guest.rule()).copied().unwrap_or(0);
        self.running < guest.socket_limit() && guest.rule_limit().is_none_or(|limit| of_rule < limit)
    }

    fn count(&mut self, guest: &G) {
        self.running += 1;
        *self.of_rule.entry(guest.rule().clone()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Name(Arc<str>, Option<u32>);

    impl Guest for Name {
        fn rule(&self) -> &Arc<str> {
            &self.0
        }
        fn rule_limit(&self) -> Option<u32> {
            self.1
        }
        fn socket_limit(&self) -> u32 {
            2
        }
    }

    fn guest(rule: &str, limit: Option<u32>) -> Name {
        Name(rule.into(), limit)
    }

    #[test]
    fn a_socket_over_its_limit_makes_the_next_one_wait() {
        let gate = Gate::new(8);
        assert!(gate.enter(guest("a", None)).is_some() && gate.enter(guest("a", None)).is_some());
        assert!(gate.enter(guest("b", None)).is_none());
        assert_eq!(gate.leave(&"a".into()).map(|next| next.0), Some("b".into()));
        assert!(gate.leave(&"b".into()).is_none());
        assert_eq!(gate.running(), 1);
    }

    #[test]
    fn a_rule_at_its_limit_does_not_hold_up_another() {
        let gate = Gate::new(8);
        assert!(gate.enter(guest("a", Some(1))).is_some());
        assert!(gate.enter(guest("a", Some(1))).is_none());
        assert!(gate.enter(guest("b", None)).is_some());
        assert!(gate.leave(&"b".into()).is_none());
        assert_eq!(gate.leave(&"a".into()).map(|next| next.0), Some("a".into()));
    }

    #[test]
    fn threads_are_bounded_and_the_lobby_is_told_of_room() {
        let gate: Gate<Name> = Gate::new(8);
        assert!(gate.begin_thread(1) && !gate.begin_thread(1));
        assert!(gate.end_thread());
        assert!(gate.begin_thread(1) && !gate.end_thread());
    }
}
