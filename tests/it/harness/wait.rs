//! The only place that waits for something the kernel sends no event for: short steps under a deadline with a
//! name.

use std::thread;
use std::time::{Duration, Instant};

/// The deadline of what should take milliseconds, with room for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(5);

/// What `look` finds before `limit` is over; the test fails with `what` when it finds nothing.
#[track_caller]
pub(crate) fn within<T>(limit: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    match found(limit, look) {
        Some(found) => found,
        None => panic!("not within {limit:?}: {what}"),
    }
}

/// What `look` finds before `limit` is over, if anything.
pub(crate) fn found<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(STEP);
    }
}
