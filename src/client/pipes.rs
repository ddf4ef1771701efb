//! The two pipes of a request of version 2, on the caller's side: the reader of the broker's frames, and the
//! writer of the caller's orders. Neither ever waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

use crate::limits::REPLY_READ_BYTES;
use crate::sys;
use crate::wire::Malformed;
use crate::wire::v2::{Frame, FrameReader, signal_order};

/// What one look at a reply pipe gave.
#[derive(Debug)]
pub enum ReplyStep {
    /// A frame.
    Frame(Frame),
    /// No whole frame is there yet.
    Pending,
    /// No process has the other end any more.
    Ended,
}

/// The read end of a request's *reply*. It is non-blocking.
#[derive(Debug)]
pub struct ReplyPipe {
    pipe: OwnedFd,
    frames: FrameReader,
}

/// The write end of a call's *control*. It is non-blocking. Its close tells the broker that the caller is
/// gone.
#[derive(Debug)]
pub struct ControlPipe(OwnedFd);

impl ReplyPipe {
    /// A new pipe, and its write end, which goes to the broker.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let (pipe, far) = pair()?;
        Ok((Self { pipe, frames: FrameReader::new() }, far))
    }

    /// The read end of a FIFO, which is non-blocking.
    pub(super) fn of(fifo: OwnedFd) -> Self {
        Self { pipe: fifo, frames: FrameReader::new() }
    }

    /// The next frame of the bytes that were read already. Errors: what came is no frame.
    pub fn buffered(&mut self) -> Result<Option<Frame>, Malformed> {
        self.frames.next_frame()
    }

    /// The next frame, after one read(2) at most. Errors: what came is no frame.
    pub fn step(&mut self) -> Result<ReplyStep, Malformed> {
        if let Some(frame) = self.frames.next_frame()? {
            return Ok(ReplyStep::Frame(frame));
        }
        let mut buffer = [0; REPLY_READ_BYTES];
        match sys::read(self.pipe.as_fd(), &mut buffer) {
            Ok(length) if length > 0 => self.frames.push(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(ReplyStep::Pending),
            // A pipe of this process fails in no other way.
            Ok(_) | Err(_) => return Ok(ReplyStep::Ended),
        }
        Ok(self.frames.next_frame()?.map_or(ReplyStep::Pending, ReplyStep::Frame))
    }
}

impl AsFd for ReplyPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl ControlPipe {
    /// A new pipe, and its read end, which goes to the broker.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let (far, pipe) = pair()?;
        Ok((Self(pipe), far))
    }

    /// The write end of a FIFO, which is non-blocking.
    pub(super) fn of(fifo: OwnedFd) -> Self {
        Self(fifo)
    }

    /// Asks the broker to send `signal` to the command's process group. Errors: `EPIPE` (the call is over),
    /// `EAGAIN` (thousands of orders wait).
    pub fn forward(&self, signal: Signal) -> io::Result<()> {
        sys::write(self.0.as_fd(), &signal_order(signal)).map(drop)
    }
}

impl AsFd for ControlPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A pipe, read end first.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use crate::wire::v2::signal_of;

    use super::*;

    #[test]
    fn frames_come_out_one_by_one_and_nothing_waits() {
        let (mut reply, far) = ReplyPipe::new().expect("a pipe");
        assert!(matches!(reply.step(), Ok(ReplyStep::Pending)));
        let frames = [Frame::Started { call: 7 }, Frame::Listing("x".repeat(3 * REPLY_READ_BYTES))];
        for frame in &frames {
            sys::write(far.as_fd(), &frame.encode()).expect("there is room");
        }
        drop(far);
        let mut got = Vec::new();
        loop {
            match reply.step().expect("frames") {
                ReplyStep::Frame(frame) => got.push(frame),
                ReplyStep::Pending => {}
                ReplyStep::Ended => break,
            }
        }
        assert_eq!(got, frames);
    }

    #[test]
    fn an_order_is_one_write_until_nobody_reads() {
        let (control, far) = ControlPipe::new().expect("a pipe");
        control.forward(Signal::SIGINT).expect("there is room");
        let mut order = [0; 8];
        assert_eq!(sys::read(far.as_fd(), &mut order).expect("an order"), 8);
        assert_eq!(signal_of(order), Some(Signal::SIGINT));
        drop(far);
        let error = control.forward(Signal::SIGINT).expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
