//! The buffer of a stream. It knows which part of the capture it still holds, so that bytes which the sink
//! takes at once are not read back from the file.

use std::ops::Range;

use crate::limits::RELAY_BUFFER_BYTES;

/// The buffer, and the part of the capture that it holds.
#[derive(Debug, Default)]
pub(super) struct StreamWindow {
    bytes: Vec<u8>,
    /// The range of the capture that the first bytes are a copy of; empty if they are not.
    held: Range<u64>,
}

impl StreamWindow {
    /// Room for new bytes, at most `bytes`; what the buffer held is forgotten.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        self.held = 0..0;
        // Zeroes the buffer the first time; later its length stays.
        self.bytes.resize(RELAY_BUFFER_BYTES, 0);
        &mut self.bytes[..bytes.min(RELAY_BUFFER_BYTES)]
    }

    /// A part of the bytes that the room was filled with.
    pub(super) fn filled(&self, part: Range<usize>) -> &[u8] {
        &self.bytes[part]
    }

    /// Notes that the buffer's first bytes are the range `held` of the capture.
    pub(super) fn hold(&mut self, held: Range<u64>) {
        self.held = held;
    }

    /// The bytes of the capture from `at` on, as far as the buffer holds them; `None` if it does not hold
    /// `at`.
    pub(super) fn from(&self, at: u64) -> Option<&[u8]> {
        let index = |at: u64| usize::try_from(at - self.held.start).ok();
        let has = self.held.contains(&at);
        has.then(|| Some(&self.bytes[index(at)?..index(self.held.end)?])).flatten()
    }
}
