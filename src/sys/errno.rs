//! The number behind an error.

use std::io;

/// The errno of an error. `EIO` for an error that no system call gave, such as a write that took nothing.
pub fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(nix::libc::EIO)
}
