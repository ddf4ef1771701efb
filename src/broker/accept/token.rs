//! What an event of the accept loop is about, as a word that the kernel hands back.

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventToken {
    /// A signal.
    Signal,
    /// A thread that wants the loop to look around.
    Wake,
    /// The nursery's end.
    Nursery,
    /// A connection at this socket.
    Listener(usize),
    /// This visitor's first word.
    Pending(u64),
}

/// Words below this are not visitors: the three above, then the listeners.
const FIRST_VISITOR: u64 = 1 << 32;

impl EventToken {
    /// The word.
    pub(in crate::broker) fn encode(self) -> u64 {
        match self {
            Self::Signal => 0,
            Self::Wake => 1,
            Self::Nursery => 2,
            Self::Listener(index) => 3 + index as u64,
            Self::Pending(number) => FIRST_VISITOR + number,
        }
    }

    /// What a word means.
    pub(in crate::broker) fn decode(word: u64) -> Self {
        match word {
            0 => Self::Signal,
            1 => Self::Wake,
            2 => Self::Nursery,
            FIRST_VISITOR.. => Self::Pending(word - FIRST_VISITOR),
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
