//! An adapter: a launcher that serves requests of version 2, one after the other, instead of becoming a
//! command. It takes a request from its connection, keeps *reply* and *control*, and is to the broker what a
//! caller of version 1 is, on a *line*, a socket pair of the broker's: it sends the command's descriptors
//! there in a first message, then a byte for each signal that the caller wants forwarded, and hangs up when
//! the caller is gone. What the broker sends on the line is the caller's, and goes to *reply*.
//!
//! Writing, reading or closing a pipe can block for as long as the caller likes: a page fault of a process
//! that writes to it may hold the pipe's lock. So no thread of the broker does, and this process serves one
//! request at a time.
//!
//! It may live in the nursery's memory (`sys/clone_vm.rs`): nothing here allocates or can panic, and system
//! calls are made by `sys/in_child.rs` and `sys/piped.rs`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use crate::limits::{ADAPTER_SEND_TRIES, FRAME_PIECE_BYTES, LAST_ORDERS_MAX, SEND_RETRY, SIGNAL_INTERVAL};
use crate::sys::in_child::{self, ChildFd};
use crate::sys::{self, ChildMemory, PipedFds, UnfitStdio};
use crate::wire::v2::{CALL_FDS, CONTROL_BYTES, LIST_FDS, signal_of};

use super::sent::{FAILED, SentByte, await_sent};

/// The byte that makes a launcher an adapter, and that brings it each request: a connection with the request,
/// and the line.
pub(super) const ADAPT: u8 = 32;

/// What an adapter tells the broker, as long as the report of unfit descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spawn) enum AdapterReport {
    /// It has the request, with so many descriptors, and its copy of the connection is closed.
    Taken(usize),
    /// The descriptors cannot be used. The adapter ends.
    Unfit(UnfitStdio),
    /// The descriptors could not be sent on. The adapter ends.
    Unsent,
    /// It is done with a request, and has closed all that came with it.
    Free,
}

impl AdapterReport {
    /// Bytes of a report.
    pub(in crate::spawn) const BYTES: usize = UnfitStdio::BYTES;

    fn encode(self) -> [u8; Self::BYTES] {
        match self {
            Self::Taken(count) => [TAKEN, if count == CALL_FDS { 5 } else { 1 }, 0],
            Self::Unfit(unfit) => unfit.encode(),
            Self::Unsent => [UNSENT, 0, 0],
            Self::Free => [FREE, 0, 0],
        }
    }

    /// The reverse of `encode`; `None` for other bytes.
    pub(in crate::spawn) fn decode(report: [u8; Self::BYTES]) -> Option<Self> {
        match report {
            [TAKEN, 5, 0] => Some(Self::Taken(CALL_FDS)),
            [TAKEN, 1, 0] => Some(Self::Taken(LIST_FDS)),
            [UNSENT, 0, 0] => Some(Self::Unsent),
            [FREE, 0, 0] => Some(Self::Free),
            report => UnfitStdio::decode(report).map(Self::Unfit),
        }
    }
}

const TAKEN: u8 = 16;
const UNSENT: u8 = 17;
const FREE: u8 = 18;

/// The life of an adapter, from the byte that made the launcher one; its result is the exit code.
pub(super) fn adapt(stream: BorrowedFd<'_>, room: ChildMemory, mut sent: SentByte) -> u8 {
    // A write to a pipe that nobody reads raises SIGPIPE.
    in_child::block_all_signals().ok();
    in_child::set_name(c"sluice-adapter");
    let Some(piece) = room.take(FRAME_PIECE_BYTES) else { return FAILED };
    loop {
        let SentByte { kind: ADAPT, descriptors: [Some(connection), Some(line), None] } = sent else {
            return FAILED;
        };
        let taken = sys::take_piped(connection.as_fd());
        // Closed before the report: after it, the connection is the broker's alone again.
        drop(connection);
        let (report, piped) = match taken {
            Ok(piped) => (hand_on(&line, &piped), Some(piped)),
            Err(unfit) => (AdapterReport::Unfit(unfit), None),
        };
        let told = in_child::write(stream, &report.encode());
        let (Ok(_), AdapterReport::Taken(_), Some(piped)) = (told, report, piped) else { return FAILED };
        ServedRequest::new(line, piped).serve(piece);
        let Ok(_) = in_child::write(stream, &AdapterReport::Free.encode()) else { return FAILED };
        let Some(next) = await_sent(stream) else { return 0 };
        sent = next;
    }
}

/// Sends the command's descriptors to the broker's end of the line, where a launcher or relay takes them.
fn hand_on(line: &ChildFd, piped: &PipedFds) -> AdapterReport {
    let Some(stdio) = &piped.stdio else { return AdapterReport::Taken(LIST_FDS) };
    let [stdin, stdout, stderr] = stdio;
    let descriptors = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    for _ in 0..ADAPTER_SEND_TRIES {
        match sys::send_few(line.as_fd(), &[0], &descriptors) {
            Ok(_) => return AdapterReport::Taken(CALL_FDS),
            Err(Errno::ETOOMANYREFS) => rest(),
            Err(_) => break,
        }
    }
    AdapterReport::Unsent
}

fn rest() {
    sys::await_any(&mut [], Some(SEND_RETRY)).ok();
}

/// A request that was taken, until the broker closes its end of the line.
struct ServedRequest {
    line: ChildFd,
    reply: ChildFd,
    /// `None` once the caller is gone, and for the listing.
    control: Option<ChildFd>,
    /// The bytes of an order that are there.
    order: [u8; CONTROL_BYTES],
    filled: usize,
}

impl ServedRequest {
    /// Closes the command's descriptors, of which the line has copies.
    fn new(line: ChildFd, piped: PipedFds) -> Self {
        let PipedFds { stdio, reply, control } = piped;
        drop(stdio);
        Self { line, reply, control, order: [0; CONTROL_BYTES], filled: 0 }
    }

    /// Moves frames to *reply* and signals to the line, until the broker has closed the line.
    fn serve(mut self, piece: &mut [u8]) {
        // After a signal the next one waits a moment, so that a caller who sends many keeps no thread busy.
        let mut is_resting = false;
        loop {
            let control = self.control.as_ref().filter(|_| !is_resting);
            let fds = [Some(&self.line), control].map(|fd| fd.unwrap_or(&self.line).as_fd());
            let mut looked_at = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let watched = looked_at.get_mut(..1 + usize::from(control.is_some())).unwrap_or_default();
            let Ok(is_ready) = sys::await_any(watched, is_resting.then_some(SIGNAL_INTERVAL)) else { return };
            let [from_line, from_control] = looked_at.each_ref().map(|fd| is_ready && fd.any() == Some(true));
            let hears_caller = from_control && control.is_some();
            let [_, of_control] = looked_at;
            let has_left = of_control.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
            is_resting &= is_ready;
            if from_line && !self.pass_frames(piece) {
                return;
            }
            if hears_caller && has_left {
                self.pass_last_orders();
            } else if hears_caller {
                is_resting = self.pass_orders();
            }
        }
    }

    /// Moves one message of the line to *reply*. Gives false at the end of the line.
    fn pass_frames(&self, piece: &mut [u8]) -> bool {
        match in_child::read(self.line.as_fd(), piece) {
            Ok(length) if length > 0 => {
                self.write_all(piece.get(..length).unwrap_or_default());
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Writes to *reply*, and waits for room where the caller made it non-blocking. A caller that does not
    /// read any more gets nothing.
    fn write_all(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match in_child::write(self.reply.as_fd(), bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::EAGAIN) => {
                    let mut room = [PollFd::new(self.reply.as_fd(), PollFlags::POLLOUT)];
                    if sys::await_any(&mut room, None).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// After the end of *control*: sends on the first of the orders that still lie in it, without a rest, and
    /// says on the line that the caller is gone. What a caller has left cannot hold up its departure.
    fn pass_last_orders(&mut self) {
        for _ in 0..LAST_ORDERS_MAX {
            self.pass_orders();
        }
        self.leave();
    }

    /// Says on the line that the caller is gone.
    fn leave(&mut self) {
        self.control = None;
        sys::finish_sending(self.line.as_fd());
    }

    /// Reads of an order what is there, and sends its signal on. At the end of *control*, says on the line
    /// that the caller is gone. Gives whether a signal was sent.
    fn pass_orders(&mut self) -> bool {
        let Some(control) = &self.control else { return false };
        let rest = self.order.get_mut(self.filled..).unwrap_or_default();
        match in_child::read(control.as_fd(), rest) {
            Ok(length) if length > 0 => self.filled += length,
            Err(Errno::EAGAIN) => return false,
            Ok(_) | Err(_) => {
                self.leave();
                return false;
            }
        }
        if self.filled < CONTROL_BYTES {
            return false;
        }
        self.filled = 0;
        let signal = signal_of(self.order).map(|signal| signal as i32);
        // A signal for which the line has no room is lost: its caller sent hundreds at once.
        signal.and_then(|signal| u8::try_from(signal).ok()).is_some_and(|signal| {
            sys::send_few(self.line.as_fd(), &[signal], &[]).ok();
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let unfit = AdapterReport::Unfit(UnfitStdio::Count(3));
        for report in [
            AdapterReport::Taken(5),
            AdapterReport::Taken(1),
            unfit,
            AdapterReport::Unsent,
            AdapterReport::Free,
        ] {
            assert_eq!(AdapterReport::decode(report.encode()), Some(report));
        }
        assert_eq!(AdapterReport::decode([0; AdapterReport::BYTES]), None);
    }
}
