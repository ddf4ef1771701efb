//! Descriptors that the process was started with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::libc;

/// Takes ownership of an inherited descriptor, once: a second call for the same number gives `None`.
///
/// The number must come from a protocol that hands it over (`LISTEN_FDS`, `SLUICE_FD`), and be open.
#[allow(unsafe_code, reason = "the descriptor exists by protocol, not by type")]
pub fn adopt_descriptor(number: RawFd) -> Option<OwnedFd> {
    static ADOPTED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());
    let mut adopted = ADOPTED.lock().ok()?;
    if number <= 2 || adopted.contains(&number) {
        return None;
    }
    adopted.push(number);
    // SAFETY: the activation protocol gave this process the descriptor, and the list above hands it out once.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes ownership of an inherited descriptor that the environment or an argument names, once. It has to be
/// called before this process opens descriptors of its own: their numbers could be meant by mistake.
/// Errors: `EBADF` (none of this number is open, or it was taken already, or it is one of the first three).
#[allow(unsafe_code, reason = "whether a number is open can only be asked by the number")]
pub fn adopt_open(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a number goes in, and nothing is changed.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    adopt_descriptor(number).ok_or_else(|| Errno::EBADF.into())
}
