//! Who is in the lobby: those who have said nothing yet, by age, and those who have, by socket, in turn. Where there are
//! several sockets, half of the room is everybody's and of the other half each has a share of its own: whatever one
//! socket's callers do, there is a place for the next one's. Only counts and orders; `event_loop.rs` has them watched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// Everybody in the lobby.
#[derive(Debug)]
pub(super) struct PendingConnections<V> {
    /// By number, and so by age: the first one is the first to run out of time.
    silent: BTreeMap<u64, SilentConnection<V>>,
    corners: Vec<SocketQueue<V>>,
    /// The sockets at which somebody has spoken.
    spoken: BTreeSet<usize>,
    next: u64,
    count: usize,
    common: usize,
    share: usize,
}

/// Somebody who has not said anything yet.
#[derive(Debug)]
pub(super) struct SilentConnection<V> {
    pub(in crate::broker) visit: V,
    pub(in crate::broker) socket: usize,
    pub(in crate::broker) since: Instant,
}

/// The callers of one socket.
#[derive(Debug)]
struct SocketQueue<V> {
    silent: BTreeSet<u64>,
    spoken: VecDeque<V>,
}

impl<V> PendingConnections<V> {
    /// Nobody yet, at so many sockets, with room for so many in all.
    pub(in crate::broker) fn new(sockets: usize, room: usize) -> Self {
        let corner = || SocketQueue { silent: BTreeSet::new(), spoken: VecDeque::new() };
        let shared_out = if sockets > 1 { room / 2 } else { 0 };
        Self {
            silent: BTreeMap::new(),
            corners: std::iter::repeat_with(corner).take(sockets).collect(),
            spoken: BTreeSet::new(),
            next: 0,
            count: 0,
            common: room - shared_out,
            share: (shared_out / sockets).max(1),
        }
    }

    /// Whether one more may come in at a socket, beside so many that have left it, and the lobby, and are not
    /// closed yet.
    pub(in crate::broker) fn has_room(&self, socket: usize, left_it: usize, left: usize) -> bool {
        let SocketQueue { silent, spoken } = &self.corners[socket];
        self.count + left < self.common || silent.len() + spoken.len() + left_it < self.share
    }

    /// The number of whoever comes next.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// Somebody comes in.
    pub(super) fn admit(&mut self, socket: usize, visit: V, since: Instant) {
        self.silent.insert(self.next, SilentConnection { visit, socket, since });
        self.corners[socket].silent.insert(self.next);
        self.next += 1;
        self.count += 1;
    }

    /// Somebody said something, or left. Gives who, if that is news.
    pub(in crate::broker) fn hear(&mut self, number: u64) -> Option<&V> {
        let SilentConnection { visit, socket, .. } = self.dismiss(number)?;
        self.push(socket, visit);
        self.corners[socket].spoken.back()
    }

    /// Somebody who has said nothing leaves.
    pub(in crate::broker) fn dismiss(&mut self, number: u64) -> Option<SilentConnection<V>> {
        let silent = self.silent.remove(&number)?;
        self.corners[silent.socket].silent.remove(&number);
        self.count -= 1;
        Some(silent)
    }

    /// Who has been silent for longest.
    pub(super) fn oldest(&self) -> Option<(u64, &SilentConnection<V>)> {
        self.silent.first_key_value().map(|(number, silent)| (*number, silent))
    }

    /// Who has been silent for longest at a socket.
    pub(super) fn oldest_at(&self, socket: usize) -> Option<(u64, &SilentConnection<V>)> {
        let number = self.corners[socket].silent.first()?;
        self.silent.get(number).map(|silent| (*number, silent))
    }

    /// The sockets at which somebody has spoken.
    pub(super) fn spoken(&self) -> Vec<usize> {
        self.spoken.iter().copied().collect()
    }

    /// Whether somebody who has spoken waits at a socket.
    pub(super) fn waits_at(&self, socket: usize) -> bool {
        self.spoken.contains(&socket)
    }

    /// Takes out the next one in turn at a socket.
    pub(in crate::broker) fn pop(&mut self, socket: usize) -> Option<V> {
        let spoken = &mut self.corners[socket].spoken;
        let visit = spoken.pop_front()?;
        if spoken.is_empty() {
            self.spoken.remove(&socket);
        }
        self.count -= 1;
        Some(visit)
    }

    /// Somebody who has spoken waits at a socket, the last in turn.
    pub(in crate::broker) fn push(&mut self, socket: usize, visit: V) {
        self.corners[socket].spoken.push_back(visit);
        self.spoken.insert(socket);
        self.count += 1;
    }

    /// Whether nobody waits who has spoken.
    pub(in crate::broker) fn is_heard(&self) -> bool {
        self.spoken.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(sockets: usize, room: usize) -> PendingConnections<&'static str> {
        PendingConnections::new(sockets, room)
    }

    #[test]
    fn one_socket_has_all_the_room() {
        for room in [1, 5] {
            let mut crowd = crowd(1, room);
            while crowd.has_room(0, 0, 0) {
                crowd.admit(0, "a", Instant::now());
            }
            assert_eq!(crowd.count, room);
        }
    }

    #[test]
    fn another_socket_keeps_its_share_whoever_is_there() {
        let (mut crowd, now) = (crowd(2, 8), Instant::now());
        while crowd.has_room(0, 0, 0) {
            let number = crowd.next_number();
            crowd.admit(0, "a", now);
            crowd.hear(number);
        }
        assert_eq!(crowd.count, 4);
        assert!(crowd.has_room(1, 0, 0));
        crowd.admit(1, "b", now);
        crowd.admit(1, "b", now);
        assert!(!crowd.has_room(1, 0, 0) && !crowd.has_room(0, 0, 0));
        assert_eq!(crowd.oldest_at(1).map(|(number, silent)| (number, silent.visit)), Some((4, "b")));
    }

    #[test]
    fn what_is_not_closed_yet_takes_room_of_its_own_socket() {
        let crowd = crowd(2, 8);
        assert!(crowd.has_room(0, 3, 3) && !crowd.has_room(0, 4, 4) && crowd.has_room(1, 0, 4));
    }

    #[test]
    fn who_speaks_waits_in_turn_and_who_leaves_makes_room() {
        let (mut crowd, now) = (crowd(2, 4), Instant::now());
        ["a", "b", "c"].into_iter().for_each(|visit| crowd.admit(0, visit, now));
        assert_eq!(crowd.hear(2), Some(&"c"));
        assert_eq!(crowd.hear(0), Some(&"a"));
        assert_eq!(crowd.hear(0), None);
        assert_eq!(crowd.spoken(), [0]);
        assert_eq!((crowd.pop(0), crowd.pop(0), crowd.pop(0)), (Some("c"), Some("a"), None));
        assert!(crowd.is_heard());
        assert_eq!(crowd.oldest().map(|(number, silent)| (number, silent.visit)), Some((1, "b")));
        assert!(crowd.dismiss(1).is_some() && crowd.dismiss(1).is_none());
        assert_eq!((crowd.count, crowd.oldest_at(0).is_none()), (0, true));
    }
}
