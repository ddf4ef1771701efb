//! A bounded cursor over one message. Every read asks for a number of bytes, and gives as many or an error.

use std::fmt;

use super::header::MAGIC;

/// Why bytes are not a message. The caller is answered `PROTO`; the record says which variant it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The message ends before the field does.
    Truncated,
    /// Bytes are left after the last field.
    Trailing(usize),
    /// The first word is not the magic.
    Magic(u32),
    /// The second word is not a version of this protocol, or not the one of this connection.
    Version(u32),
    /// The third word is no kind of request (version 2).
    RequestKind(u32),
    /// The format of a listing is none (version 2).
    ListFormat(u32),
    /// A call without a word (version 2).
    NoWords,
    /// A frame that is longer than its kind allows (version 2): its kind and length.
    LongFrame(u32, u32),
    /// More words than allowed.
    TooManyWords(u32),
    /// A word longer than allowed.
    LongWord(u32),
    /// A word that is not UTF-8.
    NotUtf8,
    /// A word with a NUL byte in it.
    Nul,
    /// A message over the limit: its bytes.
    TooLarge(usize),
    /// A text longer than allowed.
    LongText(u32),
    /// A text that is not one line without control characters.
    Control,
    /// A second request on a connection that carries one.
    Second,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "truncated message"),
            Self::Trailing(bytes) => write!(f, "{bytes} bytes after the end of the message"),
            Self::Magic(word) => write!(f, "magic {word:#010x}"),
            Self::Version(version) => write!(f, "version {version}"),
            Self::RequestKind(kind) => write!(f, "a request of kind {kind}"),
            Self::ListFormat(format) => write!(f, "a listing in format {format}"),
            Self::NoWords => write!(f, "a call without a word"),
            Self::LongFrame(kind, bytes) => write!(f, "a frame of kind {kind} with {bytes} bytes"),
            Self::TooManyWords(count) => write!(f, "{count} words"),
            Self::LongWord(bytes) => write!(f, "a word of {bytes} bytes"),
            Self::NotUtf8 => write!(f, "a word that is not UTF-8"),
            Self::Nul => write!(f, "a word with a NUL byte"),
            Self::TooLarge(bytes) => write!(f, "a message of {bytes} bytes"),
            Self::LongText(bytes) => write!(f, "a text of {bytes} bytes"),
            Self::Control => write!(f, "a text with a control character"),
            Self::Second => write!(f, "a second request on the connection"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The version that a message names, whatever else is in it; `None` where its first word is not the magic, or
/// a word is missing.
pub fn version_of(message: &[u8]) -> Option<u32> {
    let mut reader = MessageReader::new(message);
    let magic = reader.u32().ok()?;
    reader.u32().ok().filter(|_| magic == MAGIC)
}

/// The unread bytes of one message.
#[derive(Debug)]
pub struct MessageReader<'a>(&'a [u8]);

impl<'a> MessageReader<'a> {
    /// A reader over a whole message.
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next little-endian `u32`.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*head))
    }

    /// The next little-endian `u64`.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*head))
    }

    /// The next little-endian `i32`.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(i32::from_le_bytes(*head))
    }

    /// Reads the magic and the version, which have to be those of this `version`.
    pub fn header(&mut self, version: u32) -> Result<(), Malformed> {
        let magic = self.u32()?;
        if magic != MAGIC {
            return Err(Malformed::Magic(magic));
        }
        let found = self.u32()?;
        if found == version { Ok(()) } else { Err(Malformed::Version(found)) }
    }

    /// The unread bytes.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that no byte is left.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing(self.0.len())) }
    }
}
