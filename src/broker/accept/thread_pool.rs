//! The threads that answer requests. An idle thread waits a while for more work: making and ending a thread
//! costs a call as much time as reading, deciding and recording together. All idle threads wait at one epoll,
//! and the last to wait is the first to be woken, so that after a burst the other threads run out of time and
//! end.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::limits::{CALL_STACK_BYTES, WORKER_PATIENCE, WORKER_PAUSE};
use crate::sys::{self, Locked, Wakeup};

/// The source of a pool's jobs.
pub(super) trait JobSource: Send + Sync + 'static {
    /// The work that one thread does at a time.
    type Job: Send;

    /// Handles events of the epoll other than the wakeup for a job that was handed over. Returns the job that
    /// comes of them, if any.
    fn attend(&self, epoll: &Epoll, events: &[EpollEvent]) -> Option<Self::Job>;

    /// Leaves such events to another thread, because this one has a job that was handed over.
    fn pass_on(&self, events: &[EpollEvent]);

    /// Does a job.
    fn work(&self, job: Self::Job);

    /// Called when a thread has had nothing to do for `WORKER_PAUSE`.
    fn rest(&self);
}

/// The threads of a pool, at work and idle.
pub(super) struct ThreadPool<P: JobSource>(Arc<IdleThreads<P>>);

/// The idle threads, and the jobs for them.
struct IdleThreads<P: JobSource> {
    source: P,
    epoll: Epoll,
    /// Woken once for each job in `jobs`.
    wake_event: Wakeup,
    state: Locked<IdleState<P::Job>>,
}

struct IdleState<J> {
    idle: usize,
    /// Jobs that were handed over, no more than there are idle threads.
    jobs: VecDeque<J>,
}

/// The data of the wakeup's events.
const WAKE: u64 = u64::MAX;
/// The number of events that one thread takes from the epoll at a time.
const EVENTS: usize = 16;

impl<P: JobSource> ThreadPool<P> {
    /// A pool without threads.
    pub(in crate::broker) fn new(source: P) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake_event = Wakeup::counting()?;
        epoll.add(&wake_event, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let state = Locked::new(IdleState { idle: 0, jobs: VecDeque::new() });
        Ok(Self(Arc::new(IdleThreads { source, epoll, wake_event, state })))
    }

    /// The source of its jobs.
    pub(super) fn source(&self) -> &P {
        &self.0.source
    }

    /// The epoll at which idle threads wait.
    pub(super) fn epoll(&self) -> &Epoll {
        &self.0.epoll
    }

    /// Hands a job to an idle thread, or to a new one. Returns the job when the kernel cannot make a thread.
    pub(in crate::broker) fn hand(&self, job: P::Job) -> Result<(), (io::Error, P::Job)> {
        let mut state = self.0.state.lock();
        if state.idle <= state.jobs.len() {
            drop(state);
            return self.hire(job);
        }
        state.jobs.push_back(job);
        // Under the lock: the thread that takes the job clears the wakeup, and must not do so before it is
        // set.
        self.0.wake_event.wake();
        Ok(())
    }

    fn hire(&self, job: P::Job) -> Result<(), (io::Error, P::Job)> {
        let (idle, first) = (self.0.clone(), Arc::new(Locked::new(Some(job))));
        let own = first.clone();
        let life = move || {
            let mut next = take(&own);
            while let Some(job) = next {
                idle.source.work(job);
                next = idle.wait();
            }
        };
        let hired = thread::Builder::new().name("call".into()).stack_size(CALL_STACK_BYTES).spawn(life);
        hired.map(drop).map_err(|source| (source, take(&first).expect("nobody else has it")))
    }
}

fn timeout(patience: Duration) -> EpollTimeout {
    EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::MAX)
}

fn take<J>(slot: &Locked<Option<J>>) -> Option<J> {
    slot.lock().take()
}

impl<P: JobSource> IdleThreads<P> {
    /// Waits for the next job; `None`, after a while without one, ends the thread. The last idle thread gives
    /// unused memory back to the kernel.
    fn wait(&self) -> Option<P::Job> {
        let mut patience = WORKER_PAUSE;
        loop {
            self.state.lock().idle += 1;
            let mut events = [EpollEvent::empty(); EVENTS];
            // A wait that fails counts as one without events: if the thread then ends, the next call gets
            // another thread.
            let there = self.epoll.wait(&mut events, timeout(patience)).unwrap_or(0);
            let events = &events[..there];
            let mut state = self.state.lock();
            state.idle -= 1;
            let (handed, is_last) = (state.jobs.pop_front(), state.idle == 0);
            drop(state);
            if let Some(job) = handed {
                self.wake_event.clear();
                self.source.pass_on(events);
                return Some(job);
            }
            if events.is_empty() && patience == WORKER_PAUSE {
                self.source.rest();
                patience = WORKER_PATIENCE;
                continue;
            }
            if events.is_empty() {
                if is_last {
                    sys::give_back_stacks();
                    sys::give_back_memory();
                }
                return None;
            }
            if let Some(job) = self.source.attend(&self.epoll, events) {
                return Some(job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::ThreadId;

    use super::*;

    /// A job that sends its thread, then waits until it may end.
    type Told = (Sender<ThreadId>, Option<Receiver<()>>);

    /// A source of which the only event is its own wakeup; it sends the thread that saw the wakeup.
    struct TestSource(Wakeup, Sender<ThreadId>);

    impl JobSource for TestSource {
        type Job = Told;

        fn attend(&self, _: &Epoll, _: &[EpollEvent]) -> Option<Told> {
            self.0.clear().then(|| (self.1.clone(), None))
        }

        fn pass_on(&self, _: &[EpollEvent]) {}

        fn work(&self, (tell, until): Told) {
            tell.send(thread::current().id()).ok();
            until.map(|until| until.recv());
        }

        fn rest(&self) {}
    }

    /// A pool, and the threads that saw the wakeup.
    fn workers() -> (ThreadPool<TestSource>, Receiver<ThreadId>) {
        let (tell, seen) = channel();
        let source = TestSource(Wakeup::new().expect("an eventfd"), tell);
        let workers = ThreadPool::new(source).expect("an epoll");
        let word = EpollEvent::new(EpollFlags::EPOLLIN, 0);
        workers.epoll().add(&workers.source().0, word).expect("watched");
        (workers, seen)
    }

    fn hand(workers: &ThreadPool<TestSource>, job: Told) {
        workers.hand(job).map_err(|(source, _)| source).expect("a thread");
    }

    fn wait_for_idle(workers: &ThreadPool<TestSource>) {
        while workers.0.state.lock().idle == 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_thread_that_is_done_has_the_next_job_too() {
        let ((workers, seen), (tell, told)) = (workers(), channel());
        hand(&workers, (tell.clone(), None));
        let first = told.recv().expect("it worked");
        wait_for_idle(&workers);
        hand(&workers, (tell, None));
        assert_eq!(told.recv().expect("it worked"), first);
        wait_for_idle(&workers);
        workers.source().0.wake();
        assert_eq!(seen.recv().expect("it saw by itself that there was something to do"), first);
    }

    #[test]
    fn two_jobs_at_a_time_are_two_threads() {
        let ((workers, _), (tell, told)) = (workers(), channel());
        let (end, until) = channel();
        hand(&workers, (tell.clone(), Some(until)));
        hand(&workers, (tell, None));
        assert_ne!(told.recv().expect("one"), told.recv().expect("the other"));
        drop(end);
    }

    #[test]
    fn what_is_handed_is_done_whoever_else_rings() {
        let ((workers, _), (tell, told)) = (workers(), channel());
        let mut ends = Vec::new();
        for _ in 0..100 {
            let (end, until) = channel();
            hand(&workers, (tell.clone(), Some(until)));
            workers.source().0.wake();
            ends.push(end);
            while ends.len() > 3 {
                ends.remove(0);
            }
        }
        drop(ends);
        assert!((0..100).all(|_| told.recv().is_ok()));
        assert!(!workers.0.wake_event.clear(), "the epoll stays readable");
    }
}
