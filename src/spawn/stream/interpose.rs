//! Puts pipes in the place of the caller's descriptors, and so makes streams of them; and what a stream does
//! with the descriptors that it has.

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

/// Streams that are ready to flow.
#[derive(Debug)]
pub(super) struct CallStreams(pub(in crate::spawn) Vec<(usize, CallStream<StreamFds>)>);

/// Puts a pipe in the place of each descriptor that has a capture or is to be hidden, and gives what the
/// command gets.
/// Errors: `EMFILE`, and what looking at the caller's descriptors gives.
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

/// A pipe between a caller's descriptor and the command: the command's end, and what the relay holds.
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
    /// What the kernel says of the ends that were looked at.
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

    /// Closes what is done with: each side waits for that.
    pub(super) fn release(&mut self) {
        if self.is_ended() {
            self.ends.close_source();
        }
        // What the command did not read of its stdin is asked of the pipe when the call is over.
        let is_asked = self.way() == StreamSide::In && (self.is_unread() || self.is_lost());
        if self.is_over() && !is_asked {
            self.ends.close_sink(self.way());
        }
    }

    /// Bytes that its capture holds, or, of a stdin, those of them that were handed to the command: the
    /// broker is ahead of it, but whoever looked at a pipe without reading it, or put back what it read, has
    /// seen all that was in there.
    pub(in crate::spawn) fn captured(&self) -> Option<u64> {
        let kept = self.kept()?;
        Some(if self.way() == StreamSide::In { self.given() } else { kept })
    }

    /// Bytes of a captured stdin that were handed to the command and stand in its pipe.
    pub(super) fn unread(&self) -> u64 {
        if self.is_known() { 0 } else { self.ends.left_unread() }
    }

    /// Whether it is known that nothing of it is left: of a stdin that is handed over, the command may read
    /// the rest yet.
    pub(in crate::spawn) fn is_known(&self) -> bool {
        self.way() == StreamSide::Out || self.kept().is_none() || self.ends.left_unread() == 0
    }

    /// The end, whatever is left. Of a stdin, the capture keeps what was handed to the command; of nothing,
    /// it keeps no room either.
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
