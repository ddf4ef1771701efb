//! The wire, version 1, from its description: bytes of a request, numbers of a reply.

use std::fmt;

/// The first word of every message.
pub(crate) const MAGIC: u32 = 0x534C_4358;

/// The version spoken here.
pub(crate) const VERSION: u32 = 1;

/// The bytes of three little-endian words: magic, version and count of a request.
pub(crate) fn header(magic: u32, version: u32, count: u32) -> Vec<u8> {
    [magic, version, count].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The bytes of a call of these words.
pub(crate) fn frame(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut message = header(MAGIC, VERSION, u32::try_from(words.len()).expect("a test's few words"));
    for word in words {
        let word = word.as_ref();
        message.extend(u32::try_from(word.len()).expect("a test's short word").to_le_bytes());
        message.extend(word);
    }
    message
}

/// A status as it stands on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Status(pub(crate) i32);

impl Status {
    pub(crate) const NO_RULE: Self = Self(-1);
    pub(crate) const PROTO: Self = Self(-2);
    pub(crate) const FDS: Self = Self(-3);
    pub(crate) const SPAWN: Self = Self(-4);
    pub(crate) const AUDIT: Self = Self(-6);
    pub(crate) const TIMEOUT: Self = Self(-7);
    pub(crate) const STOPPING: Self = Self(-10);

    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NO_RULE => "NO_RULE",
            Self::PROTO => "PROTO",
            Self::FDS => "FDS",
            Self::SPAWN => "SPAWN",
            Self::AUDIT => "AUDIT",
            Self::TIMEOUT => "TIMEOUT",
            Self::STOPPING => "STOPPING",
            Self(_) => return None,
        })
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => self.0.fmt(f),
        }
    }
}
