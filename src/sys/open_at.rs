//! Opens files for a command at the descriptor numbers that the command's words name, in a process that must
//! not allocate or touch `errno`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::ffi::CStr;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use crate::limits::FIRST_HANDED_FD;

use super::in_child::ChildFd;
use super::mounts::OpenHow;
use super::syscall;

/// Opens these paths (`O_PATH`), the first at number 3, the next at 4 and so on, without close-on-exec. No
/// link is followed. A descriptor that had such a number is closed. Errors: those of `openat2(2)` and
/// `dup3(2)`: `ELOOP` is a link.
#[allow(unsafe_code, reason = "nix's wrappers allocate, and read errno")]
pub fn open_places<'a>(paths: impl Iterator<Item = &'a CStr>) -> nix::Result<()> {
    for (path, number) in paths.zip(FIRST_HANDED_FD.cast_unsigned() as usize..) {
        let flags = (libc::O_PATH | libc::O_CLOEXEC).cast_unsigned();
        let how = OpenHow { flags: flags.into(), mode: 0, resolve: libc::RESOLVE_NO_SYMLINKS };
        let at = libc::AT_FDCWD as isize;
        let open = [
            at.cast_unsigned(),
            path.as_ptr().expose_provenance(),
            (&raw const how).expose_provenance(),
            size_of::<OpenHow>(),
        ];
        // SAFETY: the path is a C string and `how` a whole structure; both outlive the call.
        let opened = unsafe { syscall::call(libc::SYS_openat2, open) }?;
        let opened = RawFd::try_from(opened).map_err(|_| Errno::EBADF)?;
        // SAFETY: it was opened just now, and nothing else owns it.
        place_at(unsafe { ChildFd::from_raw(opened) }, number)?;
    }
    Ok(())
}

/// Moves a descriptor to this number, without close-on-exec. No value that is still used may own the number:
/// [`move_above`] moves the launcher's stream out of the way.
#[allow(unsafe_code, reason = "nix's wrappers read errno")]
pub(super) fn place_at(opened: ChildFd, number: usize) -> nix::Result<()> {
    let at = opened.as_fd().as_raw_fd().cast_unsigned() as usize;
    if at == number {
        // The command owns it from here on.
        opened.into_raw();
        // SAFETY: F_SETFD takes a number; without FD_CLOEXEC the descriptor outlives exec.
        return unsafe { syscall::call(libc::SYS_fcntl, [number, libc::F_SETFD as usize, 0]) }.map(drop);
    }
    // SAFETY: the caller answers for the number.
    unsafe { syscall::call(libc::SYS_dup3, [at, number, 0]) }.map(drop)
}

/// A close-on-exec copy of the descriptor, with a number above those of the first `count` descriptors that a
/// command is handed.
#[allow(unsafe_code, reason = "nix's wrapper reads errno")]
pub fn move_above(descriptor: BorrowedFd<'_>, count: u32) -> nix::Result<ChildFd> {
    let least = FIRST_HANDED_FD.cast_unsigned() + count;
    let arguments =
        [descriptor.as_raw_fd().cast_unsigned() as usize, libc::F_DUPFD_CLOEXEC as usize, least as usize];
    // SAFETY: F_DUPFD_CLOEXEC takes two numbers and touches no memory.
    let moved = unsafe { syscall::call(libc::SYS_fcntl, arguments) }?;
    let moved = RawFd::try_from(moved).map_err(|_| Errno::EBADF)?;
    // SAFETY: it was made just now, and nothing else owns it.
    Ok(unsafe { ChildFd::from_raw(moved) })
}
