//! `EINTR`: a system call that a signal interrupted is made again.

use std::io;

use nix::errno::Errno;

/// Runs a system call again for as long as a signal interrupts it.
pub(super) fn uninterrupted<T>(call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    Ok(repeated(call)?)
}

/// Like [`uninterrupted`], but gives the errno itself. Allocates nothing, and touches `errno` only if the
/// call does.
pub(super) fn repeated<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
