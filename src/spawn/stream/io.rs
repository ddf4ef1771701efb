//! The interface between a stream's state (`transfer.rs`) and its descriptors (`fds.rs`).

use std::io;

/// The operations of a stream on its descriptors. An operation that would block gives `WouldBlock`.
pub(super) trait StreamIo {
    /// Moves bytes from the source to the capture at `at`, within the kernel. 0 is the end. `InvalidInput`:
    /// splice(2) cannot join these two.
    fn splice_in(&mut self, at: u64, bytes: usize) -> io::Result<usize>;
    /// Moves bytes from the capture at `at` to the sink, within the kernel. `InvalidInput`: splice(2) cannot
    /// join these two.
    fn splice_out(&mut self, at: u64, bytes: usize) -> io::Result<usize>;
    /// Moves bytes from the source to the sink, within the kernel. 0 is the end. `InvalidInput`: splice(2)
    /// cannot join these two.
    fn splice_through(&mut self, bytes: usize) -> io::Result<usize>;
    /// Reads from the source. 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes to the sink.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Writes to the capture.
    fn keep(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Reads from the capture.
    fn read_back(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// What to do with a stream whose capture fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaptureLoss {
    /// The stream ends: no byte passes that is not in the capture.
    End,
    /// The stream goes on without a capture.
    GoOn,
}

/// The command's side of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamSide {
    /// The command reads the stream.
    In,
    /// The command writes the stream.
    Out,
}

/// The events for which a stream's ends are polled, or that they had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamWaits {
    /// The source has bytes.
    pub(in crate::spawn) source: bool,
    /// The sink has room.
    pub(super) sink: bool,
}
