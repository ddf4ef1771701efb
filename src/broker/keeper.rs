//! Keeps a nursery running, for the accept loop, which sees its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use crate::limits::NURSERY_BACKOFF;
use crate::spawn::{Kin, Nursery, Pool};

/// The nursery, or when there is to be another one.
#[derive(Debug)]
pub(super) struct Keeper {
    nursery: Option<Nursery>,
    /// When one is to be started: the last one ended.
    due: Option<Instant>,
    since: Instant,
    /// The limit of descriptors that commands get.
    open_files: u64,
}

impl Keeper {
    /// No nursery yet; one is due.
    pub(super) fn new(open_files: u64) -> Self {
        let now = Instant::now();
        Self { nursery: None, due: Some(now), since: now, open_files }
    }

    /// When a nursery is to be started.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Starts a nursery for `pool`. `watch` is given its channel, to see its end. One that cannot be had is due again.
    pub(super) fn start(
        &mut self,
        pool: &Arc<Pool>,
        kin: &Kin,
        watch: impl FnOnce(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        self.since = Instant::now();
        self.due = Some(self.since + NURSERY_BACKOFF);
        let nursery = Nursery::start(self.open_files)?;
        kin.note_nursery(nursery.pid());
        let channel = nursery.channel();
        self.nursery = Some(nursery);
        let channel = channel?;
        watch(&channel)?;
        pool.attach(channel.as_fd().try_clone_to_owned()?)?;
        self.due = None;
        Ok(())
    }

    /// The nursery is gone. One that ended at once is not replaced at once.
    pub(super) fn lose(&mut self, pool: &Pool, kin: &Kin) -> io::Result<()> {
        self.due = Some(Instant::now().max(self.since + NURSERY_BACKOFF));
        self.end(pool, kin)
    }

    /// Ends the nursery and waits for it.
    pub(super) fn end(&mut self, pool: &Pool, kin: &Kin) -> io::Result<()> {
        pool.detach();
        let Some(nursery) = self.nursery.take() else { return Ok(()) };
        // Forgotten only when it is reaped: until then a call that ends must not reap it in passing.
        let (pid, ended) = (nursery.pid(), nursery.end());
        kin.forget_nursery(pid);
        ended
    }
}
