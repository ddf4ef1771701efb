//! Closing connections in other processes, because descriptors may wait in them: closing the last reference
//! to a TCP socket with `SO_LINGER` may take as long as the socket's owner likes. A thread of the broker
//! hands the connections to such a process, one for each listening socket that has any; the broker keeps its
//! own reference until the process has said that nothing is left in the connection. A process that does not
//! say so in time is killed, which ends the wait, and replaced.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};

use crate::limits::{CALL_STACK_BYTES, CLOSING_END_MAX, CLOSING_ROUND, SOCKET_CLOSING_MAX};
use crate::spawn::{CloseMode, LauncherPool, Reaper};
use crate::sys::{self, Locked, Wakeup};

use super::closing_queue::{ClosingQueue, UnclosedConnection};

/// The connections that are being closed, and the thread that has them closed.
#[derive(Debug)]
pub(super) struct ConnectionCloser {
    handed: Locked<Vec<(usize, UnclosedConnection)>>,
    wake_event: Wakeup,
    /// How many connections each socket has here.
    held: Vec<AtomicUsize>,
    ends: AtomicBool,
    thread: Locked<Option<JoinHandle<()>>>,
}

impl ConnectionCloser {
    /// Starts the thread, which hands the connections of so many sockets to processes of `pool`.
    pub(super) fn begin(
        sockets: usize,
        pool: &Arc<LauncherPool>,
        reaper: &Arc<Reaper>,
    ) -> io::Result<Arc<Self>> {
        let wake_event = Wakeup::new()?;
        let held = std::iter::repeat_with(AtomicUsize::default).take(sockets).collect();
        let (handed, ends, thread) = (Locked::default(), AtomicBool::new(false), Locked::default());
        let closing = Arc::new(Self { handed, wake_event, held, ends, thread });
        let work = CloserThread {
            closing: closing.clone(),
            pool: pool.clone(),
            reaper: reaper.clone(),
            queues: BTreeMap::new(),
        };
        let begun = thread::Builder::new().name("closing".into()).stack_size(CALL_STACK_BYTES);
        *closing.thread.lock() = Some(begun.spawn(move || work.run())?);
        Ok(closing)
    }

    /// Has a connection closed that was accepted at a socket. Never waits. If the connection was answered,
    /// its caller sees the end at once.
    pub(super) fn hand(&self, socket: usize, fd: OwnedFd, how: CloseMode) {
        if how == CloseMode::Emptied {
            // This fails where the caller has closed the connection already.
            shutdown(fd.as_raw_fd(), Shutdown::Both).ok();
        }
        self.count(socket, 1, 0);
        self.handed.lock().push((socket, UnclosedConnection { fd, how }));
        self.wake_event.wake();
    }

    /// Connections of a socket that are not closed yet.
    pub(super) fn held(&self, socket: usize) -> usize {
        self.held.get(socket).map_or(0, |held| held.load(Ordering::Relaxed))
    }

    /// Connections of all sockets that are not closed yet.
    pub(super) fn held_in_all(&self) -> usize {
        self.held.iter().map(|held| held.load(Ordering::Relaxed)).sum()
    }

    /// Whether a socket may accept more connections: those that are stuck count against the socket that they
    /// came from.
    pub(super) fn has_room(&self, socket: usize) -> bool {
        self.held(socket) < SOCKET_CLOSING_MAX
    }

    /// Closes the connections that are left, for [`CLOSING_END_MAX`] at most. The end of this process closes
    /// the rest: then the kernel does not wait for sockets that linger.
    pub(super) fn end(&self) {
        self.ends.store(true, Ordering::SeqCst);
        self.wake_event.wake();
        let thread = self.thread.lock().take();
        // A thread that panicked has nothing to close any more.
        thread.map(JoinHandle::join);
    }

    /// Changes the count of a socket.
    fn count(&self, socket: usize, more: usize, less: usize) {
        if let Some(held) = self.held.get(socket) {
            held.fetch_add(more, Ordering::Relaxed);
            held.fetch_sub(less, Ordering::Relaxed);
        }
    }
}

/// The thread's own state.
struct CloserThread {
    closing: Arc<ConnectionCloser>,
    pool: Arc<LauncherPool>,
    reaper: Arc<Reaper>,
    /// By socket, for sockets that have connections to close.
    queues: BTreeMap<usize, ClosingQueue>,
}

impl CloserThread {
    fn run(mut self) {
        let mut give_up = None;
        loop {
            // Read first, so that no connection is missed that was handed over before the end was asked for.
            let ends = self.closing.ends.load(Ordering::SeqCst);
            for (socket, unclosed) in mem::take(&mut *self.closing.handed.lock()) {
                self.queues.entry(socket).or_default().push(unclosed);
            }
            let now = Instant::now();
            for (socket, queue) in &mut self.queues {
                let closed = queue.advance(now, &self.pool, &self.reaper);
                self.closing.count(*socket, 0, closed);
            }
            if ends {
                let give_up = *give_up.get_or_insert(now + CLOSING_END_MAX);
                if now >= give_up || self.queues.values().all(ClosingQueue::is_done) {
                    break;
                }
            }
            self.queues.retain(|_, queue| !queue.is_over());
            self.wait(give_up);
        }
        self.queues.into_values().for_each(ClosingQueue::leave);
        mem::take(&mut *self.closing.handed.lock()).into_iter().for_each(mem::forget);
    }

    fn wait(&self, give_up: Option<Instant>) {
        let mut looked_at = vec![PollFd::new(self.closing.wake_event.as_fd(), PollFlags::POLLIN)];
        looked_at.extend(
            self.queues.values().flat_map(ClosingQueue::watched).map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        );
        let due = self.queues.values().filter_map(ClosingQueue::due).chain(give_up).min();
        if sys::poll_until(&mut looked_at, due).is_err() {
            // The kernel has no memory for the wait now.
            thread::sleep(CLOSING_ROUND);
        }
        self.closing.wake_event.clear();
    }
}
