//! Keeps a nursery running: when the main thread sees the end of one, it has another one started here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::{NURSERY_BACKOFF, NURSERY_BACKOFF_MAX};
use crate::spawn::{LauncherPool, Nursery, Reaper};

/// The nursery, or the time at which another one is due.
#[derive(Debug)]
pub(super) struct NurserySupervisor {
    nursery: Option<Nursery>,
    /// The time at which a nursery is to be started, when the last one has ended.
    due: Option<Instant>,
    since: Instant,
    /// The number of nurseries in a row that made no launcher.
    failures: u32,
    /// The limit of descriptors that commands get.
    open_files: u64,
}

impl NurserySupervisor {
    /// No nursery yet; one is due.
    pub(super) fn new(open_files: u64) -> Self {
        let now = Instant::now();
        Self { nursery: None, due: Some(now), since: now, failures: 0, open_files }
    }

    /// Whether a failure is worth a notice: of failures in a row, the first one is.
    pub(super) fn is_news(&self) -> bool {
        self.failures <= 1
    }

    /// The time at which a nursery is to be started.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Starts a nursery for `pool`. `watch` is given its channel, to see its end. A nursery that cannot be
    /// started is due again later.
    pub(super) fn start(
        &mut self,
        pool: &Arc<LauncherPool>,
        reaper: &Reaper,
        watch: impl FnOnce(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        self.since = Instant::now();
        self.due = Some(self.since + self.backoff());
        let nursery = Nursery::start(self.open_files)?;
        reaper.note_nursery(nursery.pid());
        let (pid, channel) = (nursery.pid(), nursery.channel());
        self.nursery = Some(nursery);
        let channel = channel?;
        watch(&channel)?;
        pool.attach(pid, channel.as_fd().try_clone_to_owned()?)?;
        self.due = None;
        Ok(())
    }

    /// Notes that the nursery ended. After a nursery that ended at once, the next one is due later; after
    /// several that made no launcher, each waits longer. Returns the reason why it made no launcher, if it
    /// made none.
    pub(super) fn lose(&mut self, pool: &LauncherPool, reaper: &Reaper) -> io::Result<Option<io::Error>> {
        let trouble = pool.health().err();
        self.failures = if trouble.is_some() { self.failures + 1 } else { 0 };
        self.due = Some(Instant::now().max(self.since + self.backoff()));
        self.end(pool, reaper).map(|()| trouble)
    }

    /// Notes that a nursery could not even be started.
    pub(super) fn fail(&mut self) {
        self.failures += 1;
        self.due = Some(self.since + self.backoff());
    }

    fn backoff(&self) -> Duration {
        let doubled = self.failures.saturating_sub(1).min(16);
        (NURSERY_BACKOFF * (1 << doubled)).min(NURSERY_BACKOFF_MAX)
    }

    /// Ends the nursery and waits for it a while.
    pub(super) fn end(&mut self, pool: &LauncherPool, reaper: &Reaper) -> io::Result<()> {
        pool.detach();
        let Some(nursery) = self.nursery.take() else { return Ok(()) };
        // Forgotten only when it is reaped: until then a call that ends must not reap it in passing.
        let (pid, ended) = (nursery.pid(), nursery.end());
        if ended.as_ref().is_ok_and(|ended| *ended) {
            reaper.forget_nursery(pid);
        }
        ended.map(drop)
    }
}
