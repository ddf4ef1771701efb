//! The errno of an error, and errors with a common meaning.

use std::io;

/// The errno of an error. `EIO` for an error that no system call gave, such as a write that took nothing.
pub fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(nix::libc::EIO)
}

/// Whether the other side of a socket is gone (`EPIPE`, `ECONNRESET`).
pub fn is_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
