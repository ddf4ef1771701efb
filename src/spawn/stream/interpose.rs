//! Puts pipes in the place of the caller's descriptors, which makes streams of them; and the parts of a
//! stream that use its descriptors.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::PollFlags;

use crate::limits::{RELAY_PIPE_BYTES, REQUEST_FDS};
use crate::rules::AuditMode;
use crate::spawn::process::plan::CommandStdio;
use crate::sys;

use super::fds::{FdUse, StreamEnd, StreamFds, is_terminal};
use super::io::{CaptureLoss, StreamSide, StreamWaits};
use super::transfer::CallStream;

/// A call's streams, each with the number of its descriptor.
#[derive(Debug)]
pub(super) struct CallStreams(pub(in crate::spawn) Vec<(usize, CallStream<StreamFds>)>);

/// Puts a pipe in the place of each descriptor that has a capture or is to be hidden, and gives the command's
/// descriptors and the streams.
/// Errors: `EMFILE`, and those of fstat(2) and fcntl(2) on the caller's descriptors.
pub(super) fn divert(
    stdio: CommandStdio,
    captures: [Option<(File, u64)>; REQUEST_FDS],
    hides_terminals: bool,
    audit: AuditMode,
) -> io::Result<(CommandStdio, CallStreams)> {
    let on_loss = if audit == AuditMode::Strict { CaptureLoss::End } else { CaptureLoss::GoOn };
    let mut streams = Vec::new();
    let CommandStdio(descriptors) = stdio;
    let mut commands = Vec::new();
    for (index, (theirs, capture)) in descriptors.into_iter().zip(captures).enumerate() {
        if capture.is_none() && !(hides_terminals && is_terminal(theirs.as_fd())?) {
            commands.push(theirs);
            continue;
        }
        let way = if index == 0 { StreamSide::In } else { StreamSide::Out };
        let (file, max) = capture.unzip();
        let (command, ends) = join(theirs, way, file)?;
        commands.push(command);
        streams.push((index, CallStream::new(ends, way, max, on_loss)));
    }
    let commands = commands.try_into().expect("one for each");
    Ok((CommandStdio(commands), CallStreams(streams)))
}

/// Makes a pipe between a caller's descriptor and the command; gives the command's end, and the descriptors
/// of the relay.
fn join(theirs: OwnedFd, way: StreamSide, capture: Option<File>) -> io::Result<(OwnedFd, StreamFds)> {
    let (read, write) = sys::pipe(RELAY_PIPE_BYTES)?;
    Ok(match way {
        StreamSide::In => {
            let ends = (StreamEnd::of_caller(theirs, FdUse::Read)?, StreamEnd::of_pipe(write)?);
            (read, StreamFds::new(ends.0, ends.1, capture))
        }
        StreamSide::Out => {
            let ends = (StreamEnd::of_pipe(read)?, StreamEnd::of_caller(theirs, FdUse::Write)?);
            (write, StreamFds::new(ends.0, ends.1, capture))
        }
    })
}

impl CallStream<StreamFds> {
    /// Takes in the events that poll(2) gave for the ends that were polled.
    pub(super) fn heed(&mut self, source: Option<PollFlags>, sink: Option<PollFlags>) {
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        let ready = StreamWaits {
            source: source.is_some_and(|seen| !seen.is_empty()),
            sink: sink.is_some_and(|seen| seen.contains(PollFlags::POLLOUT)),
        };
        self.note_ready(StreamWaits { source: source.is_some(), sink: sink.is_some() }, ready);
        if sink.is_some_and(|seen| seen.intersects(gone)) {
            self.lose_sink();
        }
    }

    /// Closes the ends that are done with, so that the processes at the other ends see it.
    pub(super) fn release(&mut self) {
        if self.is_ended() {
            self.ends.close_source();
        }
        // The pipe of a stdin may be needed until the call is over, to count the bytes that the command did
        // not read.
        let is_asked = self.way() == StreamSide::In && (self.is_unread() || self.is_lost());
        if self.is_over() && !is_asked {
            self.ends.close_sink(self.way());
        }
    }

    /// The number of bytes that its capture holds or, for a stdin, of those that were written to the
    /// command's pipe. The capture may be ahead of the pipe. Bytes in the pipe count even if they are unread:
    /// a process may have looked at them with tee(2), or have read them and written them back.
    pub(in crate::spawn) fn captured(&self) -> Option<u64> {
        let kept = self.kept()?;
        Some(if self.way() == StreamSide::In { self.given() } else { kept })
    }

    /// The number of bytes of a captured stdin that are in the command's pipe, unread.
    pub(super) fn unread(&self) -> u64 {
        if self.is_known() { 0 } else { self.ends.left_unread() }
    }

    /// Whether the number of unread bytes is final: the command may still read a captured stdin's rest from
    /// its pipe.
    pub(in crate::spawn) fn is_known(&self) -> bool {
        self.way() == StreamSide::Out || self.kept().is_none() || self.ends.left_unread() == 0
    }

    /// Ends the stream, whatever is left. The capture of a stdin is truncated to the bytes that were written
    /// to the command's pipe; an empty capture gives back the space that was allocated for it.
    pub(in crate::spawn) fn close(&mut self) {
        self.lose_source();
        self.ends.close_source();
        if let Some(bytes) = self.captured().filter(|bytes| self.way() == StreamSide::In || *bytes == 0) {
            self.ends.cut(bytes).ok();
        }
        if self.way() == StreamSide::Out {
            self.ends.close_sink(StreamSide::Out);
        }
    }
}
