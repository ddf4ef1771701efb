//! The threads that answer requests. A thread that has done its work waits a while for more: making and
//! ending a thread costs a call as much time as reading, deciding and recording together. All idle threads
//! wait at one epoll, and the last to wait is the first to be woken, so that after a burst the other threads
//! run out of time and end. While no thread is idle, the main thread's epoll watches that epoll; the main
//! thread then starts one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};

use crate::limits::{CALL_STACK_BYTES, WORKER_PATIENCE, WORKER_PAUSE};
use crate::sys;

/// The work of a pool's threads.
pub(super) trait EventWork: Send + Sync + 'static {
    /// The epoll at which the threads wait.
    fn epoll(&self) -> &Epoll;

    /// Does all that comes of an event. Returns whether there was something to do.
    fn attend(&self, event: EpollEvent) -> bool;

    /// Called when a thread has had nothing to do for `WORKER_PAUSE`.
    fn rest(&self);
}

/// The threads of a pool, at work and idle.
#[derive(Debug)]
pub(super) struct ThreadPool<W: EventWork>(Arc<SharedThreads<W>>);

#[derive(Debug)]
struct SharedThreads<W: EventWork> {
    work: W,
    /// The threads that wait at the work's epoll, or are on their way there.
    idle: AtomicUsize,
    /// The main thread's epoll, and its event for an event that finds no idle thread.
    main_epoll: Arc<Epoll>,
    unattended: u64,
}

impl<W: EventWork> ThreadPool<W> {
    /// A pool without threads. As long as none is idle, an event of the work's epoll makes the event
    /// `unattended` of `main_epoll`, once.
    pub(super) fn new(work: W, main_epoll: Arc<Epoll>, unattended: u64) -> io::Result<Self> {
        main_epoll.add(&work.epoll().0, EpollEvent::new(once(true), unattended))?;
        Ok(Self(Arc::new(SharedThreads { work, idle: AtomicUsize::new(0), main_epoll, unattended })))
    }

    /// Starts a thread if none is idle. Errors: the kernel cannot make one; no event tells of the work until
    /// [`watch`](Self::watch).
    pub(super) fn attend(&self) -> io::Result<()> {
        let pool = self.0.clone();
        if pool.idle.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        pool.idle.fetch_add(1, Ordering::SeqCst);
        let hired = thread::Builder::new()
            .name("call".into())
            .stack_size(CALL_STACK_BYTES)
            .spawn(move || pool.serve());
        if hired.is_err() {
            self.0.idle.fetch_sub(1, Ordering::SeqCst);
        }
        hired.map(drop)
    }

    /// Has an event tell of work that no thread attends to.
    pub(super) fn watch(&self) {
        if self.0.idle.load(Ordering::SeqCst) == 0 {
            self.0.set_watched(true);
        }
    }
}

impl<W: EventWork> SharedThreads<W> {
    /// The life of a thread, which is counted as idle already: it ends after a while without work. The last
    /// idle thread gives unused memory back to the kernel.
    fn serve(&self) {
        let mut patience = WORKER_PAUSE;
        loop {
            let event = self.wait(patience);
            let is_last = self.leave_idle();
            match event {
                Some(event) if self.work.attend(event) => patience = WORKER_PAUSE,
                Some(_) => {}
                None if patience == WORKER_PAUSE => {
                    self.work.rest();
                    patience = WORKER_PATIENCE;
                }
                None if is_last => {
                    sys::give_back_stacks();
                    return sys::give_back_memory();
                }
                None => return,
            }
            self.enter_idle();
        }
    }

    /// One event, so that others are left to other threads. A wait that fails counts as one without an event:
    /// if the thread then ends, the next event gets another thread.
    fn wait(&self, patience: Duration) -> Option<EpollEvent> {
        let mut events = [EpollEvent::empty()];
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::MAX);
        let count = self.work.epoll().wait(&mut events, timeout).unwrap_or(0);
        events.first().copied().filter(|_| count > 0)
    }

    /// Notes that a thread is not idle any more. Returns whether it was the last one.
    fn leave_idle(&self) -> bool {
        let is_last = self.idle.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last {
            self.set_watched(true);
        }
        is_last
    }

    fn enter_idle(&self) {
        if self.idle.fetch_add(1, Ordering::SeqCst) == 0 {
            self.set_watched(false);
        }
    }

    /// Has the main thread's epoll watch the work's, or not. Two threads may do so in the wrong order: then
    /// the main thread is woken once though a thread is idle, and never the other way round, because a
    /// thread that becomes idle does this before it can leave.
    fn set_watched(&self, is_watched: bool) {
        let mut event = EpollEvent::new(once(is_watched), self.unattended);
        // It fails only where the one epoll is not in the other.
        self.main_epoll.modify(&self.work.epoll().0, &mut event).ok();
    }
}

/// The flags for one event, or for none.
fn once(is_watched: bool) -> EpollFlags {
    let event = if is_watched { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
    event | EpollFlags::EPOLLONESHOT
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::ThreadId;

    use nix::sys::epoll::EpollCreateFlags;

    use crate::sys::{Locked, Wakeup};

    use super::*;

    /// Work of which each wake is one piece: a thread sends itself, then waits until it may go on.
    struct TestWork {
        epoll: Epoll,
        wakeup: Wakeup,
        seen: Sender<ThreadId>,
        until: Locked<Vec<Receiver<()>>>,
    }

    impl EventWork for TestWork {
        fn epoll(&self) -> &Epoll {
            &self.epoll
        }

        fn attend(&self, _: EpollEvent) -> bool {
            let is_there = self.wakeup.clear();
            if is_there {
                self.seen.send(thread::current().id()).ok();
                let until = self.until.lock().pop();
                until.map(|until| until.recv());
            }
            is_there
        }

        fn rest(&self) {}
    }

    /// The main thread's part: it starts threads as long as the pool has work.
    struct Main {
        pool: ThreadPool<TestWork>,
        epoll: Arc<Epoll>,
        seen: Receiver<ThreadId>,
    }

    impl Main {
        /// A pool whose first threads wait for these before they go on.
        fn new(until: Vec<Receiver<()>>) -> Self {
            let new_epoll = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll");
            let (epoll, wakeup) = (new_epoll(), Wakeup::counting().expect("an eventfd"));
            epoll.add(&wakeup, EpollEvent::new(EpollFlags::EPOLLIN, 0)).expect("watched");
            let (tell, seen) = channel();
            let work = TestWork { epoll, wakeup, seen: tell, until: Locked::new(until) };
            let epoll = Arc::new(new_epoll());
            let pool = ThreadPool::new(work, epoll.clone(), 7).expect("watched");
            Self { pool, epoll, seen }
        }

        fn wake(&self) {
            self.pool.0.work.wakeup.wake();
        }

        /// Attends to work that no thread attends to. Returns whether there was any.
        fn attend(&self, timeout: EpollTimeout) -> bool {
            let mut events = [EpollEvent::empty(); 2];
            let count = self.epoll.wait(&mut events, timeout).expect("a wait");
            events[..count].iter().for_each(|event| assert_eq!(event.data(), 7));
            if count > 0 {
                self.pool.attend().expect("a thread");
            }
            count > 0
        }

        fn wait_for_idle(&self) {
            while self.pool.0.idle.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_thread_that_is_done_does_the_next_work_too() {
        let main = Main::new(Vec::new());
        main.wake();
        assert!(main.attend(EpollTimeout::NONE));
        let first = main.seen.recv().expect("it worked");
        for _ in 0..100 {
            main.wait_for_idle();
            main.wake();
            assert_eq!(main.seen.recv().expect("it saw by itself that there was something to do"), first);
        }
    }

    #[test]
    fn two_pieces_at_a_time_are_two_threads() {
        let (end, until) = channel();
        let main = Main::new(vec![until]);
        main.wake();
        assert!(main.attend(EpollTimeout::NONE));
        let first = main.seen.recv().expect("one");
        main.wake();
        assert!(main.attend(EpollTimeout::NONE));
        assert_ne!(main.seen.recv().expect("the other"), first);
        drop(end);
    }

    #[test]
    fn all_work_is_done_however_many_wake() {
        let (ends, until): (Vec<_>, Vec<_>) = (0..50).map(|_| channel()).unzip();
        let main = Main::new(until);
        let work = &main.pool.0.work;
        let mut count = 0;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| work.wakeup.wake()));
            }
            scope.spawn(|| ends.into_iter().for_each(|end| drop((thread::yield_now(), end))));
            while count < 400 {
                main.attend(EpollTimeout::ZERO);
                count += main.seen.try_iter().count();
            }
        });
        main.wait_for_idle();
        assert!(!main.pool.0.work.wakeup.clear(), "the epoll stays readable");
    }
}
