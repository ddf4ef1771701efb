//! The queue of notices for the operator, and the thread that writes them to stderr. No other thread waits
//! for stderr: it may be a pipe that is not read, a terminal that was stopped (^S), or the socket of a
//! journald that hangs. The flags of stderr are shared with other processes, so it is never made
//! non-blocking; the thread may hang in write(2) for ever, and the process ends all the same.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic;
use std::sync::Condvar;
use std::thread;
use std::time::Instant;

use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags};

use crate::limits::{CALL_STACK_BYTES, NOTICES_BYTES_MAX, NOTICES_LAST_WAIT};
use crate::sys::{self, Locked};

/// The notices of this process.
static NOTICES: NoticeQueue = NoticeQueue::new();

/// Notices that wait for stderr.
#[derive(Debug)]
struct NoticeQueue {
    state: Locked<QueueState>,
    changed: Condvar,
}

#[derive(Debug)]
struct QueueState {
    waiting: VecDeque<String>,
    /// The bytes of all notices in `waiting`.
    bytes: usize,
    /// The number of notices that found no room, since the last one was written.
    dropped: u64,
    /// Whether a notice is being written.
    is_writing: bool,
    has_writer: bool,
}

/// Has `notice` written to stderr, on a line of its own, without waiting for that. Where too many notices
/// wait, it is dropped and counted. Only for a process that may have threads: the first notice starts the
/// writing thread.
pub(super) fn note(notice: &str) {
    NOTICES.push(format!("{}\n", notice.trim_end()));
}

/// Waits until all notices are written, at most [`NOTICES_LAST_WAIT`], because the process is about to end.
pub(super) fn flush() {
    NOTICES.flush(Instant::now() + NOTICES_LAST_WAIT);
}

/// Has panics reported as notices. The standard library's own report would wait for stderr, in the thread
/// that panicked.
pub(super) fn report_panics() {
    panic::set_hook(Box::new(|report| {
        note(&report.to_string());
        if thread::current().name() == Some("main") {
            flush();
        }
    }));
}

impl NoticeQueue {
    const fn new() -> Self {
        let state = QueueState {
            waiting: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            is_writing: false,
            has_writer: false,
        };
        Self { state: Locked::new(state), changed: Condvar::new() }
    }

    fn push(&'static self, notice: String) {
        let mut state = self.state.lock();
        state.add(notice);
        if !state.has_writer {
            // If the kernel has no thread now, the next notice tries again.
            let writer = thread::Builder::new().name("notices".into()).stack_size(CALL_STACK_BYTES);
            state.has_writer = writer.spawn(|| self.write_all(io::stderr().as_fd())).is_ok();
        }
        self.changed.notify_all();
    }

    /// The work of the writing thread.
    fn write_all(&self, stderr: BorrowedFd<'_>) {
        loop {
            let notice = self.next();
            // A closed stderr must not end the broker.
            write(stderr, notice.as_bytes()).ok();
        }
    }

    fn next(&self) -> String {
        let mut state = self.state.lock();
        state.is_writing = false;
        self.changed.notify_all();
        loop {
            if let Some(notice) = state.take() {
                state.is_writing = true;
                return notice;
            }
            state = sys::wait_change(&self.changed, state);
        }
    }

    fn flush(&self, until: Instant) {
        let mut state = self.state.lock();
        if !state.has_writer {
            // There is no writing thread: writes as much as stderr takes at once.
            while let Some(notice) = state.take().filter(|_| is_writable(io::stderr().as_fd())) {
                write(io::stderr().as_fd(), &notice.as_bytes()[..notice.len().min(PIPE_BUF)]).ok();
            }
            return;
        }
        while !state.is_clear() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = sys::wait_change_for(&self.changed, state, left);
        }
    }
}

impl QueueState {
    fn add(&mut self, notice: String) {
        // Notices that came after a dropped one wait behind the line that says so.
        if self.dropped > 0 || self.bytes + notice.len() > NOTICES_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes += notice.len();
        self.waiting.push_back(notice);
    }

    fn take(&mut self) -> Option<String> {
        if let Some(notice) = self.waiting.pop_front() {
            self.bytes -= notice.len();
            return Some(notice);
        }
        let dropped = std::mem::take(&mut self.dropped);
        let plural = if dropped == 1 { " was" } else { "s were" };
        (dropped > 0).then(|| format!("sluice: {dropped} notice{plural} dropped: stderr took nothing\n"))
    }

    fn is_clear(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0 && !self.is_writing
    }
}

fn is_writable(stderr: BorrowedFd<'_>) -> bool {
    sys::poll_until(&mut [PollFd::new(stderr, PollFlags::POLLOUT)], Some(Instant::now())).unwrap_or_default()
}

/// Writes all of the bytes, however long that takes. Another program may have made stderr non-blocking.
fn write(stderr: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match sys::write(stderr, bytes) {
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => {
                sys::poll_until(&mut [PollFd::new(stderr, PollFlags::POLLOUT)], None)?;
            }
            written => bytes = &bytes[written?..],
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_beyond_the_bound_are_counted_and_said_behind_those_that_wait() {
        let mut state = QueueState {
            waiting: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            is_writing: false,
            has_writer: false,
        };
        state.add("a\n".repeat(NOTICES_BYTES_MAX / 2));
        state.add("b\n".to_owned());
        state.add(String::new());
        assert_eq!(state.take().map(|notice| notice.len()), Some(NOTICES_BYTES_MAX));
        assert_eq!(state.take().as_deref(), Some("sluice: 2 notices were dropped: stderr took nothing\n"));
        assert!(state.take().is_none() && state.is_clear());
        state.add("c\n".to_owned());
        assert_eq!(state.take().as_deref(), Some("c\n"));
        assert_eq!(state.bytes, 0);
    }
}
