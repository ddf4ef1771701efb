//! The connections that wait in the accept loop: silent ones, on which nothing was sent yet, by age, and
//! ready ones, by socket, in turn. Where there are several sockets, half of the room is shared, and of the
//! other half each socket has a part of its own, so that no socket's callers can take all of it. This file
//! counts and orders; `event_loop.rs` watches the connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// All connections that wait.
#[derive(Debug)]
pub(super) struct PendingConnections<V> {
    /// By number, and so by age: the first one is the first to run out of time.
    silent: BTreeMap<u64, SilentConnection<V>>,
    /// By number: connections of version 2 without a request, which have all the time they like.
    idle: BTreeMap<u64, (usize, V)>,
    queues: Vec<SocketQueue<V>>,
    /// The sockets that have ready connections.
    ready: BTreeSet<usize>,
    next: u64,
    count: usize,
    common: usize,
    share: usize,
}

/// A connection on which nothing was sent yet.
#[derive(Debug)]
pub(super) struct SilentConnection<V> {
    pub(in crate::broker) connection: V,
    pub(in crate::broker) socket: usize,
    pub(in crate::broker) since: Instant,
}

/// The connections of one socket.
#[derive(Debug)]
struct SocketQueue<V> {
    silent: BTreeSet<u64>,
    ready: VecDeque<V>,
}

impl<V> PendingConnections<V> {
    /// An empty set for so many sockets, with room for so many connections in all.
    pub(in crate::broker) fn new(sockets: usize, room: usize) -> Self {
        let queue = || SocketQueue { silent: BTreeSet::new(), ready: VecDeque::new() };
        let shared_out = if sockets > 1 { room / 2 } else { 0 };
        Self {
            silent: BTreeMap::new(),
            idle: BTreeMap::new(),
            queues: std::iter::repeat_with(queue).take(sockets).collect(),
            ready: BTreeSet::new(),
            next: 0,
            count: 0,
            common: room - shared_out,
            share: (shared_out / sockets).max(1),
        }
    }

    /// Whether a socket has room for one more pending connection. Connections that are being closed take room
    /// too: `left_it` of this socket, `left` of all sockets.
    pub(in crate::broker) fn has_room(&self, socket: usize, left_it: usize, left: usize) -> bool {
        let SocketQueue { silent, ready } = &self.queues[socket];
        self.count + left < self.common || silent.len() + ready.len() + left_it < self.share
    }

    /// The number of the next connection.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// Adds a silent connection.
    pub(super) fn admit(&mut self, socket: usize, connection: V, since: Instant) {
        self.silent.insert(self.next, SilentConnection { connection, socket, since });
        self.queues[socket].silent.insert(self.next);
        self.next += 1;
        self.count += 1;
    }

    /// Adds a connection of version 2 that has no request.
    pub(super) fn admit_idle(&mut self, socket: usize, connection: V) {
        self.idle.insert(self.next, (socket, connection));
        self.next += 1;
        self.count += 1;
    }

    /// The numbers of the connections of version 2 that have no request.
    pub(super) fn idle(&self) -> Vec<u64> {
        self.idle.keys().copied().collect()
    }

    /// Makes a silent connection a ready one, because a message is there or its caller left. Returns the
    /// connection, if it was silent.
    pub(in crate::broker) fn hear(&mut self, number: u64) -> Option<&V> {
        let (socket, connection) = match self.idle.remove(&number) {
            Some(idle) => {
                self.count -= 1;
                idle
            }
            None => {
                let SilentConnection { connection, socket, .. } = self.dismiss(number)?;
                (socket, connection)
            }
        };
        self.push(socket, connection);
        self.queues[socket].ready.back()
    }

    /// Takes out a silent connection.
    pub(in crate::broker) fn dismiss(&mut self, number: u64) -> Option<SilentConnection<V>> {
        let silent = self.silent.remove(&number)?;
        self.queues[silent.socket].silent.remove(&number);
        self.count -= 1;
        Some(silent)
    }

    /// The connection that has been silent for longest.
    pub(super) fn oldest(&self) -> Option<(u64, &SilentConnection<V>)> {
        self.silent.first_key_value().map(|(number, silent)| (*number, silent))
    }

    /// The connection of a socket that has been silent for longest.
    pub(super) fn oldest_at(&self, socket: usize) -> Option<(u64, &SilentConnection<V>)> {
        let number = self.queues[socket].silent.first()?;
        self.silent.get(number).map(|silent| (*number, silent))
    }

    /// The sockets that have ready connections.
    pub(super) fn ready(&self) -> Vec<usize> {
        self.ready.iter().copied().collect()
    }

    /// Whether a socket has a ready connection.
    pub(super) fn waits_at(&self, socket: usize) -> bool {
        self.ready.contains(&socket)
    }

    /// Takes out the next ready connection of a socket.
    pub(in crate::broker) fn pop(&mut self, socket: usize) -> Option<V> {
        let ready = &mut self.queues[socket].ready;
        let connection = ready.pop_front()?;
        if ready.is_empty() {
            self.ready.remove(&socket);
        }
        self.count -= 1;
        Some(connection)
    }

    /// Adds a ready connection of a socket, the last in turn.
    pub(in crate::broker) fn push(&mut self, socket: usize, connection: V) {
        self.queues[socket].ready.push_back(connection);
        self.ready.insert(socket);
        self.count += 1;
    }

    /// Whether no connection is ready.
    pub(in crate::broker) fn is_heard(&self) -> bool {
        self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(sockets: usize, room: usize) -> PendingConnections<&'static str> {
        PendingConnections::new(sockets, room)
    }

    #[test]
    fn one_socket_has_all_the_room() {
        for room in [1, 5] {
            let mut pending = pending(1, room);
            while pending.has_room(0, 0, 0) {
                pending.admit(0, "a", Instant::now());
            }
            assert_eq!(pending.count, room);
        }
    }

    #[test]
    fn another_socket_keeps_its_share_whoever_is_there() {
        let (mut pending, now) = (pending(2, 8), Instant::now());
        while pending.has_room(0, 0, 0) {
            let number = pending.next_number();
            pending.admit(0, "a", now);
            pending.hear(number);
        }
        assert_eq!(pending.count, 4);
        assert!(pending.has_room(1, 0, 0));
        pending.admit(1, "b", now);
        pending.admit(1, "b", now);
        assert!(!pending.has_room(1, 0, 0) && !pending.has_room(0, 0, 0));
        assert_eq!(pending.oldest_at(1).map(|(number, silent)| (number, silent.connection)), Some((4, "b")));
    }

    #[test]
    fn what_is_not_closed_yet_takes_room_of_its_own_socket() {
        let pending = pending(2, 8);
        assert!(pending.has_room(0, 3, 3) && !pending.has_room(0, 4, 4) && pending.has_room(1, 0, 4));
    }

    #[test]
    fn who_speaks_waits_in_turn_and_who_leaves_makes_room() {
        let (mut pending, now) = (pending(2, 4), Instant::now());
        ["a", "b", "c"].into_iter().for_each(|client| pending.admit(0, client, now));
        assert_eq!(pending.hear(2), Some(&"c"));
        assert_eq!(pending.hear(0), Some(&"a"));
        assert_eq!(pending.hear(0), None);
        assert_eq!(pending.ready(), [0]);
        assert_eq!((pending.pop(0), pending.pop(0), pending.pop(0)), (Some("c"), Some("a"), None));
        assert!(pending.is_heard());
        assert_eq!(pending.oldest().map(|(number, silent)| (number, silent.connection)), Some((1, "b")));
        assert!(pending.dismiss(1).is_some() && pending.dismiss(1).is_none());
        assert_eq!((pending.count, pending.oldest_at(0).is_none()), (0, true));
    }
}
