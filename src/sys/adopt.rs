//! Descriptors that the process was started with.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

/// Takes ownership of an inherited descriptor, once: a second call for the same number gives `None`.
///
/// The number must come from a protocol that hands it over (`LISTEN_FDS`), and be open.
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
