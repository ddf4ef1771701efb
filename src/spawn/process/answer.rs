//! The nursery's answer about one process, on that process's stream: its pid and a pidfd, or the errno for
//! which it was not made.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::Pid;

use crate::limits::NURSERY_WAIT;
use crate::sys::{self, ReceivedMessage};

/// The bytes of an answer.
const ANSWER_BYTES: usize = 4;

/// A process that the nursery has made.
#[derive(Debug)]
pub(in crate::spawn) struct ProcessAnswer {
    pub(in crate::spawn) pid: Pid,
    pub(in crate::spawn) pidfd: OwnedFd,
}

impl ProcessAnswer {
    /// The answer on `stream`, if it is there.
    pub(super) fn try_receive(stream: BorrowedFd<'_>) -> Option<io::Result<Self>> {
        match sys::try_receive(stream, ANSWER_BYTES) {
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => None,
            answer => Some(answer.and_then(Self::read)),
        }
    }

    /// Waits for the answer on `stream`.
    /// Errors: `TimedOut`, `BrokenPipe` (the nursery makes none any more), the kernel's, where it made no
    /// process.
    pub(in crate::spawn) fn receive(stream: BorrowedFd<'_>) -> io::Result<Self> {
        if let Some(answer) = Self::try_receive(stream) {
            return answer;
        }
        let mut look = [PollFd::new(stream, PollFlags::POLLIN)];
        if !sys::poll_until(&mut look, Some(Instant::now() + NURSERY_WAIT))? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Self::read(sys::receive(stream, ANSWER_BYTES)?)
    }

    fn read(answer: ReceivedMessage) -> io::Result<Self> {
        let number = answer.bytes.try_into().map_err(|_| io::ErrorKind::BrokenPipe)?;
        let number = i32::from_le_bytes(number);
        if number < 0 {
            return Err(io::Error::from_raw_os_error(-number));
        }
        let [pidfd] = answer.descriptors.try_into().map_err(|_| Errno::EMFILE)?;
        Ok(Self { pid: Pid::from_raw(number), pidfd })
    }
}
