//! Descriptors by number, and which ones survive exec.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use nix::errno::Errno;

/// This process's stdin, stdout and stderr, without the buffers that the standard library makes to ask the same of them.
/// Each is open: the Rust runtime puts /dev/null where the caller closed one.
#[allow(unsafe_code, reason = "a number is made a descriptor")]
pub fn stdio() -> [BorrowedFd<'static>; 3] {
    // SAFETY: they are open from before main on, and no owner of ours closes them.
    [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) })
}

/// Marks every descriptor from `first` on close-on-exec. `close_range(2)`, Linux 5.11.
#[allow(unsafe_code, reason = "nix has no close_range")]
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let first = u32::try_from(first).map_err(|_| Errno::EINVAL)?;
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed now, so no owner loses its descriptor.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(result)?;
    Ok(())
}
