//! A lane: a directory with five FIFOs, for one request. A caller opens all of them and writes its request to
//! `request`: `u32 length`, then a message of version 2. Afterwards `request` is the call's control, and the
//! others are its `reply`, `stdin`, `stdout` and `stderr`.
//!
//! A lane is used once: its FIFOs are handed to the call, and a new lane with new ones takes its name. So
//! what an earlier caller left open, or left in a pipe, is not a later caller's. Files are used by the
//! descriptors that were opened when they were made, whatever has taken their names since.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, RenameFlags, fcntl, openat, renameat, renameat2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, mkfifoat, unlinkat};

use crate::limits::{LANE_READ_BYTES, MESSAGE_BYTES_MAX};
use crate::sys;
use crate::wire::v2::PipedRequest;

/// The names of the FIFOs in a lane.
const NAMES: [&str; 5] = ["request", "stdin", "stdout", "stderr", "reply"];

/// The bytes of the length before a request.
const LENGTH_BYTES: usize = 4;

/// The bytes of what is no whole request that the broker gets: too few for any request.
const BEGINNING_BYTES: usize = 4;

/// A lane that callers can open.
#[derive(Debug)]
pub(super) struct Lane {
    /// Where callers write.
    request: OwnedFd,
    stdin: OwnedFd,
    /// Handles (`O_PATH`) of stdout, stderr and reply, which are opened when there is a request.
    outputs: [OwnedFd; 3],
    came: Vec<u8>,
    /// When the first bytes of a request came.
    since: Option<Instant>,
}

/// How far a lane is with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneProgress {
    /// No whole request is there.
    Waits,
    /// The whole request is there.
    Whole,
    /// What came cannot be a request, or the caller left.
    Spoilt,
}

/// What came through a lane, as the broker is to have it.
#[derive(Debug)]
pub(super) struct LaneRequest {
    /// The message, of version 2 unless its caller is mistaken; the beginning of one that is not whole.
    pub(super) message: Vec<u8>,
    /// stdin, stdout, stderr, reply, control. A listing needs *reply* alone. Where one of the others is
    /// missing, or the message is not whole, *reply* is there for the refusal, if the caller reads it.
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Lane {
    /// Makes a lane and gives it `name` in the door's directory, in place of an earlier lane. `turn` is a
    /// number that no lane of this door had before.
    pub(super) fn publish(door: BorrowedFd<'_>, name: &str, turn: u64) -> io::Result<Self> {
        let made = format!(".{name}-{turn}");
        mkdirat(door, made.as_str(), Mode::S_IRWXU)?;
        let lane = Self::make(door, &made).and_then(|lane| take_name(door, &made, name).map(|()| lane));
        // What had the name before, or what could not be finished, has the first name now.
        remove_lane(door, &made);
        lane
    }

    fn make(door: BorrowedFd<'_>, made: &str) -> io::Result<Self> {
        let directory = open(door, made, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let [request, stdin, stdout, stderr, reply] = NAMES.map(|name| make_fifo(directory.as_fd(), name));
        // Both are open for reading before a caller can find them, so that it can open them for writing.
        let request = sys::open_again(request?.as_fd(), OFlag::O_RDONLY)?;
        let stdin = sys::open_again(stdin?.as_fd(), OFlag::O_RDONLY)?;
        Ok(Self { request, stdin, outputs: [stdout?, stderr?, reply?], came: Vec::new(), since: None })
    }

    /// Readable when a caller has written, or has left.
    pub(super) fn request(&self) -> BorrowedFd<'_> {
        self.request.as_fd()
    }

    /// When the first bytes of a request came.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Reads what is there of a request, and no byte behind it, because the caller's orders come next.
    pub(super) fn advance(&mut self, now: Instant) -> LaneProgress {
        let mut piece = [0; LANE_READ_BYTES];
        loop {
            let Some(missing) = self.missing() else { return LaneProgress::Spoilt };
            if missing == 0 {
                return LaneProgress::Whole;
            }
            let wanted = &mut piece[..missing.min(LANE_READ_BYTES)];
            match sys::read(self.request.as_fd(), wanted) {
                Ok(length) if length > 0 => self.came.extend_from_slice(&wanted[..length]),
                Err(source) if source.kind() == io::ErrorKind::WouldBlock => return LaneProgress::Waits,
                Ok(_) | Err(_) => return LaneProgress::Spoilt,
            }
            self.since.get_or_insert(now);
        }
    }

    /// The bytes that are missing of the length, or of the message; `None` for a length that no message has.
    fn missing(&self) -> Option<usize> {
        let Some((length, message)) = self.came.split_first_chunk::<LENGTH_BYTES>() else {
            return Some(LENGTH_BYTES - self.came.len());
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let is_message = (1..=MESSAGE_BYTES_MAX).contains(&length);
        is_message.then(|| length.saturating_sub(message.len()))
    }

    /// The request. `None` where nothing came.
    pub(super) fn into_request(self) -> Option<LaneRequest> {
        let is_whole = self.missing() == Some(0);
        let Self { request, stdin, outputs, came, .. } = self;
        let [stdout, stderr, reply] = outputs.map(|handle| {
            let opened = sys::open_again(handle.as_fd(), OFlag::O_WRONLY);
            opened.and_then(waits_again).ok()
        });
        let message = if is_whole { came[LENGTH_BYTES..].to_vec() } else { beginning(&came)? };
        let needs_all = is_whole && !matches!(PipedRequest::decode(&message), Ok(PipedRequest::List(_)));
        let descriptors = match (reply, stdout, stderr, waits_again(stdin), waits_again(request)) {
            (Some(reply), Some(stdout), Some(stderr), Ok(stdin), Ok(control)) if needs_all => {
                vec![stdin, stdout, stderr, reply, control]
            }
            (reply, ..) => reply.into_iter().collect(),
        };
        Some(LaneRequest { message, descriptors })
    }
}

impl LaneRequest {
    /// Leaves out what the kernel may refuse to pass on: first the descriptors, then all of the message but
    /// its beginning. The broker refuses and records what is left, and the caller sees the end of its pipes.
    /// Gives false where nothing is left out.
    pub(super) fn reduce(&mut self) -> bool {
        if !self.descriptors.is_empty() {
            self.descriptors.clear();
            return true;
        }
        let is_long = self.message.len() > BEGINNING_BYTES;
        self.message.truncate(BEGINNING_BYTES);
        is_long
    }
}

/// Of what came without being a whole request, so little that nobody takes it for one, of the message if any
/// of it came. `None` where nothing came.
fn beginning(came: &[u8]) -> Option<Vec<u8>> {
    let (length, message) = came.split_at(came.len().min(LENGTH_BYTES));
    let some = [message, length].into_iter().find(|bytes| !bytes.is_empty())?;
    Some(some[..some.len().min(BEGINNING_BYTES)].to_vec())
}

/// Has a descriptor wait: it was opened without waiting for the other end, and a command expects one that
/// waits.
fn waits_again(fd: OwnedFd) -> io::Result<OwnedFd> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(fd)
}

/// Makes a FIFO and gives a handle of it (`O_PATH`). Errors: another file took its name meanwhile.
fn make_fifo(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    mkfifoat(directory, name, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let handle = open(directory, name, OFlag::O_PATH)?;
    let found = fstat(handle.as_fd())?;
    let is_fifo = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFIFO;
    let is_ours = is_fifo && found.st_uid == geteuid().as_raw();
    if is_ours { Ok(handle) } else { Err(Errno::ELOOP.into()) }
}

fn open(directory: BorrowedFd<'_>, name: &str, flags: OFlag) -> io::Result<OwnedFd> {
    Ok(openat(directory, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Gives a lane its name. Where the name is taken, the two change names.
fn take_name(door: BorrowedFd<'_>, made: &str, name: &str) -> io::Result<()> {
    match renameat2(door, made, door, name, RenameFlags::RENAME_EXCHANGE) {
        Err(Errno::ENOENT) => Ok(renameat(door, made, door, name)?),
        renamed => Ok(renamed?),
    }
}

/// Removes a lane, as far as it is one: whatever else somebody put there stays.
pub(super) fn remove_lane(door: BorrowedFd<'_>, name: &str) {
    if let Ok(directory) = open(door, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        for name in NAMES {
            unlinkat(directory.as_fd(), name, UnlinkatFlags::NoRemoveDir).ok();
        }
        unlinkat(door, name, UnlinkatFlags::RemoveDir).ok();
    }
}
