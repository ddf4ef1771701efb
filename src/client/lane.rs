//! A FIFO door from the caller's side: a lane is opened, and a request written into it. The format is in
//! REFERENCE.md, "The FIFO door".

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::poll::{PollFd, PollFlags};
use nix::sys::stat::Mode;

use crate::limits::{DOOR_LANES, LANE_RETRY, LANE_WAIT};
use crate::sys;

use super::unreached::ConnectFailure;

/// The caller's ends of a lane's FIFOs.
#[derive(Debug)]
pub(super) struct OpenLane {
    /// Where the request is written, and after it the caller's orders.
    pub(super) request: OwnedFd,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) reply: OwnedFd,
}

impl OpenLane {
    /// Opens a free lane of the door in this directory, and waits for one, at most [`LANE_WAIT`].
    pub(super) fn open(door: &Path) -> Result<Self, ConnectFailure> {
        let until = Instant::now() + LANE_WAIT;
        loop {
            let (mut refusal, mut is_there) = (None, false);
            for index in 0..DOOR_LANES {
                match Self::try_open(&door.join(index.to_string())) {
                    Ok(Some(lane)) => return Ok(lane),
                    Ok(None) => is_there = true,
                    Err(error) => refusal = Some(error),
                }
            }
            match refusal {
                Some(error) if !is_there => return Err(no_door(door, error)),
                _ if Instant::now() >= until => return Err(ConnectFailure::DoorBusy),
                // A lane that was used just now has a successor in a moment.
                _ => thread::sleep(LANE_RETRY),
            }
        }
    }

    /// Opens a lane. `None` where another caller has it, or its request was taken just now.
    fn try_open(lane: &Path) -> nix::Result<Option<Self>> {
        let directory = open(lane, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let fifo = |name: &str, flags: OFlag| {
            let flags = flags | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            openat(&directory, name, flags, Mode::empty())
        };
        let Some(request) = free(fifo("request", OFlag::O_WRONLY))? else { return Ok(None) };
        let Some(request) = locked(request) else { return Ok(None) };
        let reader = |name| fifo(name, OFlag::O_RDONLY);
        let (stdout, stderr, reply) = (reader("stdout"), reader("stderr"), reader("reply"));
        let Some(stdin) = free(fifo("stdin", OFlag::O_WRONLY))? else { return Ok(None) };
        Ok(Some(Self { request, stdin, stdout: stdout?, stderr: stderr?, reply: reply? }))
    }

    /// Writes a request, with its length before it. Errors: `EPIPE` (the lane was given up).
    pub(super) fn ask(&self, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(|_| Errno::EMSGSIZE)?;
        let whole = [&length.to_le_bytes()[..], message].concat();
        let mut rest = &whole[..];
        while !rest.is_empty() {
            match sys::write(self.request.as_fd(), rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sys::poll_until(&mut [PollFd::new(self.request.as_fd(), PollFlags::POLLOUT)], None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether a lane has no reader any more: it was used, or given up.
pub(super) fn is_given_up(request: BorrowedFd<'_>) -> bool {
    let mut look = [PollFd::new(request, PollFlags::empty())];
    sys::poll_until(&mut look, Some(Instant::now())).unwrap_or(true)
}

/// A FIFO that was opened for writing; `None` where it has no reader, or has gone.
fn free(opened: nix::Result<OwnedFd>) -> nix::Result<Option<OwnedFd>> {
    match opened {
        Err(Errno::ENXIO | Errno::ENOENT) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Locks a lane for this process; `None` where another one has the lock. Where a filter refuses locks, two
/// callers may meet in a lane: then one of them has no answer.
fn locked(request: OwnedFd) -> Option<OwnedFd> {
    let request = File::from(request);
    // The lock is the open file's, and stays until the last copy of the descriptor is closed. flock(2)
    match request.try_lock() {
        Err(TryLockError::WouldBlock) => None,
        Ok(()) | Err(TryLockError::Error(_)) => Some(request.into()),
    }
}

fn no_door(door: &Path, errno: Errno) -> ConnectFailure {
    if [Errno::ENOENT, Errno::ENOTDIR].contains(&errno) {
        return ConnectFailure::NoDoor(PathBuf::from(door));
    }
    let is_denied = errno == Errno::EACCES;
    if is_denied { ConnectFailure::Denied { owner: None } } else { ConnectFailure::Other(errno.into()) }
}

/// Has reads and writes of a descriptor wait: it was opened without waiting for the other end.
pub(super) fn wait_again(fd: &OwnedFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(())
}
