//! The broker's frames on a call's reply pipe.
//!
//! Shape: `u32 kind`, `u32 length`, and a payload of that many bytes, all little-endian. A reader leaves out
//! frames of kinds that it does not know.

use crate::limits::FRAME_BYTES_MAX;
use crate::wire::reader::{Malformed, MessageReader};
use crate::wire::status::Status;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The call waits for its place, because so many calls of its rule, or of its socket, run. Sent once,
    /// after a second.
    Queued {
        /// The limit that is full: calls at once.
        limit: u32,
    },
    /// The command is about to run: the number of its call in the records.
    Started {
        /// The number.
        call: u64,
    },
    /// The call is over. Nothing follows.
    Done(CallEnd),
    /// The request was refused, or its command could not be started. Nothing follows.
    Refused {
        /// The reason, as a status of the broker's own.
        status: Status,
        /// The reason, for a person.
        reason: String,
    },
    /// The listing, in the format that was asked for. Nothing follows.
    Listing(String),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallEnd {
    /// The command's exit status, 128 + signal, or a status of the broker's own.
    pub status: Status,
    /// The signal that ended the command.
    pub signal: Option<i32>,
    /// What else happened to the call.
    pub flags: EndFlags,
    /// How long the call ran, in microseconds.
    pub microseconds: u64,
}

impl CallEnd {
    /// The end of a command that ran, and of whose end nothing else is known.
    pub fn unseen(status: Status) -> Self {
        Self { status, signal: None, flags: EndFlags::default(), microseconds: 0 }
    }
}

/// What happened to a call that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndFlags(u32);

impl EndFlags {
    /// The rule's timeout ended it.
    pub const TIMED_OUT: Self = Self(1);
    /// A capture of it is not complete.
    pub const TRUNCATED: Self = Self(2);
    /// The kernel killed a process of it, for want of memory.
    pub const OUT_OF_MEMORY: Self = Self(4);
    /// Its caller went away.
    pub const HUNG_UP: Self = Self(8);

    /// These flags and `flag`, where `is_set`.
    #[must_use]
    pub fn with(self, flag: Self, is_set: bool) -> Self {
        if is_set { Self(self.0 | flag.0) } else { self }
    }

    /// Whether `flag` is set.
    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }

    /// The number on the wire.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Frame {
    /// The bytes of this frame. Text over [`FRAME_BYTES_MAX`] is cut.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Queued { limit } => framed(QUEUED, &[&limit.to_le_bytes()]),
            Self::Started { call } => framed(STARTED, &[&call.to_le_bytes()]),
            Self::Done(CallEnd { status, signal, flags, microseconds }) => framed(
                DONE,
                &[
                    &status.get().to_le_bytes(),
                    &signal.unwrap_or_default().to_le_bytes(),
                    &flags.0.to_le_bytes(),
                    &microseconds.to_le_bytes(),
                ],
            ),
            Self::Refused { status, reason } => {
                framed(REFUSED, &[&status.get().to_le_bytes(), cut(reason).as_bytes()])
            }
            Self::Listing(text) => framed(LISTING, &[cut(text).as_bytes()]),
        }
    }

    /// A frame from its kind and its whole payload; `None` for a kind that is not known.
    fn decode(kind: u32, payload: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = MessageReader::new(payload);
        let frame = match kind {
            QUEUED => Self::Queued { limit: reader.u32()? },
            STARTED => Self::Started { call: reader.u64()? },
            DONE => Self::Done(CallEnd {
                status: Status::from_wire(reader.i32()?),
                signal: Some(reader.i32()?).filter(|&signal| signal != 0),
                flags: EndFlags(reader.u32()?),
                microseconds: reader.u64()?,
            }),
            REFUSED => {
                let status = Status::from_wire(reader.i32()?);
                return Ok(Some(Self::Refused { status, reason: text(reader.rest())? }));
            }
            LISTING => return Ok(Some(Self::Listing(text(payload)?))),
            _ => return Ok(None),
        };
        reader.end()?;
        Ok(Some(frame))
    }
}

/// Puts frames together from the bytes that come out of a reply pipe, in whatever pieces.
#[derive(Debug, Default)]
pub struct FrameReader(Vec<u8>);

impl FrameReader {
    /// A reader without bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes in the order in which they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole frame of a known kind; `None` while more bytes are needed. Errors: what came is not a
    /// frame, or longer than [`FRAME_BYTES_MAX`]; nothing after it can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        while let Some((kind, length, rest)) = head(&self.0) {
            let bytes = usize::try_from(length).ok().filter(|&bytes| bytes <= FRAME_BYTES_MAX);
            let bytes = bytes.ok_or(Malformed::LongFrame(kind, length))?;
            let Some(payload) = rest.get(..bytes) else { return Ok(None) };
            let frame = Frame::decode(kind, payload)?;
            self.0.drain(..8 + bytes);
            if frame.is_some() {
                return Ok(frame);
            }
        }
        Ok(None)
    }
}

/// The kind and the length of the frame at the beginning of these bytes, and the bytes after them.
fn head(bytes: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (kind, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    Some((u32::from_le_bytes(*kind), u32::from_le_bytes(*length), rest))
}

fn framed(kind: u32, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(8 + length);
    frame.extend_from_slice(&kind.to_le_bytes());
    frame.extend_from_slice(&u32::try_from(length).expect("a payload is bounded").to_le_bytes());
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

/// A text that fits into one frame.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(FRAME_BYTES_MAX - 4)]
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::NotUtf8)
}

const STARTED: u32 = 16;
const DONE: u32 = 17;
const REFUSED: u32 = 18;
const LISTING: u32 = 19;
const QUEUED: u32 = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(frame: &Frame, want: &[u8]) {
        assert_eq!(frame.encode(), want);
        let mut reader = FrameReader::new();
        for byte in want {
            assert_eq!(reader.next_frame(), Ok(None));
            reader.push(&[*byte]);
        }
        assert_eq!(reader.next_frame().as_ref(), Ok(&Some(frame.clone())));
        assert_eq!(reader.next_frame(), Ok(None));
    }

    #[test]
    fn frames_are_read_as_they_were_written_in_whatever_pieces() {
        check(&Frame::Queued { limit: 64 }, b"\x14\0\0\0\x04\0\0\0\x40\0\0\0");
        check(&Frame::Started { call: 7 }, b"\x10\0\0\0\x08\0\0\0\x07\0\0\0\0\0\0\0");
        let flags = EndFlags::default().with(EndFlags::TIMED_OUT, true).with(EndFlags::HUNG_UP, true);
        let end = CallEnd { status: Status::TIMEOUT, signal: Some(15), flags, microseconds: 1000 };
        let want = b"\x11\0\0\0\x14\0\0\0\xf9\xff\xff\xff\x0f\0\0\0\x09\0\0\0\xe8\x03\0\0\0\0\0\0";
        check(&Frame::Done(end), want);
        let refused = Frame::Refused { status: Status::NO_RULE, reason: "no".into() };
        check(&refused, b"\x12\0\0\0\x06\0\0\0\xff\xff\xff\xffno");
        check(&Frame::Listing("true\n".into()), b"\x13\0\0\0\x05\0\0\0true\n");
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_an_unknown_kind_is_left_out() {
        let read = |bytes: &[u8]| {
            let mut reader = FrameReader::new();
            reader.push(bytes);
            reader.next_frame()
        };
        assert_eq!(read(b"\x10\0\0\0\x07\0\0\0\x07\0\0\0\0\0\0"), Err(Malformed::Truncated));
        assert_eq!(read(b"\x14\0\0\0\x05\0\0\0\x07\0\0\0\0"), Err(Malformed::Trailing(1)));
        assert_eq!(read(b"\x13\0\0\0\x01\0\0\0\xff"), Err(Malformed::NotUtf8));
        assert_eq!(read(b"\x13\0\0\0\xff\xff\xff\xff"), Err(Malformed::LongFrame(19, u32::MAX)));
        let known = Frame::Started { call: 1 };
        let unknown = framed(99, &[b"whatever"]);
        assert_eq!(read(&[&unknown[..], &known.encode()].concat()), Ok(Some(known)));
    }

    #[test]
    fn a_text_over_the_limit_is_cut_between_characters() {
        let long = "\u{e9}".repeat(FRAME_BYTES_MAX);
        let frame = Frame::Refused { status: Status::NO_RULE, reason: long }.encode();
        assert!(frame.len() <= 8 + FRAME_BYTES_MAX);
        let mut reader = FrameReader::new();
        reader.push(&frame);
        assert!(matches!(reader.next_frame(), Ok(Some(Frame::Refused { .. }))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = FrameReader::new();
            reader.push(&bytes);
            while let Ok(Some(frame)) = reader.next_frame() {
                let mut again = FrameReader::new();
                again.push(&frame.encode());
                prop_assert_eq!(again.next_frame(), Ok(Some(frame)));
            }
        }
    }
}
