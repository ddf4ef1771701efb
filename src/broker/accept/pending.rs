//! The connections that no thread works on: silent ones, on which nothing was sent yet, by age; idle ones, on
//! which a request was answered and another may come; and ready ones, by socket, in turn, which wait for a
//! thread. Where there are several sockets, half of the room is shared, and of the other half each socket has
//! a part of its own, so that no socket's callers can take all of it. This file counts and orders;
//! `incoming.rs` watches the connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::limits::SOCKET_IDLE_MAX;

use super::idle::{ConnectionOwner, IdleConnections};

/// All connections that wait.
#[derive(Debug)]
pub(super) struct PendingConnections<C> {
    /// By number, and so by age: the first one is the first to run out of time.
    silent: BTreeMap<u64, SilentConnection<C>>,
    idle: BTreeMap<u64, IdleConnection<C>>,
    queues: Vec<SocketQueue<C>>,
    /// The sockets that have ready connections.
    ready: BTreeSet<usize>,
    next: u64,
    count: usize,
    common: usize,
    share: usize,
}

/// A connection on which nothing was sent yet.
#[derive(Debug)]
pub(super) struct SilentConnection<C> {
    pub(super) connection: C,
    pub(super) socket: usize,
    pub(super) since: Instant,
}

/// A connection on which a request was answered.
#[derive(Debug)]
pub(super) struct IdleConnection<C> {
    pub(super) connection: C,
    socket: usize,
    /// `None` for one that is never closed to make room.
    owner: Option<ConnectionOwner>,
}

/// The connections of one socket.
#[derive(Debug)]
struct SocketQueue<C> {
    silent: BTreeSet<u64>,
    /// Those that may be closed to make room.
    idle: IdleConnections,
    ready: VecDeque<C>,
}

/// The room for one more connection at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Free,
    /// There is room once a silent connection is gone.
    Crowded,
    /// There is room once an idle connection is gone.
    Idle,
    /// There is none, because of connections that are neither.
    Full,
}

/// Connections that are not closed yet, though no thread works on them: they take room too.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClosingCount {
    /// Those of the socket concerned.
    pub(super) here: usize,
    /// Those of all sockets.
    pub(super) all: usize,
}

impl<C> PendingConnections<C> {
    /// An empty set for so many sockets, with room for so many connections in all.
    pub(super) fn new(sockets: usize, room: usize) -> Self {
        let queue = || SocketQueue {
            silent: BTreeSet::new(),
            idle: IdleConnections::default(),
            ready: VecDeque::new(),
        };
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

    /// The room that a socket has for one more connection.
    pub(super) fn room(&self, socket: usize, closing: ClosingCount) -> Room {
        let SocketQueue { silent, idle, ready } = &self.queues[socket];
        let is_free = self.count + closing.all < self.common
            || silent.len() + idle.len() + ready.len() + closing.here < self.share;
        match (is_free, silent.is_empty()) {
            _ if idle.len() >= self.idle_max() => Room::Idle,
            (true, _) => Room::Free,
            (false, false) => Room::Crowded,
            (false, true) if idle.len() > 0 => Room::Idle,
            (false, true) => Room::Full,
        }
    }

    /// The idle connections with which a socket closes one for each that comes: they may stay for ever, so
    /// they must leave room for others.
    fn idle_max(&self) -> usize {
        SOCKET_IDLE_MAX.min(self.common / 2).max(1)
    }

    /// Adds a silent connection, and returns its number.
    pub(super) fn add_silent(&mut self, socket: usize, connection: C, since: Instant) -> u64 {
        let number = self.count_in();
        self.silent.insert(number, SilentConnection { connection, socket, since });
        self.queues[socket].silent.insert(number);
        number
    }

    /// Adds an idle connection, and returns its number. Without an owner it is never closed to make room.
    pub(super) fn add_idle(&mut self, socket: usize, connection: C, owner: Option<ConnectionOwner>) -> u64 {
        let number = self.count_in();
        self.idle.insert(number, IdleConnection { connection, socket, owner });
        owner.into_iter().for_each(|owner| self.queues[socket].idle.add(owner, number));
        number
    }

    /// Adds a ready connection of a socket, the last in turn.
    pub(super) fn add_ready(&mut self, socket: usize, connection: C) {
        self.count += 1;
        self.queues[socket].ready.push_back(connection);
        self.ready.insert(socket);
    }

    fn count_in(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.count += 1;
        number
    }

    /// The silent or idle connection of this number.
    pub(super) fn get(&self, number: u64) -> Option<&C> {
        let silent = self.silent.get(&number).map(|silent| &silent.connection);
        silent.or_else(|| self.idle.get(&number).map(|idle| &idle.connection))
    }

    /// Makes a silent or idle connection a ready one, because a message is there or its caller left. Returns
    /// its socket, if it was silent or idle.
    pub(super) fn hear(&mut self, number: u64) -> Option<usize> {
        let silent = self.take_silent(number).map(|silent| (silent.socket, silent.connection));
        let idle = |idle: IdleConnection<C>| (idle.socket, idle.connection);
        let (socket, connection) = silent.or_else(|| self.take_idle(number).map(idle))?;
        self.add_ready(socket, connection);
        Some(socket)
    }

    /// Takes out a silent connection.
    pub(super) fn take_silent(&mut self, number: u64) -> Option<SilentConnection<C>> {
        let silent = self.silent.remove(&number)?;
        self.queues[silent.socket].silent.remove(&number);
        self.count -= 1;
        Some(silent)
    }

    /// Takes out an idle connection.
    pub(super) fn take_idle(&mut self, number: u64) -> Option<IdleConnection<C>> {
        let idle = self.idle.remove(&number)?;
        idle.owner.into_iter().for_each(|owner| self.queues[idle.socket].idle.remove(owner, number));
        self.count -= 1;
        Some(idle)
    }

    /// Takes out the idle connection of a socket that is the first to go where there are too many.
    pub(super) fn take_first_idle(&mut self, socket: usize, is_there: impl Fn(i32) -> bool) -> Option<C> {
        let number = self.queues[socket].idle.first_to_go(is_there)?;
        self.take_idle(number).map(|idle| idle.connection)
    }

    /// The number of a silent or idle connection, if there is one.
    pub(super) fn first(&self) -> Option<u64> {
        self.silent.first_key_value().map(|(number, _)| *number).or_else(|| self.idle.keys().next().copied())
    }

    /// The connection that has been silent for longest, with its number.
    pub(super) fn oldest(&self) -> Option<(u64, &SilentConnection<C>)> {
        self.silent.first_key_value().map(|(number, silent)| (*number, silent))
    }

    /// The connection of a socket that has been silent for longest, with its number.
    pub(super) fn oldest_at(&self, socket: usize) -> Option<(u64, &SilentConnection<C>)> {
        let number = self.queues[socket].silent.first()?;
        self.silent.get(number).map(|silent| (*number, silent))
    }

    /// The sockets that have ready connections.
    pub(super) fn ready(&self) -> &BTreeSet<usize> {
        &self.ready
    }

    /// Takes out the next ready connection of a socket.
    pub(super) fn pop(&mut self, socket: usize) -> Option<C> {
        let ready = &mut self.queues[socket].ready;
        let connection = ready.pop_front()?;
        if ready.is_empty() {
            self.ready.remove(&socket);
        }
        self.count -= 1;
        Some(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ClosingCount = ClosingCount { here: 0, all: 0 };

    fn pending(sockets: usize, room: usize) -> PendingConnections<&'static str> {
        PendingConnections::new(sockets, room)
    }

    #[test]
    fn one_socket_has_all_the_room() {
        for room in [1, 5] {
            let mut pending = pending(1, room);
            while pending.room(0, NONE) == Room::Free {
                pending.add_silent(0, "a", Instant::now());
            }
            assert_eq!((pending.count, pending.room(0, NONE)), (room, Room::Crowded));
        }
    }

    #[test]
    fn another_socket_keeps_its_share_whoever_is_there() {
        let (mut pending, now) = (pending(2, 8), Instant::now());
        while pending.room(0, NONE) == Room::Free {
            let number = pending.add_silent(0, "a", now);
            pending.hear(number);
        }
        assert_eq!((pending.count, pending.room(0, NONE)), (4, Room::Full));
        assert_eq!(pending.room(1, NONE), Room::Free);
        pending.add_silent(1, "b", now);
        pending.add_silent(1, "b", now);
        assert_eq!((pending.room(1, NONE), pending.room(0, NONE)), (Room::Crowded, Room::Full));
        assert_eq!(pending.oldest_at(1).map(|(number, silent)| (number, silent.connection)), Some((4, "b")));
    }

    #[test]
    fn what_is_not_closed_yet_takes_room_of_its_own_socket() {
        let pending = pending(2, 8);
        let room = |socket, here, all| pending.room(socket, ClosingCount { here, all });
        assert_eq!([room(0, 3, 3), room(0, 4, 4), room(1, 0, 4)], [Room::Free, Room::Full, Room::Free]);
    }

    #[test]
    fn who_speaks_waits_in_turn_and_who_leaves_makes_room() {
        let (mut pending, now) = (pending(2, 4), Instant::now());
        for client in ["a", "b", "c"] {
            pending.add_silent(0, client, now);
        }
        assert_eq!((pending.hear(2), pending.hear(0), pending.hear(0)), (Some(0), Some(0), None));
        assert_eq!(pending.ready().iter().collect::<Vec<_>>(), [&0]);
        assert_eq!((pending.pop(0), pending.pop(0), pending.pop(0)), (Some("c"), Some("a"), None));
        assert!(pending.ready().is_empty());
        assert_eq!(pending.oldest().map(|(number, silent)| (number, silent.connection)), Some((1, "b")));
        assert!(pending.take_silent(1).is_some() && pending.take_silent(1).is_none());
        assert_eq!((pending.count, pending.oldest_at(0).is_none()), (0, true));
    }

    const OWNER: Option<ConnectionOwner> = Some(ConnectionOwner { user: 1, process: 2 });

    #[test]
    fn idle_connections_are_never_the_oldest_and_leave_half_of_the_room() {
        let mut pending = pending(1, 6);
        let numbers: Vec<_> =
            ["a", "b", "c"].into_iter().map(|idle| pending.add_idle(0, idle, OWNER)).collect();
        assert_eq!((pending.room(0, NONE), pending.oldest().is_none()), (Room::Idle, true));
        pending.add_silent(0, "d", Instant::now());
        assert_eq!(pending.room(0, NONE), Room::Idle, "a silent connection that left would be no help");
        assert_eq!(pending.hear(numbers[1]), Some(0));
        assert_eq!((pending.room(0, NONE), pending.pop(0)), (Room::Free, Some("b")));
        while let Some(number) = pending.first() {
            pending.hear(number);
        }
        let all: Vec<_> = std::iter::from_fn(|| pending.pop(0)).collect();
        assert_eq!((all, pending.count), (vec!["d", "a", "c"], 0));
    }

    #[test]
    fn idle_connections_make_room_one_after_the_other() {
        let mut pending = pending(2, 8);
        for idle in ["door", "a", "b", "c"] {
            pending.add_idle(0, idle, OWNER.filter(|_| idle != "door"));
        }
        assert_eq!(pending.room(0, NONE), Room::Idle, "more than half");
        assert_eq!(
            (pending.take_first_idle(0, |_| true), pending.take_first_idle(0, |_| true)),
            (Some("a"), Some("b"))
        );
        assert_eq!((pending.count, pending.room(0, NONE)), (2, Room::Free));
        (0..2).for_each(|_| pending.add_ready(1, "d"));
        (0..2).for_each(|_| pending.add_ready(0, "d"));
        assert_eq!(pending.room(0, NONE), Room::Idle, "nobody is silent");
        pending.add_silent(0, "e", Instant::now());
        assert_eq!(pending.room(0, NONE), Room::Crowded);
        assert_eq!(
            (pending.take_first_idle(0, |_| true), pending.take_first_idle(0, |_| true)),
            (Some("c"), None)
        );
    }
}
