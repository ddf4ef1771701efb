//! The file type behind a descriptor, and the three descriptors that a process starts with.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::in_child::ChildFd;

/// The file type behind a descriptor, and a device's major and minor number: from the kernel's memory,
/// without asking the file system, which may be a caller's own and never answer. `statx(2)` with
/// `AT_STATX_DONT_SYNC`.
#[allow(unsafe_code, reason = "nix has no statx")]
pub fn form(descriptor: BorrowedFd<'_>) -> io::Result<(SFlag, (u32, u32))> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: all zeroes is a statx.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let (fd, mask) = (descriptor.as_raw_fd(), libc::STATX_TYPE);
    // SAFETY: the descriptor is borrowed, hence open; the path is empty, and `found` is a whole statx that
    // outlives the call.
    Errno::result(unsafe { libc::statx(fd, c"".as_ptr(), flags, mask, &raw mut found) })?;
    let form = SFlag::from_bits_truncate(found.stx_mode.into()) & SFlag::S_IFMT;
    Ok((form, (found.stx_rdev_major, found.stx_rdev_minor)))
}

/// This process's stdin, stdout and stderr, without the buffers that the standard library would make for
/// them. Each is open: the Rust runtime puts /dev/null where the caller closed one.
#[allow(unsafe_code, reason = "a number is made a descriptor")]
pub fn stdio() -> [BorrowedFd<'static>; 3] {
    // SAFETY: they are open from before main on, and no owner of ours closes them.
    [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) })
}

/// For a process with memory of its own: closing the `OwnedFd` may set `errno`.
impl From<ChildFd> for OwnedFd {
    #[allow(unsafe_code, reason = "a number is made a descriptor")]
    fn from(descriptor: ChildFd) -> Self {
        // SAFETY: it is open, and nothing owns it any more.
        unsafe { Self::from_raw_fd(descriptor.into_raw()) }
    }
}
