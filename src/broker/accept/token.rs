//! The subject of an event of an epoll, as the 64 bits that epoll_wait(2) hands back.

/// The subject of an event at the epoll of the call threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IncomingEvent {
    /// Work that a thread could not do when it came.
    Work,
    /// A connection in the backlog of this socket.
    Listener(usize),
    /// A message on this connection, by its number, or its caller's departure.
    Connection(u64),
    /// The departure of a caller whose call waits for its place at this socket.
    Departure(usize),
}

/// The subject of an event at the main thread's epoll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MainEvent {
    /// A signal.
    Signal,
    /// A wakeup by another thread.
    Wake,
    /// The nursery's end.
    Nursery,
    /// An event for a call thread, and no thread is idle.
    Incoming,
}

/// The first number for connections. Below it are the listeners, behind the variant without data, and from
/// [`FIRST_DEPARTURE`] on the departures.
const FIRST_CONNECTION: u64 = 1 << 32;
const FIRST_DEPARTURE: u64 = 1 << 31;

impl IncomingEvent {
    /// The event as a number.
    pub(super) fn encode(self) -> u64 {
        match self {
            Self::Work => 0,
            Self::Listener(index) => 1 + index as u64,
            Self::Connection(number) => FIRST_CONNECTION + number,
            Self::Departure(index) => FIRST_DEPARTURE + index as u64,
        }
    }

    /// The event of a number.
    pub(super) fn decode(word: u64) -> Self {
        match word {
            0 => Self::Work,
            FIRST_CONNECTION.. => Self::Connection(word - FIRST_CONNECTION),
            FIRST_DEPARTURE.. => Self::Departure(index(word - FIRST_DEPARTURE)),
            _ => Self::Listener(index(word - 1)),
        }
    }
}

fn index(word: u64) -> usize {
    usize::try_from(word).expect("as many listeners as descriptors")
}

impl MainEvent {
    /// The event as a number.
    pub(super) fn encode(self) -> u64 {
        self as u64
    }

    /// The event of a number.
    pub(super) fn decode(word: u64) -> Self {
        match word {
            0 => Self::Signal,
            1 => Self::Wake,
            2 => Self::Nursery,
            _ => Self::Incoming,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_undoes_encode() {
        let events = [IncomingEvent::Work, IncomingEvent::Listener(0), IncomingEvent::Listener(999)];
        let numbered = [IncomingEvent::Connection(0), IncomingEvent::Connection(7)];
        let departures = [IncomingEvent::Departure(0), IncomingEvent::Departure(999)];
        for event in events.into_iter().chain(numbered).chain(departures) {
            assert_eq!(IncomingEvent::decode(event.encode()), event);
        }
        for event in [MainEvent::Signal, MainEvent::Wake, MainEvent::Nursery, MainEvent::Incoming] {
            assert_eq!(MainEvent::decode(event.encode()), event);
        }
    }
}
