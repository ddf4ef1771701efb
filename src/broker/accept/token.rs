//! The subject of an event of the accept loop, as the 64 bits that epoll_wait(2) hands back.

/// The subject of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventToken {
    /// A signal.
    Signal,
    /// A wakeup by another thread.
    Wake,
    /// The nursery's end.
    Nursery,
    /// A connection in the backlog of this socket.
    Listener(usize),
    /// The first message on this pending connection, by its number.
    Pending(u64),
}

/// The first number for pending connections. Below it are the three variants without data, then the
/// listeners.
const FIRST_PENDING: u64 = 1 << 32;

impl EventToken {
    /// The token as a number.
    pub(in crate::broker) fn encode(self) -> u64 {
        match self {
            Self::Signal => 0,
            Self::Wake => 1,
            Self::Nursery => 2,
            Self::Listener(index) => 3 + index as u64,
            Self::Pending(number) => FIRST_PENDING + number,
        }
    }

    /// The token of a number.
    pub(in crate::broker) fn decode(word: u64) -> Self {
        match word {
            0 => Self::Signal,
            1 => Self::Wake,
            2 => Self::Nursery,
            FIRST_PENDING.. => Self::Pending(word - FIRST_PENDING),
            _ => Self::Listener(usize::try_from(word - 3).expect("as many listeners as descriptors")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_undoes_encode() {
        let tokens = [
            EventToken::Signal,
            EventToken::Wake,
            EventToken::Nursery,
            EventToken::Listener(0),
            EventToken::Listener(999),
        ];
        for token in tokens.into_iter().chain([EventToken::Pending(0), EventToken::Pending(7)]) {
            assert_eq!(EventToken::decode(token.encode()), token);
        }
    }
}
