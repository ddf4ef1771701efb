//! The deadline of a stop: a thread that sees the order to stop by itself, and ends the process when too long
//! has passed since. It waits for nothing else and takes no lock of the broker's, so it holds whatever the
//! other threads wait for: a disk that hangs, rules that cannot be read, a process that cannot be ended.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signalfd::SignalFd;

use crate::limits::{CALL_STACK_BYTES, NOTICES_LAST_WAIT, STOP_MAX};
use crate::sys::{self, Wakeup};

use super::notice::{Notice, SayNotice};

/// The status of a broker that had to be ended.
const FAILURE: i32 = 1;

/// Begins the thread. The order is there when `unread` has a signal that was not read yet, or when the thread
/// that read it has woken `taken`. Both are only looked at.
pub(super) fn keep_deadline(unread: SignalFd, taken: Arc<Wakeup>, say: SayNotice) -> io::Result<()> {
    let work = move || {
        let mut order = [unread.as_fd(), taken.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        while sys::poll_until(&mut order, None).is_err() {
            // The kernel has no memory for it now.
            thread::sleep(Duration::from_secs(1));
        }
        thread::sleep(STOP_MAX);
        say(&Notice::StopLate);
        thread::sleep(NOTICES_LAST_WAIT);
        sys::exit_now(FAILURE);
    };
    thread::Builder::new().name("deadline".into()).stack_size(CALL_STACK_BYTES).spawn(work).map(drop)
}
