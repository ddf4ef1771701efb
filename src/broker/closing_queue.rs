//! The connections of one listening socket that are to be closed, and the process that closes them.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;

use crate::limits::{CLOSER_BATCH, CLOSER_IDLE, CLOSER_PATIENCE, CLOSING_ROUND, SOCKET_CLOSERS_MAX};
use crate::spawn::{CloseMode, EndingLauncher, Launcher, LauncherPool, Reaper};
use crate::sys;

/// A connection that is to be closed.
#[derive(Debug)]
pub(super) struct UnclosedConnection {
    pub(super) fd: OwnedFd,
    pub(super) how: CloseMode,
}

/// The connections of one listening socket, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct ClosingQueue {
    queue: VecDeque<UnclosedConnection>,
    /// Connections that are not emptied first: the end of a process closes a batch of them at a time.
    as_it_is: VecDeque<UnclosedConnection>,
    closer: Option<CloserProcess>,
    /// Processes that are to end; in a file system of the caller's, one may hang for ever.
    endings: Vec<EndingLauncher>,
    /// The time at which a process is asked for again.
    retry: Option<Instant>,
}

/// A process that closes connections.
#[derive(Debug)]
struct CloserProcess {
    process: Launcher,
    /// The connections that were sent to it, and of which it has not said yet that they are closed.
    sent: VecDeque<UnclosedConnection>,
    /// The time at which it last got a connection, or said that one is closed.
    since: Instant,
    /// The number of connections that it keeps, and that its end closes.
    kept: usize,
}

impl ClosingQueue {
    pub(super) fn push(&mut self, unclosed: UnclosedConnection) {
        match unclosed.how {
            CloseMode::Emptied => self.queue.push_back(unclosed),
            CloseMode::AsItIs => self.as_it_is.push_back(unclosed),
        }
    }

    /// Does what can be done now, and returns how many connections were closed.
    pub(super) fn advance(&mut self, now: Instant, pool: &LauncherPool, reaper: &Reaper) -> usize {
        self.endings.retain(|ending| !ending.is_over(reaper));
        let closed = self.hear(now);
        if self.closer.as_mut().is_some_and(|closer| closer.is_held_up(now)) {
            self.replace();
        }
        if self.retry.is_none_or(|retry| retry <= now) {
            self.retry = None;
            return closed + self.send(now, pool);
        }
        closed
    }

    /// Reads the messages of the process, and returns how many connections it has closed.
    fn hear(&mut self, now: Instant) -> usize {
        let Some(closer) = &mut self.closer else { return 0 };
        let Ok(said) = closer.process.closed() else {
            self.replace();
            return 0;
        };
        let closed = said.min(closer.sent.len());
        if closed > 0 {
            closer.since = now;
            // A connection that was emptied holds nothing, and this drops the last reference to it. Of a
            // connection that is closed as it is, the process has a reference too.
            closer.sent.drain(..closed);
        }
        let is_done = closer.sent.is_empty();
        let is_idle = self.queue.is_empty() && self.as_it_is.is_empty() && now >= closer.since + CLOSER_IDLE;
        if is_done && (closer.kept > 0 || is_idle) {
            self.endings.extend(self.closer.take().map(|closer| closer.process.let_go()));
        }
        closed
    }

    /// Ends a process that is held up, or gone. The connection that it was closing is not emptied by the next
    /// process: the end of that process closes it, without a wait.
    fn replace(&mut self) {
        let Some(CloserProcess { process, sent, .. }) = self.closer.take() else { return };
        process.kill();
        self.endings.push(process.let_go());
        let mut sent = sent.into_iter();
        let held_up = sent.next().map(|unclosed| UnclosedConnection { how: CloseMode::AsItIs, ..unclosed });
        held_up.into_iter().for_each(|unclosed| self.push(unclosed));
        sent.for_each(|unclosed| self.push(unclosed));
    }

    /// Sends the process as many connections as it has room for. Returns how many were closed here instead:
    /// where the user has so many descriptors in flight that no connection can be sent, the descriptors in
    /// the waiting connections are among them, and are closed here.
    fn send(&mut self, now: Instant, pool: &LauncherPool) -> usize {
        loop {
            let is_batch = self.as_it_is.len() >= CLOSER_BATCH || self.queue.is_empty();
            let from = if is_batch { &mut self.as_it_is } else { &mut self.queue };
            let Some(next) = from.front() else { return 0 };
            if self.closer.is_none() {
                let may_begin = self.endings.len() < SOCKET_CLOSERS_MAX;
                let process = if may_begin { pool.try_take() } else { None };
                let Some(process) = process else {
                    self.retry = Some(now + CLOSING_ROUND);
                    return 0;
                };
                self.closer = Some(CloserProcess { process, sent: VecDeque::new(), since: now, kept: 0 });
            }
            let Some(closer) = &mut self.closer else { return 0 };
            // A process that keeps connections ends when its whole batch has been sent to it.
            let is_to_end =
                closer.kept >= CLOSER_BATCH || (closer.kept > 0 && next.how == CloseMode::Emptied);
            if is_to_end || closer.sent.len() >= CLOSER_BATCH {
                return 0;
            }
            if let Err(source) = closer.process.close(&next.fd, next.how) {
                self.retry = Some(now + CLOSING_ROUND);
                // With any other error the process has ended, which `hear` finds.
                let is_crowded = source.raw_os_error() == Some(Errno::ETOOMANYREFS as i32);
                return if is_crowded { self.empty_here() } else { 0 };
            }
            if closer.sent.is_empty() {
                closer.since = now;
            }
            closer.kept += usize::from(next.how == CloseMode::AsItIs);
            closer.sent.extend(from.pop_front());
        }
    }

    /// Empties connections that cannot be sent to a process. This thread may have to wait for a socket that
    /// lingers.
    fn empty_here(&mut self) -> usize {
        let mut closed = 0;
        while let Some(unclosed) = self.queue.pop_front() {
            while matches!(sys::discard(unclosed.fd.as_fd()), Ok(true) | Err(Errno::ECONNRESET)) {}
            closed += 1;
        }
        closed
    }

    /// Whether all connections are closed.
    pub(super) fn is_done(&self) -> bool {
        let is_calm = self.closer.as_ref().is_none_or(|closer| closer.sent.is_empty());
        self.queue.is_empty() && self.as_it_is.is_empty() && is_calm
    }

    /// Whether all connections are closed, and no process is left to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.is_done() && self.closer.is_none() && self.endings.is_empty()
    }

    /// The descriptors that the thread waits at.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let closer = self.closer.iter().map(|closer| closer.process.stream());
        closer.chain(self.endings.iter().map(EndingLauncher::pidfd))
    }

    /// The time at which there is work to do, if nothing happens until then.
    pub(super) fn due(&self) -> Option<Instant> {
        let closer = self
            .closer
            .as_ref()
            .map(|closer| closer.since + if closer.sent.is_empty() { CLOSER_IDLE } else { CLOSER_PATIENCE });
        // While nothing can be sent, an idle process need not be looked at.
        closer.filter(|_| self.retry.is_none()).into_iter().chain(self.retry).min()
    }

    /// Leaves connections that are not closed to the end of this process, which closes them.
    pub(super) fn leave(self) {
        self.queue.into_iter().chain(self.as_it_is).for_each(mem::forget);
        self.closer.into_iter().flat_map(|closer| closer.sent).for_each(mem::forget);
    }
}

impl CloserProcess {
    /// Whether the process has had connections to close for `CLOSER_PATIENCE`, and sleeps. If it runs, it has
    /// that long again.
    fn is_held_up(&mut self, now: Instant) -> bool {
        if self.sent.is_empty() || now < self.since + CLOSER_PATIENCE {
            return false;
        }
        self.since = now;
        !self.process.is_running()
    }
}
