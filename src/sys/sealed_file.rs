//! Makes files in memory for a command at the descriptor numbers that its variables name, in a process that
//! must not allocate or touch `errno`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use super::in_child::ChildFd;
use super::open_at::place_at;
use super::syscall;

/// The name by which `/proc/PID/fd` shows such a file.
const NAME: &CStr = c"secret";

/// The mode of such a file: programs refuse keys that others could read.
const MODE: usize = 0o400;

/// Makes a file for each content, the first at the number `first`, the next at the next, without
/// close-on-exec. A file can be read only, from its beginning, by whoever has the descriptor or may open
/// `/proc/PID/fd/N`. A descriptor that had such a number is closed. `memfd_create(2)`. Errors: `EMFILE`,
/// `ENFILE`, `ENOMEM`, `ENOSYS` or `EPERM` of a filter of system calls.
#[allow(unsafe_code, reason = "nix's wrappers read errno")]
pub fn place_contents<'a>(contents: impl Iterator<Item = &'a [u8]>, first: u32) -> nix::Result<()> {
    for (content, number) in contents.zip(first as usize..) {
        let file = new_file()?;
        fill(file.as_fd(), content)?;
        // SAFETY: two numbers go in.
        unsafe { syscall::call(libc::SYS_fchmod, [raw(file.as_fd()), MODE]) }?;
        let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
        let arguments = [raw(file.as_fd()), flag(libc::F_ADD_SEALS), flag(seals)];
        // SAFETY: F_ADD_SEALS takes two numbers and touches no memory.
        unsafe { syscall::call(libc::SYS_fcntl, arguments) }?;
        place_at(file, number)?;
    }
    Ok(())
}

/// An empty file in memory that can be sealed, and, from Linux 6.3 on, not be executed.
#[allow(unsafe_code, reason = "nix's memfd_create reads errno")]
fn new_file() -> nix::Result<ChildFd> {
    let plain = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let make = |flags: libc::c_uint| {
        let arguments = [NAME.as_ptr().expose_provenance(), flags as usize];
        // SAFETY: the name is a C string that outlives the call.
        unsafe { syscall::call(libc::SYS_memfd_create, arguments) }
    };
    let made = match make(plain | libc::MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => make(plain),
        made => made,
    }?;
    let number = RawFd::try_from(made).map_err(|_| Errno::EBADF)?;
    // SAFETY: it was made just now, and nothing else owns it.
    Ok(unsafe { ChildFd::from_raw(number) })
}

/// Writes all of the content, and leaves the descriptor's place in the file at its beginning.
#[allow(unsafe_code, reason = "nix's pwrite reads errno")]
fn fill(file: BorrowedFd<'_>, content: &[u8]) -> nix::Result<()> {
    let mut done = 0;
    while let Some(rest) = content.get(done..).filter(|rest| !rest.is_empty()) {
        let arguments = [raw(file), rest.as_ptr().expose_provenance(), rest.len(), done];
        // SAFETY: so many bytes are there, and outlive the call.
        match unsafe { syscall::call(libc::SYS_pwrite64, arguments) } {
            Ok(0) => return Err(Errno::EIO),
            Ok(written) => done += written,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn raw(file: BorrowedFd<'_>) -> usize {
    flag(file.as_raw_fd())
}

fn flag(number: libc::c_int) -> usize {
    number.cast_unsigned() as usize
}
