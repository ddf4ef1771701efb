//! The buffer of a stream, which knows what of the capture it still has: what the sink takes at once is not
//! read back.

use std::ops::Range;

use crate::limits::RELAY_BUFFER_BYTES;

/// Bytes on their way.
#[derive(Debug, Default)]
pub(super) struct StreamWindow {
    bytes: Vec<u8>,
    /// Where in the capture the first of them are.
    held: Range<u64>,
}

impl StreamWindow {
    /// Room for something else, at most `bytes` of it.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        self.held = 0..0;
        // Zeroed once.
        self.bytes.resize(RELAY_BUFFER_BYTES, 0);
        &mut self.bytes[..bytes.min(RELAY_BUFFER_BYTES)]
    }

    /// What the room was filled with.
    pub(super) fn filled(&self, part: Range<usize>) -> &[u8] {
        &self.bytes[part]
    }

    /// The first bytes of it are in the capture too, there.
    pub(super) fn hold(&mut self, held: Range<u64>) {
        self.held = held;
    }

    /// What it has of the capture from there on, where it has that.
    pub(super) fn from(&self, at: u64) -> Option<&[u8]> {
        let index = |at: u64| usize::try_from(at - self.held.start).ok();
        let has = self.held.contains(&at);
        has.then(|| Some(&self.bytes[index(at)?..index(self.held.end)?])).flatten()
    }
}
