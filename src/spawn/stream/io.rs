//! What a stream asks of its descriptors, and what it is told about itself.

use std::io;

/// What a stream does to its descriptors. What would wait for somebody else gives `WouldBlock`.
pub(super) trait StreamIo {
    /// From the source to the capture at `at`, within the kernel. 0 is the end. `InvalidInput`: not with
    /// these two.
    fn splice_in(&mut self, at: u64, bytes: usize) -> io::Result<usize>;
    /// From the capture at `at` to the sink, within the kernel. `InvalidInput`: not with these two.
    fn splice_out(&mut self, at: u64, bytes: usize) -> io::Result<usize>;
    /// From the source to the sink, within the kernel. 0 is the end. `InvalidInput`: not with these two.
    fn splice_through(&mut self, bytes: usize) -> io::Result<usize>;
    /// From the source. 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// To the sink.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// To the capture.
    fn keep(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize>;
    /// From the capture.
    fn read_back(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// What becomes of a stream whose capture fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaptureLoss {
    /// It ends: nothing passes that is not on record.
    End,
    /// It goes on without one.
    GoOn,
}

/// Which side of the stream is the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamSide {
    /// It reads.
    In,
    /// It writes.
    Out,
}

/// What a stream can be waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamWaits {
    /// Something to take.
    pub(in crate::spawn) source: bool,
    /// Room to give.
    pub(super) sink: bool,
}
