//! One stream on its way through the broker: from its source to its capture, and from there to its sink. Knows what
//! has to happen next and nothing of descriptors, which `descriptors.rs` has; never waits.
//!
//! The capture is the buffer: what the sink is given is read back from the file. So the file has at least what the
//! reader saw, and nobody can change a byte in between (a page that is spliced from a pipe to two places is still its
//! writer's to change). What no capture takes goes straight on, from pipe to pipe or through a buffer.

use std::io;

use crate::limits::{RELAY_AHEAD_MAX, RELAY_BUFFER_BYTES, RELAY_PIPE_BYTES};

use super::ends::{Ends, OnLoss, Wants, Way};

#[cfg(test)]
mod tests;

/// Most bytes of one splice: what a pipe of ours holds.
const SPLICE_BYTES: usize = RELAY_PIPE_BYTES.unsigned_abs() as usize;

/// One stream.
#[derive(Debug)]
pub(super) struct Stream<E> {
    pub(super) ends: E,
    way: Way,
    on_loss: OnLoss,
    capture: Option<Capture>,
    buffer: Vec<u8>,
    /// Taken, in no capture, and not given yet.
    rest: Vec<u8>,
    is_ended: bool,
    is_unread: bool,
    /// As of the last look: something is there to take, or nothing is.
    source_is_ready: bool,
    source_is_dry: bool,
    splices: Splices,
    ahead_max: u64,
}

/// What is tried in the kernel first.
#[derive(Clone, Copy, Debug)]
struct Splices {
    into: bool,
    out: bool,
    through: bool,
}

/// How far a capture is.
#[derive(Debug)]
struct Capture {
    /// Bytes in it.
    kept: u64,
    /// Bytes of it that the sink has.
    given: u64,
    /// Most bytes that it may have.
    max: u64,
    /// Bytes went past it.
    is_passed: bool,
    loss: Option<io::Error>,
}

impl Capture {
    fn is_open(&self) -> bool {
        self.loss.is_none() && self.kept < self.max
    }

    fn ahead(&self) -> u64 {
        self.kept - self.given
    }
}

impl<E: Ends> Stream<E> {
    /// A stream whose ends are open; `capture_max` is the most that is captured, `None` where there is no capture.
    pub(super) fn new(ends: E, way: Way, capture_max: Option<u64>, on_loss: OnLoss) -> Self {
        let capture = capture_max.map(|max| Capture { kept: 0, given: 0, max, is_passed: false, loss: None });
        Self {
            ends,
            way,
            on_loss,
            capture,
            buffer: Vec::new(),
            rest: Vec::new(),
            is_ended: false,
            is_unread: false,
            source_is_ready: false,
            source_is_dry: false,
            splices: Splices { into: true, out: true, through: true },
            ahead_max: RELAY_AHEAD_MAX,
        }
    }

    /// What there is to wait for.
    pub(super) fn wants(&self) -> Wants {
        if self.is_over() {
            return Wants::default();
        }
        if self.has_waiting() {
            return Wants { source: !self.is_ended && self.room() > 0, sink: true };
        }
        let passes = self.room() == 0 && self.splices.through && self.source_is_ready;
        Wants { source: !passes, sink: passes }
    }

    /// What a look for it gave.
    pub(super) fn note_ready(&mut self, wanted: Wants, ready: Wants) {
        // Where it is passed on, both sides have to be ready; if nothing moves then, what was there is gone.
        self.source_is_ready = ready.source || (self.source_is_ready && !ready.sink);
        self.source_is_dry = wanted.source && !ready.source;
    }

    /// Nobody reads what the sink is given, and never will. The writer is told by the end of the source.
    pub(super) fn lose_sink(&mut self) {
        self.is_unread = true;
        if self.way == Way::Out {
            self.salvage();
        }
        self.is_ended = true;
    }

    /// Takes nothing more; what was taken is still given.
    pub(super) fn lose_source(&mut self) {
        self.is_ended = true;
    }

    /// What is left is to be captured, however far ahead of the reader that is: the call ends.
    pub(super) fn hurry(&mut self) {
        self.ahead_max = u64::MAX;
    }

    /// Nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.is_ended && (self.is_unread || !self.has_waiting())
    }

    /// As of the last look, all that was written has been given.
    pub(super) fn is_calm(&self) -> bool {
        self.is_over() || self.way == Way::In || (self.source_is_dry && !self.has_waiting())
    }

    /// Which side of it is the command.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Whether nothing more is taken.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether its capture failed where nothing may pass that is not on record.
    pub(super) fn is_lost(&self) -> bool {
        self.on_loss == OnLoss::End && self.loss().is_some()
    }

    /// Whether the sink is gone.
    pub(super) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// Bytes in the capture, where there is one.
    pub(super) fn kept(&self) -> Option<u64> {
        self.capture.as_ref().map(|capture| capture.kept)
    }

    /// Bytes of the capture that the sink was given.
    pub(super) fn given(&self) -> u64 {
        self.capture.as_ref().map_or(0, |capture| capture.given)
    }

    /// Whether the capture lacks something that came.
    pub(super) fn is_truncated(&self) -> bool {
        self.capture.as_ref().is_some_and(|capture| capture.is_passed || capture.loss.is_some())
    }

    /// What made the capture fail.
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

    /// Takes what can be taken now. Gives whether anything was.
    pub(super) fn take(&mut self) -> bool {
        if self.is_ended {
            return false;
        }
        match self.room() {
            0 if self.has_waiting() => false,
            0 => self.pass_on(),
            room => self.capture(room),
        }
    }

    /// One step of the source: a number of bytes, its end, or nothing now.
    fn settle(&mut self, taken: io::Result<usize>) -> Option<usize> {
        match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(bytes) if bytes > 0 => Some(bytes),
            // A terminal that hung up, a connection that was reset: no more comes.
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
        self.buffer.resize(RELAY_BUFFER_BYTES, 0);
        let room = room.min(RELAY_BUFFER_BYTES);
        let taken = self.ends.read(&mut self.buffer[..room]);
        let Some(bytes) = self.settle(taken) else { return false };
        self.keep_buffer(bytes);
        true
    }

    /// What was read into the buffer goes to the capture; what it does not take waits for the sink.
    fn keep_buffer(&mut self, bytes: usize) {
        let mut done = 0;
        while done < bytes {
            let at = self.kept().unwrap_or(0);
            match self.ends.keep(at, &self.buffer[done..bytes]) {
                Ok(0) => self.fail(io::ErrorKind::WriteZero.into()),
                Ok(kept) => {
                    self.note_kept(kept);
                    done += kept;
                    continue;
                }
                Err(error) => self.fail(error),
            }
            if self.on_loss == OnLoss::GoOn {
                self.rest.extend_from_slice(&self.buffer[done..bytes]);
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
        self.is_ended |= self.on_loss == OnLoss::End;
        if let Some(capture) = &mut self.capture {
            capture.loss = Some(error);
        }
    }

    /// Past the capture, or without one.
    fn pass_on(&mut self) -> bool {
        if self.splices.through {
            match self.ends.splice_through(SPLICE_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.lose_sink();
                    return false;
                }
                // Whatever it is, the buffer finds out on which side.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.splices.through = false,
                taken => {
                    let taken = self.settle(taken);
                    self.note_passed(taken.is_some());
                    return taken.is_some();
                }
            }
        }
        self.buffer.resize(RELAY_BUFFER_BYTES, 0);
        let taken = self.ends.read(&mut self.buffer);
        let Some(bytes) = self.settle(taken) else { return false };
        self.note_passed(true);
        self.rest.extend_from_slice(&self.buffer[..bytes]);
        true
    }

    fn note_passed(&mut self, passed: bool) {
        if let Some(capture) = &mut self.capture {
            capture.is_passed |= passed;
        }
    }

    /// Gives what can be given now. Gives whether anything was.
    pub(super) fn give(&mut self) -> bool {
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
                // Whatever it is, the buffer finds out on which side.
                Ok(_) | Err(_) => self.splices.out = false,
            }
        }
        self.buffer.resize(RELAY_BUFFER_BYTES, 0);
        let room = ahead.min(RELAY_BUFFER_BYTES);
        match self.ends.read_back(given, &mut self.buffer[..room]) {
            Ok(bytes) if bytes > 0 => match self.ends.write(&self.buffer[..bytes]) {
                Ok(bytes) => self.note_given(bytes),
                Err(error) => self.is_refused(&error),
            },
            // What the reader is still to get is gone, and nothing may take its place.
            Ok(_) => self.fail_back(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => self.fail_back(error),
        }
    }

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

    /// What the writer wrote before it could know that nobody reads: at most a pipe's worth.
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
