//! Reserves space on disk ahead of the lines that need it: a call that was let run must find room for its
//! end, on a disk that other programs fill. Blocks are allocated past the file's end, which readers do not
//! see; a file system that cannot do that reserves nothing, and there a full disk shows when a line is
//! written.

use std::io;
use std::os::fd::BorrowedFd;

use nix::libc::{EINVAL, ENOSYS, EOPNOTSUPP, EPERM};

use crate::limits::ROOM_STEP_BYTES;
use crate::sys;

/// The space that a line may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpaceSource {
    /// Free space, besides the space that is reserved for ends of calls.
    Free,
    /// The space that is reserved for ends of calls.
    Kept,
}

/// The offset up to which the file has blocks.
#[derive(Debug, Default)]
pub(super) struct ReservedSpace {
    until: u64,
    cannot: bool,
}

impl ReservedSpace {
    /// Allocates blocks from `from` up to `until`, and [`ROOM_STEP_BYTES`] more where the disk has as many.
    pub(super) fn reach(&mut self, file: BorrowedFd<'_>, from: u64, until: u64) -> io::Result<()> {
        if self.cannot || until <= self.until {
            return Ok(());
        }
        let ample = until + ROOM_STEP_BYTES;
        self.take(file, from, ample).or_else(|_| self.take(file, from, until))
    }

    fn take(&mut self, file: BorrowedFd<'_>, from: u64, until: u64) -> io::Result<()> {
        let offset = |bytes| i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
        match sys::allocate(file, offset(from)?, offset(until - from)?) {
            Ok(()) => self.until = until,
            // EPERM: a system call filter, or a file that can only be appended to.
            Err(source) if matches!(source.raw_os_error(), Some(EOPNOTSUPP | ENOSYS | EINVAL | EPERM)) => {
                self.cannot = true;
            }
            Err(source) => return Err(source),
        }
        Ok(())
    }

    /// Notes that the file was cut: the blocks past its end are given back with that.
    pub(super) fn forget(&mut self) {
        self.until = 0;
    }
}
