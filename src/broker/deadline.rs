//! The deadline of a stop: a thread that sees the order to stop by itself, and ends the process when
//! `STOP_MAX` has passed since. It waits for nothing else and takes no lock of the broker's, so it works even
//! while the other threads wait: for a disk that hangs, rules that cannot be read, a process that cannot be
//! ended.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signalfd::SignalFd;

use crate::limits::{CALL_STACK_BYTES, DEADLINE_RETRY, NOTICES_LAST_WAIT, STOP_MAX};
use crate::sys::{self, Wakeup};

use super::notice::{Notice, SayNotice};

/// The exit status of a broker that the deadline ended.
const FAILURE: i32 = 1;

/// Starts the thread. A stop was ordered when `unread` has a signal that was not read yet, or when the thread
/// that read it has woken `taken`. Both are polled and not read.
pub(super) fn keep_deadline(unread: SignalFd, taken: Arc<Wakeup>, say: SayNotice) -> io::Result<()> {
    let work = move || {
        let mut order = [unread.as_fd(), taken.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        while sys::poll_until(&mut order, None).is_err() {
            // The kernel has no memory for the wait now.
            thread::sleep(DEADLINE_RETRY);
        }
        thread::sleep(STOP_MAX);
        say(&Notice::StopLate);
        thread::sleep(NOTICES_LAST_WAIT);
        sys::exit_now(FAILURE);
    };
    thread::Builder::new().name("deadline".into()).stack_size(CALL_STACK_BYTES).spawn(work).map(drop)
}
