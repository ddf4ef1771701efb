//! The FIFO door of a socket, as the broker holds it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::limits::{DOOR_END_MAX, KILL_ROUND, SEND_WAIT};
use crate::spawn::process::answer::ProcessAnswer;
use crate::spawn::reap::reaper::Reaper;
use crate::sys;

use super::process::OPEN;

/// A running door. It ends when this is dropped, or the broker ends.
#[derive(Debug)]
pub struct FifoDoor {
    pid: Pid,
    pidfd: OwnedFd,
    stream: OwnedFd,
}

impl FifoDoor {
    /// Waits for the nursery's answer on the stream of a door that it was asked for, and gives the door its
    /// connection to the broker and its directory, which no other user can write. Returns when its lanes can
    /// be opened.
    /// Errors: `TimedOut`, `BrokenPipe` (the nursery makes none), the kernel's, where it made no process, and
    /// those with which the directory refuses a FIFO.
    pub(in crate::spawn) fn open(
        stream: OwnedFd,
        connection: BorrowedFd<'_>,
        directory: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let ProcessAnswer { pid, pidfd } = ProcessAnswer::receive(stream.as_fd())?;
        let door = Self { pid, pidfd, stream };
        let until = Some(Instant::now() + SEND_WAIT);
        sys::send_patiently(door.stream.as_fd(), &[0], &[connection, directory], until)?;
        if !sys::poll_until(&mut [PollFd::new(door.stream.as_fd(), PollFlags::POLLIN)], until)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut word = [0; 4];
        match sys::receive_now(door.stream.as_fd(), &mut word)? {
            1 if word[0] == OPEN => Ok(door),
            4 => Err(io::Error::from_raw_os_error(i32::from_le_bytes(word))),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Readable when it has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends doors, which remove their lanes. Those that hang in a caller's pipe are killed, and reaped later.
    pub fn close_all(doors: impl IntoIterator<Item = Self>, reaper: &Reaper) {
        let closed = |Self { pid, pidfd, stream }| {
            drop(stream);
            (pid, pidfd)
        };
        let closed: Vec<_> = doors.into_iter().map(closed).collect();
        let until = Instant::now() + DOOR_END_MAX;
        for (pid, pidfd) in closed {
            let mut end = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            if !sys::poll_until(&mut end, Some(until)).unwrap_or(false) {
                sys::send_signal(pidfd.as_fd(), Signal::SIGKILL).ok();
                sys::poll_until(&mut end, Some(Instant::now() + KILL_ROUND)).ok();
            }
            reaper.reap_unused(pid);
        }
    }
}
