//! The descriptors of a stream, read and written without blocking. `O_NONBLOCK` is not set on a descriptor of
//! the caller's, because all holders of the open file share its flags: pipes are spliced and sockets used
//! with a flag of the one call, and a terminal is opened once more, for flags of its own. Regular files do
//! not block. Devices that cannot be opened again are polled first, and may still block the relay, which is a
//! process of its own for that reason.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags};
use nix::sys::stat::SFlag;

use crate::sys;

use super::io::{StreamIo, StreamSide};

/// One end of a stream: a descriptor, and how it can be read or written without blocking.
#[derive(Debug)]
pub(super) struct StreamEnd {
    fd: OwnedFd,
    kind: FdKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FdKind {
    /// A pipe that other processes hold too.
    Pipe,
    /// A pipe that the relay made, with `O_NONBLOCK`.
    OwnPipe,
    Socket,
    File,
    /// A descriptor that has flags of its own, or never blocks.
    Ready,
    /// `/dev/null`.
    Null,
    /// A descriptor that may block.
    Slow,
    /// A descriptor that was opened for the other direction only.
    Shut,
}

/// The direction in which bytes pass an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FdUse {
    Read,
    Write,
}

impl StreamEnd {
    /// An end of the caller's.
    pub(super) fn of_caller(fd: OwnedFd, used: FdUse) -> io::Result<Self> {
        let barred = if used == FdUse::Read { OFlag::O_WRONLY } else { OFlag::O_RDONLY };
        if OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE == barred {
            return Ok(Self { fd, kind: FdKind::Shut });
        }
        let (form, device) = sys::form(fd.as_fd())?;
        let kind = match form {
            SFlag::S_IFIFO => FdKind::Pipe,
            SFlag::S_IFSOCK => FdKind::Socket,
            SFlag::S_IFCHR if device == NULL => FdKind::Null,
            SFlag::S_IFCHR if device != PTMX && fd.is_terminal() => return Ok(Self::terminal(fd, used)),
            SFlag::S_IFCHR => FdKind::Slow,
            SFlag::S_IFREG => FdKind::File,
            _ => FdKind::Ready,
        };
        Ok(Self { fd, kind })
    }

    /// An end of a pipe that the relay made; sets `O_NONBLOCK`.
    pub(super) fn of_pipe(fd: OwnedFd) -> io::Result<Self> {
        sys::never_wait(fd.as_fd())?;
        Ok(Self { fd, kind: FdKind::OwnPipe })
    }

    fn terminal(fd: OwnedFd, used: FdUse) -> Self {
        let flags = if used == FdUse::Read { OFlag::O_RDONLY } else { OFlag::O_WRONLY };
        match sys::open_again(fd.as_fd(), flags) {
            Ok(own) => Self { fd: own, kind: FdKind::Ready },
            // The terminal may be another user's: `su` does not change its owner.
            Err(_) => Self { fd, kind: FdKind::Slow },
        }
    }

    fn is_ready(&self, events: PollFlags) -> io::Result<()> {
        let mut look = [PollFd::new(self.fd.as_fd(), events)];
        let ready = sys::poll_until(&mut look, Some(Instant::now()))?;
        if ready { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

/// `/dev/null`, by major and minor number.
const NULL: (u32, u32) = (1, 3);
/// The master side of pseudoterminals, `/dev/ptmx`: opening it again would make a new terminal.
const PTMX: (u32, u32) = (5, 2);

/// Whether a descriptor is a terminal. The ioctl is made on character devices only.
pub(super) fn is_terminal(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let (form, _) = sys::form(fd)?;
    Ok(form == SFlag::S_IFCHR && fd.is_terminal())
}

/// The ends of a stream, and its capture.
#[derive(Debug)]
pub(super) struct StreamFds {
    source: Option<StreamEnd>,
    sink: Option<StreamEnd>,
    capture: Option<File>,
    /// A reading end of the command's stdin pipe, once the writing end is closed: to count the bytes that the
    /// command left unread.
    handed: Option<OwnedFd>,
}

impl StreamFds {
    pub(in crate::spawn) fn new(source: StreamEnd, sink: StreamEnd, capture: Option<File>) -> Self {
        Self { source: Some(source), sink: Some(sink), capture, handed: None }
    }

    /// The descriptor to poll for bytes to read.
    pub(in crate::spawn) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(|end| end.fd.as_fd())
    }

    /// The descriptor to poll for room to write.
    pub(super) fn sink(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().map(|end| end.fd.as_fd())
    }

    /// Closes the source: the writer sees that there is no reader.
    pub(super) fn close_source(&mut self) {
        self.source = None;
    }

    /// Closes the sink: the reader sees the end.
    pub(super) fn close_sink(&mut self, way: StreamSide) {
        let Some(sink) = self.sink.take() else { return };
        if way == StreamSide::In {
            // An additional reader that never reads makes no difference to a pipe without a writer.
            self.handed = sys::open_again(sink.fd.as_fd(), OFlag::O_RDONLY).ok();
        }
    }

    /// The number of bytes that were written to the command's stdin and that it did not read.
    pub(super) fn left_unread(&self) -> u64 {
        let handle = self.handed.as_ref().map(AsFd::as_fd).or(self.sink());
        handle.and_then(|handle| sys::unread_bytes(handle).ok()).unwrap_or(0)
    }

    /// Truncates the capture's file to `bytes`.
    pub(in crate::spawn) fn cut(&self, bytes: u64) -> io::Result<()> {
        self.capture.as_ref().map_or(Ok(()), |capture| capture.set_len(bytes))
    }

    fn capture(&self) -> io::Result<BorrowedFd<'_>> {
        self.capture.as_ref().map(AsFd::as_fd).ok_or_else(unfit)
    }

    fn pipe(end: Option<&StreamEnd>) -> io::Result<BorrowedFd<'_>> {
        let is_pipe = |end: &&StreamEnd| matches!(end.kind, FdKind::Pipe | FdKind::OwnPipe);
        end.filter(is_pipe).map(|end| end.fd.as_fd()).ok_or_else(unfit)
    }
}

/// The error that splice(2) gives for two descriptors between which it cannot move bytes.
fn unfit() -> io::Error {
    Errno::EINVAL.into()
}

impl StreamIo for StreamFds {
    fn splice_in(&mut self, at: u64, bytes: usize) -> io::Result<usize> {
        // splice(2) into a file holds the pipe's lock for as long as the file takes, and the command, which
        // writes to the pipe, would wait.
        if self.source.as_ref().is_some_and(|source| source.kind == FdKind::OwnPipe) {
            return Err(unfit());
        }
        sys::splice(Self::pipe(self.source.as_ref())?, None, self.capture()?, Some(at), bytes)
    }

    fn splice_out(&mut self, at: u64, bytes: usize) -> io::Result<usize> {
        let sink = self.sink.as_ref().ok_or_else(unfit)?;
        match sink.kind {
            FdKind::Pipe | FdKind::OwnPipe => {
                sys::splice(self.capture()?, Some(at), sink.fd.as_fd(), None, bytes)
            }
            FdKind::Null => Ok(bytes),
            FdKind::Socket | FdKind::File | FdKind::Ready | FdKind::Slow | FdKind::Shut => Err(unfit()),
        }
    }

    fn splice_through(&mut self, bytes: usize) -> io::Result<usize> {
        sys::splice(Self::pipe(self.source.as_ref())?, None, Self::pipe(self.sink.as_ref())?, None, bytes)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(source) = &self.source else { return Ok(0) };
        match source.kind {
            FdKind::Shut => Ok(0),
            FdKind::Socket => sys::receive_now(source.fd.as_fd(), buffer),
            FdKind::OwnPipe | FdKind::File | FdKind::Ready | FdKind::Null => {
                sys::read(source.fd.as_fd(), buffer)
            }
            FdKind::Pipe | FdKind::Slow => {
                source.is_ready(PollFlags::POLLIN)?;
                sys::read(source.fd.as_fd(), buffer)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(sink) = &self.sink else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match sink.kind {
            FdKind::Shut => Err(io::ErrorKind::BrokenPipe.into()),
            FdKind::Socket => sys::send_now(sink.fd.as_fd(), bytes),
            FdKind::OwnPipe | FdKind::File | FdKind::Ready | FdKind::Null => {
                sys::write(sink.fd.as_fd(), bytes)
            }
            FdKind::Pipe | FdKind::Slow => {
                sink.is_ready(PollFlags::POLLOUT)?;
                sys::write(sink.fd.as_fd(), &bytes[..bytes.len().min(PIPE_BUF)])
            }
        }
    }

    fn keep(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        sys::write_at(self.capture()?, at, bytes)
    }

    fn read_back(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        sys::read_at(self.capture()?, at, buffer)
    }
}
