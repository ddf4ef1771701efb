//! The threads that answer. One that is done waits a while for the next call: to make a thread and to end it costs a
//! call as much as its reading, deciding and recording together. The last one to wait is the first to be called, so
//! that a burst's others have their time and end.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::limits::{CALL_STACK_BYTES, WORKER_PATIENCE};
use crate::sys;

/// Threads, at work and waiting, for jobs of one kind.
#[derive(Debug)]
pub(super) struct Workers<J> {
    desk: Arc<Mutex<Desk<J>>>,
    work: fn(J),
}

/// Where those wait who have nothing to do.
#[derive(Debug)]
struct Desk<J> {
    hired: u64,
    waiting: Vec<(u64, SyncSender<J>)>,
}

impl<J: Send + 'static> Workers<J> {
    /// No thread yet; each will do this.
    pub(super) fn new(work: fn(J)) -> Self {
        Self { desk: Arc::new(Mutex::new(Desk { hired: 0, waiting: Vec::new() })), work }
    }

    /// Has a job done by a thread that waits, or by a new one. Gives it back when the kernel has no thread to give.
    pub(super) fn hand(&self, job: J) -> Result<(), (io::Error, J)> {
        let waiting = self.desk().waiting.pop();
        let Some((_, worker)) = waiting else { return self.hire(job) };
        match worker.try_send(job) {
            Ok(()) => Ok(()),
            // It is not there any more.
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => self.hire(job),
        }
    }

    fn hire(&self, job: J) -> Result<(), (io::Error, J)> {
        let (give, jobs) = mpsc::sync_channel(1);
        let number = {
            let mut desk = self.desk();
            desk.hired += 1;
            desk.hired
        };
        let (desk, own, work) = (self.desk.clone(), give.clone(), self.work);
        let life = move || Self { desk, work }.serve(number, &own, &jobs);
        match thread::Builder::new().name("call".into()).stack_size(CALL_STACK_BYTES).spawn(life) {
            Ok(_) => give.send(job).map_err(|SendError(job)| (io::ErrorKind::Other.into(), job)),
            Err(source) => Err((source, job)),
        }
    }

    /// A thread's whole life.
    fn serve(&self, number: u64, own: &SyncSender<J>, jobs: &Receiver<J>) {
        let mut next = jobs.recv().ok();
        while let Some(job) = next {
            (self.work)(job);
            self.desk().waiting.push((number, own.clone()));
            next = self.wait(number, jobs);
        }
    }

    fn wait(&self, number: u64, jobs: &Receiver<J>) -> Option<J> {
        match jobs.recv_timeout(WORKER_PATIENCE) {
            Err(RecvTimeoutError::Timeout) if self.leave(number) => None,
            // It was called just now.
            Err(RecvTimeoutError::Timeout) => jobs.recv().ok(),
            called => called.ok(),
        }
    }

    /// Waits no more; `false` when it does not wait any more already. The last one gives back what all of them needed.
    fn leave(&self, number: u64) -> bool {
        let mut desk = self.desk();
        let place = desk.waiting.iter().position(|(waiting, _)| *waiting == number);
        let Some(place) = place else { return false };
        desk.waiting.remove(place);
        let is_last = desk.waiting.is_empty();
        drop(desk);
        if is_last {
            sys::give_back_memory();
        }
        true
    }

    fn desk(&self) -> MutexGuard<'_, Desk<J>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::ThreadId;

    use super::*;

    /// Says who does it, then waits until it may end.
    type Told = (Sender<ThreadId>, Option<Receiver<()>>);

    fn work((tell, until): Told) {
        tell.send(thread::current().id()).ok();
        until.map(|until| until.recv());
    }

    fn hand(workers: &Workers<Told>, job: Told) {
        workers.hand(job).map_err(|(source, _)| source).expect("a thread");
    }

    #[test]
    fn a_thread_that_is_done_has_the_next_job_too() {
        let (workers, (tell, told)) = (Workers::new(work), channel());
        hand(&workers, (tell.clone(), None));
        let first = told.recv().expect("it worked");
        while workers.desk().waiting.is_empty() {
            thread::yield_now();
        }
        hand(&workers, (tell, None));
        assert_eq!(told.recv().expect("it worked"), first);
    }

    #[test]
    fn two_jobs_at_a_time_are_two_threads() {
        let (workers, (tell, told)) = (Workers::new(work), channel());
        let (end, until) = channel();
        hand(&workers, (tell.clone(), Some(until)));
        hand(&workers, (tell, None));
        assert_ne!(told.recv().expect("one"), told.recv().expect("the other"));
        drop(end);
    }
}
