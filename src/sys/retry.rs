//! `EINTR`: a system call that a signal interrupted is made again.

use std::io;

use nix::errno::Errno;

/// Runs a system call again for as long as a signal interrupts it.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result.map_err(Into::into),
        }
    }
}
