//! Waits for events of descriptors, with a deadline.

use std::io;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::retry::uninterrupted;

/// The other side of a connection sends nothing more (`POLLRDHUP`, which nix does not have, and for which
/// `PollFd::any` gives `None`).
pub const SENDER_DONE: PollFlags = PollFlags::from_bits_retain(libc::POLLRDHUP);

/// Waits until one of `looked_at` is ready or the deadline has passed, and says whether one is. `poll(2)`.
/// A deadline in the past looks once.
pub fn poll_until(looked_at: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if uninterrupted(|| poll(looked_at, timeout(left)))? > 0 {
            return Ok(true);
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
    }
}

/// The time left in milliseconds, rounded up, so that the deadline has passed when the wait ends. A wait that
/// is too long for poll(2) is made in parts.
fn timeout(left: Option<Duration>) -> PollTimeout {
    let Some(left) = left else { return PollTimeout::NONE };
    let milliseconds = left.as_micros().div_ceil(1000);
    i32::try_from(milliseconds).ok().and_then(|ms| PollTimeout::try_from(ms).ok()).unwrap_or(PollTimeout::MAX)
}
