//! The state of one stream: its bytes go from its source to its capture, and from the capture to its sink.
//! Decides the next step; the descriptors are in `fds.rs`. Never blocks.
//!
//! The capture is the buffer: bytes are in its file before the sink gets them, and are read back from there
//! unless the relay still has them in memory of its own. So the file has at least the bytes that the reader
//! saw, and no byte can be changed in between (the writer of a pipe can still change a page that is spliced
//! from the pipe to two places). Bytes that no capture takes go straight on, from pipe to pipe or through a
//! buffer in memory.

use std::io;

use crate::limits::{RELAY_AHEAD_MAX, RELAY_PIPE_BYTES};

use super::io::{CaptureLoss, StreamIo, StreamSide, StreamWaits};

use window::StreamWindow;

#[cfg(test)]
mod tests;
mod window;

/// Most bytes of one splice: the size of a pipe of the relay's.
const SPLICE_BYTES: usize = RELAY_PIPE_BYTES.unsigned_abs() as usize;

/// The state of one stream.
#[derive(Debug)]
pub(super) struct CallStream<E> {
    pub(super) ends: E,
    way: StreamSide,
    on_loss: CaptureLoss,
    capture: Option<CaptureProgress>,
    window: StreamWindow,
    /// Bytes that were taken from the source, are in no capture, and were not given to the sink yet.
    rest: Vec<u8>,
    is_ended: bool,
    is_unread: bool,
    /// Whether, by the last poll, the source has bytes to take.
    source_is_ready: bool,
    source_is_dry: bool,
    splices: SpliceTries,
    ahead_max: u64,
}

/// Which ways are still tried with splice(2) before a read and a write.
#[derive(Clone, Copy, Debug)]
struct SpliceTries {
    into: bool,
    out: bool,
    through: bool,
}

/// The progress of a capture.
#[derive(Debug)]
struct CaptureProgress {
    /// Bytes in it.
    kept: u64,
    /// Bytes of it that the sink has.
    given: u64,
    /// Most bytes that it may have.
    max: u64,
    /// Whether bytes went past it to the sink.
    is_passed: bool,
    loss: Option<io::Error>,
}

impl CaptureProgress {
    fn is_open(&self) -> bool {
        self.loss.is_none() && self.kept < self.max
    }

    fn ahead(&self) -> u64 {
        self.kept - self.given
    }
}

impl<E: StreamIo> CallStream<E> {
    /// A stream whose ends are open; `capture_max` is the most that is captured, `None` where there is no
    /// capture.
    pub(in crate::spawn) fn new(
        ends: E,
        way: StreamSide,
        capture_max: Option<u64>,
        on_loss: CaptureLoss,
    ) -> Self {
        let capture =
            capture_max.map(|max| CaptureProgress { kept: 0, given: 0, max, is_passed: false, loss: None });
        Self {
            ends,
            way,
            on_loss,
            capture,
            window: StreamWindow::default(),
            rest: Vec::new(),
            is_ended: false,
            is_unread: false,
            source_is_ready: false,
            source_is_dry: false,
            splices: SpliceTries { into: true, out: true, through: true },
            ahead_max: RELAY_AHEAD_MAX,
        }
    }

    /// The events to poll for.
    pub(super) fn wants(&self) -> StreamWaits {
        if self.is_over() {
            return StreamWaits::default();
        }
        if self.has_waiting() {
            return StreamWaits { source: !self.is_ended && self.room() > 0, sink: true };
        }
        let passes = self.room() == 0 && self.splices.through && self.source_is_ready;
        StreamWaits { source: !passes, sink: passes }
    }

    /// Takes in the events of the last poll.
    pub(super) fn note_ready(&mut self, wanted: StreamWaits, ready: StreamWaits) {
        // Bytes that pass without a capture need both ends ready, and these are polled one after the other:
        // so the source counts as ready until the sink was ready too.
        self.source_is_ready = ready.source || (self.source_is_ready && !ready.sink);
        self.source_is_dry = wanted.source && !ready.source;
    }

    /// Notes that the sink has no reader any more. The source is closed then, which tells the writer.
    pub(super) fn lose_sink(&mut self) {
        self.is_unread = true;
        if self.way == StreamSide::Out {
            self.salvage();
        }
        self.is_ended = true;
    }

    /// Takes no more bytes from the source; those that were taken are still given to the sink.
    pub(super) fn lose_source(&mut self) {
        self.is_ended = true;
    }

    /// Lifts the limit on how far the capture may be ahead of the reader, because the call ends.
    pub(in crate::spawn) fn hurry(&mut self) {
        self.ahead_max = u64::MAX;
    }

    /// Whether nothing is left to do.
    pub(in crate::spawn) fn is_over(&self) -> bool {
        self.is_ended && (self.is_unread || !self.has_waiting())
    }

    /// Whether, by the last poll, all bytes that the command wrote have been given to the sink.
    pub(in crate::spawn) fn is_calm(&self) -> bool {
        self.is_over() || self.way == StreamSide::In || (self.source_is_dry && !self.has_waiting())
    }

    /// The command's side of the stream.
    pub(super) fn way(&self) -> StreamSide {
        self.way
    }

    /// Whether no more bytes are taken from the source.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether its capture failed, where no byte may pass that is not in the capture.
    pub(in crate::spawn) fn is_lost(&self) -> bool {
        self.on_loss == CaptureLoss::End && self.loss().is_some()
    }

    /// Whether the sink is gone.
    pub(super) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// Bytes in the capture, where there is one.
    pub(in crate::spawn) fn kept(&self) -> Option<u64> {
        self.capture.as_ref().map(|capture| capture.kept)
    }

    /// Bytes of the capture that the sink was given.
    pub(in crate::spawn) fn given(&self) -> u64 {
        self.capture.as_ref().map_or(0, |capture| capture.given)
    }

    /// Whether the capture lacks bytes of the stream.
    pub(super) fn is_truncated(&self) -> bool {
        self.capture.as_ref().is_some_and(|capture| capture.is_passed || capture.loss.is_some())
    }

    /// The error that made the capture fail.
    pub(super) fn loss(&self) -> Option<&io::Error> {
        self.capture.as_ref().and_then(|capture| capture.loss.as_ref())
    }

    fn has_waiting(&self) -> bool {
        !self.rest.is_empty() || self.capture.as_ref().is_some_and(|capture| capture.ahead() > 0)
    }

    /// Bytes that may be captured now.
    fn room(&self) -> u64 {
        let open = self.capture.as_ref().filter(|capture| capture.is_open() && self.rest.is_empty());
        open.map_or(0, |capture| {
            (capture.max - capture.kept).min(self.ahead_max.saturating_sub(capture.ahead()))
        })
    }

    /// Takes the bytes that can be taken now. Gives whether there were any.
    pub(in crate::spawn) fn take(&mut self) -> bool {
        if self.is_ended {
            return false;
        }
        match self.room() {
            0 if self.has_waiting() => false,
            0 => self.pass_on(),
            room => self.capture(room),
        }
    }

    /// Evaluates a read of the source: the number of bytes; `None` at its end, or if it has no bytes now.
    fn settle(&mut self, taken: io::Result<usize>) -> Option<usize> {
        match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(bytes) if bytes > 0 => Some(bytes),
            // An error (a terminal that hung up, a connection that was reset) is taken for the end.
            Ok(_) | Err(_) => {
                self.is_ended = true;
                None
            }
        }
    }

    fn capture(&mut self, room: u64) -> bool {
        let Some(at) = self.kept() else { return false };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if self.splices.into {
            match self.ends.splice_in(at, room.min(SPLICE_BYTES)) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.splices.into = false,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    self.fail(error);
                    return false;
                }
                taken => {
                    let taken = self.settle(taken);
                    self.note_kept(taken.unwrap_or(0));
                    return taken.is_some();
                }
            }
        }
        let Some(bytes) = self.fill(room) else { return false };
        self.keep_filled(bytes);
        self.window.hold(at..self.kept().unwrap_or(at));
        true
    }

    /// Reads from the source into the buffer.
    fn fill(&mut self, bytes: usize) -> Option<usize> {
        let taken = self.ends.read(self.window.room(bytes));
        self.settle(taken)
    }

    /// Writes the buffer's bytes to the capture; those that it does not take go to `rest`, for the sink.
    fn keep_filled(&mut self, bytes: usize) {
        let mut done = 0;
        while done < bytes {
            let at = self.kept().unwrap_or(0);
            match self.ends.keep(at, self.window.filled(done..bytes)) {
                Ok(0) => self.fail(io::ErrorKind::WriteZero.into()),
                Ok(kept) => {
                    self.note_kept(kept);
                    done += kept;
                    continue;
                }
                Err(error) => self.fail(error),
            }
            if self.on_loss == CaptureLoss::GoOn {
                self.rest.extend_from_slice(self.window.filled(done..bytes));
            }
            return;
        }
    }

    fn note_kept(&mut self, bytes: usize) {
        if let Some(capture) = &mut self.capture {
            capture.kept += bytes as u64;
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.is_ended |= self.on_loss == CaptureLoss::End;
        if let Some(capture) = &mut self.capture {
            capture.loss = Some(error);
        }
    }

    /// Moves bytes from the source to the sink, past the capture.
    fn pass_on(&mut self) -> bool {
        if self.splices.through {
            match self.ends.splice_through(SPLICE_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.lose_sink();
                    return false;
                }
                // Any other error: a read and a write show which side has it.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.splices.through = false,
                taken => {
                    let taken = self.settle(taken);
                    self.note_passed(taken.is_some());
                    return taken.is_some();
                }
            }
        }
        let Some(bytes) = self.fill(usize::MAX) else { return false };
        self.note_passed(true);
        self.rest.extend_from_slice(self.window.filled(0..bytes));
        true
    }

    fn note_passed(&mut self, passed: bool) {
        if let Some(capture) = &mut self.capture {
            capture.is_passed |= passed;
        }
    }

    /// Writes the bytes to the sink that can be written now. Returns whether there were any.
    pub(in crate::spawn) fn give(&mut self) -> bool {
        if self.is_unread {
            return false;
        }
        match self.capture.as_ref().map(|capture| (capture.given, capture.ahead())) {
            Some((given, ahead)) if ahead > 0 => self.give_kept(given, ahead),
            Some(_) | None => self.give_rest(),
        }
    }

    fn give_kept(&mut self, given: u64, ahead: u64) -> bool {
        let ahead = usize::try_from(ahead).unwrap_or(usize::MAX);
        if self.splices.out {
            match self.ends.splice_out(given, ahead.min(SPLICE_BYTES)) {
                Ok(bytes) if bytes > 0 => return self.note_given(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // Any other error: a read and a write show which side has it.
                Ok(_) | Err(_) => self.splices.out = false,
            }
        }
        if self.window.from(given).is_none()
            && let Err(error) = self.read_back(given, ahead)
        {
            return self.fail_back(error);
        }
        match self.ends.write(self.window.from(given).unwrap_or_default()) {
            Ok(bytes) => self.note_given(bytes),
            Err(error) => self.is_refused(&error),
        }
    }

    /// Reads from the capture into the buffer, at least one byte.
    fn read_back(&mut self, at: u64, bytes: usize) -> io::Result<()> {
        let bytes = self.ends.read_back(at, self.window.room(bytes))?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.window.hold(at..at + bytes as u64);
        Ok(())
    }

    /// The capture cannot be read back: the bytes for the reader are lost, so the stream ends.
    fn fail_back(&mut self, error: io::Error) -> bool {
        self.fail(error);
        self.lose_sink();
        false
    }

    fn note_given(&mut self, bytes: usize) -> bool {
        if let Some(capture) = &mut self.capture {
            capture.given += bytes as u64;
        }
        bytes > 0
    }

    fn give_rest(&mut self) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        match self.ends.write(&self.rest) {
            Ok(bytes) => {
                self.rest.drain(..bytes);
                bytes > 0
            }
            Err(error) => self.is_refused(&error),
        }
    }

    fn is_refused(&mut self, error: &io::Error) -> bool {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.lose_sink();
        }
        false
    }

    /// Captures the bytes that the writer wrote before it could notice that the reader is gone: at most as
    /// many as a pipe holds.
    fn salvage(&mut self) {
        self.hurry();
        let mut left = u64::try_from(RELAY_PIPE_BYTES).unwrap_or(0);
        while !self.is_ended && left > 0 {
            let (before, room) = (self.kept(), self.room().min(left));
            if room == 0 || !self.capture(room) {
                return;
            }
            left = left.saturating_sub(self.kept().unwrap_or(0) - before.unwrap_or(0));
        }
    }
}
