//! Waiting for descriptors, with a deadline.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollEvent};
use nix::sys::time::TimeSpec;

use super::uninterrupted;

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

/// Waits for events at an epoll, at most so long, and says how many there are. `epoll_pwait2(2)`.
#[allow(unsafe_code, reason = "nix's waits whole milliseconds")]
pub fn wait_for_events(epoll: &Epoll, events: &mut [EpollEvent], at_most: Duration) -> io::Result<usize> {
    let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
    let (epoll, at_most) = (epoll.0.as_raw_fd(), *TimeSpec::from_duration(at_most).as_ref());
    let (events, at_most) = (events.as_mut_ptr(), &raw const at_most);
    // SAFETY: the kernel writes at most `room` events, which are what the C library's are, and reads the time.
    let there = unsafe { libc::syscall(libc::SYS_epoll_pwait2, epoll, events, room, at_most, ptr::null::<()>(), 0) };
    Ok(usize::try_from(Errno::result(there)?).unwrap_or_default())
}

/// Rounded up, so that a deadline has passed when the wait ends; a wait that is too long for the call is made in parts.
fn timeout(left: Option<Duration>) -> PollTimeout {
    let Some(left) = left else { return PollTimeout::NONE };
    let milliseconds = left.as_micros().div_ceil(1000);
    i32::try_from(milliseconds).ok().and_then(|ms| PollTimeout::try_from(ms).ok()).unwrap_or(PollTimeout::MAX)
}
