//! The adapters of the broker: those that serve a request of version 2, those that are done and still close
//! what came with their last one, and those that wait for the next. One that does not come back was left by
//! its caller with a pipe on which a system call hangs; it is killed, and counts against its socket until it
//! has ended.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

use crate::limits::{
    ADAPTER_LATE, ADAPTER_PATIENCE, ADAPTERS_END_MAX, ADAPTERS_IDLE_MAX, SOCKET_ADAPTERS_STUCK_MAX,
};
use crate::refusal::Refusal;
use crate::spawn::{Adapter, AdapterProgress, EndingLauncher, LauncherPool, Reaper};
use crate::sys::{self, Locked};

/// All adapters that serve no request now.
#[derive(Debug)]
pub(super) struct AdapterPool {
    state: Locked<AdapterState>,
    launchers: Arc<LauncherPool>,
    reaper: Arc<Reaper>,
}

#[derive(Debug, Default)]
struct AdapterState {
    free: Vec<Adapter>,
    /// In the order in which their requests ended.
    finishing: Vec<FinishingAdapter>,
    ending: Vec<(usize, EndingLauncher)>,
    /// When it was last looked whether those have ended.
    looked: Option<Instant>,
    /// By socket: those that did not come back and have not ended.
    stuck: BTreeMap<usize, usize>,
}

/// An adapter whose request is over, and that has not said yet that it is free.
#[derive(Debug)]
struct FinishingAdapter {
    adapter: Adapter,
    socket: usize,
    since: Instant,
}

/// An adapter that serves a request. Dropped after the line to it, it goes back to the pool.
#[derive(Debug)]
pub(super) struct LentAdapter {
    adapter: Option<Adapter>,
    socket: usize,
    pool: Arc<AdapterPool>,
}

impl AdapterPool {
    /// A pool without adapters, which are made of launchers.
    pub(super) fn new(launchers: &Arc<LauncherPool>, reaper: &Arc<Reaper>) -> Arc<Self> {
        let (launchers, reaper) = (launchers.clone(), reaper.clone());
        Arc::new(Self { state: Locked::default(), launchers, reaper })
    }

    /// An adapter for a request at a socket, by its index. Where as many of the socket's are late or killed
    /// as may be, waits until one of them is free or has ended, at most until `give_up`: that takes a
    /// processor. One that `is_awaited` may have to be made. Errors: no process can be had, or too many of
    /// the socket's hang.
    pub(super) fn take(
        self: &Arc<Self>,
        socket: usize,
        give_up: Instant,
        is_awaited: bool,
    ) -> Result<LentAdapter, Refusal> {
        let free = loop {
            match self.take_free(socket) {
                Ok(free) => break free,
                Err(refusal) if Instant::now() >= give_up || !self.await_news(socket, give_up)? => {
                    return Err(refusal);
                }
                Err(_) => {}
            }
        };
        let adapter = match free {
            Some(adapter) => adapter,
            None => {
                let made = if is_awaited { self.launchers.take() } else { self.launchers.take_now() };
                Adapter::new(made.map_err(Refusal::no_launcher)?)
            }
        };
        Ok(LentAdapter { adapter: Some(adapter), socket, pool: self.clone() })
    }

    /// A free adapter; `None` where another one may be made. Errors: too many of the socket's hang.
    fn take_free(&self, socket: usize) -> Result<Option<Adapter>, Refusal> {
        let mut state = self.state.lock();
        if let Some(free) = state.take_free() {
            return Ok(Some(free));
        }
        let now = Instant::now();
        state.collect(now, &self.reaper);
        if state.late_at(socket, now) >= SOCKET_ADAPTERS_STUCK_MAX && !state.end_latest(socket, now) {
            return Err(Refusal::AdaptersStuck);
        }
        Ok(state.take_free())
    }

    /// Waits until an adapter of a socket is free or has ended, and gives whether one is. Errors: there is no
    /// descriptor or memory for the wait.
    fn await_news(&self, socket: usize, give_up: Instant) -> Result<bool, Refusal> {
        let waits = self.state.lock().news_at(socket).map_err(Refusal::no_launcher)?;
        let mut looked_at: Vec<_> =
            waits.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        sys::poll_until(&mut looked_at, Some(give_up)).map_err(Refusal::no_launcher)
    }

    /// Takes back those that are free by now, ends those that do not come back, and those that are too many
    /// for a broker at rest.
    pub(super) fn tidy(&self) {
        let mut state = self.state.lock();
        state.collect(Instant::now(), &self.reaper);
        let many = state.free.len().saturating_sub(ADAPTERS_IDLE_MAX);
        let surplus: Vec<_> = state.free.drain(..many).collect();
        // Not stuck: they end as soon as their stream is closed, and count for no socket.
        state.ending.extend(surplus.into_iter().map(|adapter| (usize::MAX, adapter.dismiss(false))));
    }

    /// Waits until the adapters have passed on the last frames of requests that are over, for
    /// [`ADAPTERS_END_MAX`] at most: then the broker ends, and they with it.
    pub(super) fn settle(&self) {
        let give_up = Instant::now() + ADAPTERS_END_MAX;
        let mut finishing = std::mem::take(&mut self.state.lock().finishing);
        while !finishing.is_empty() && Instant::now() < give_up {
            let news = finishing.iter().map(|one| PollFd::new(one.adapter.news(), PollFlags::POLLIN));
            if sys::poll_until(&mut news.collect::<Vec<_>>(), Some(give_up)).is_err() {
                break;
            }
            finishing.retain(|one| one.adapter.progress() == AdapterProgress::Busy);
        }
        self.state.lock().finishing.extend(finishing);
    }

    /// When [`Self::tidy`] has something to do: an adapter that does not come back is to be killed, or one
    /// that was dismissed has ended by then.
    pub(super) fn due(&self) -> Option<Instant> {
        let state = self.state.lock();
        let late = state.finishing.first().map(|finishing| finishing.since + ADAPTER_PATIENCE);
        let ended = state.looked.filter(|_| !state.ending.is_empty()).map(|looked| looked + ADAPTER_LATE);
        late.into_iter().chain(ended).min()
    }
}

impl AdapterState {
    /// A free adapter that is alive.
    fn take_free(&mut self) -> Option<Adapter> {
        loop {
            let adapter = self.free.pop()?;
            if adapter.progress() == AdapterProgress::Busy {
                return Some(adapter);
            }
            self.ending.push((usize::MAX, adapter.dismiss(false)));
        }
    }

    /// The adapters of a socket that ought to be free by now, or to have ended.
    fn late_at(&self, socket: usize, now: Instant) -> usize {
        let is_late = |finishing: &&FinishingAdapter| {
            finishing.socket == socket && finishing.since + ADAPTER_LATE <= now
        };
        self.finishing.iter().filter(is_late).count() + self.stuck.get(&socket).copied().unwrap_or_default()
    }

    /// Copies of the descriptors that tell of those of a socket: that one is free, or has ended.
    fn news_at(&self, socket: usize) -> io::Result<Vec<OwnedFd>> {
        let late = self.finishing.iter().filter(|one| one.socket == socket).map(|one| one.adapter.news());
        let killed = self.ending.iter().filter(|one| one.0 == socket).map(|one| one.1.pidfd());
        late.chain(killed).map(|fd| fd.try_clone_to_owned()).collect()
    }

    /// Kills the adapter of a socket that has been late for longest and sleeps: one that waits for a
    /// processor still has its caller's last frame to write. Gives false where there is none, or as many as a
    /// socket may have were killed and have not ended.
    fn end_latest(&mut self, socket: usize, now: Instant) -> bool {
        let killed = self.stuck.get(&socket).copied().unwrap_or_default();
        let hangs = |finishing: &FinishingAdapter| {
            let is_late = finishing.socket == socket && finishing.since + ADAPTER_LATE <= now;
            is_late && finishing.adapter.is_asleep()
        };
        let latest = self.finishing.iter().position(hangs);
        let latest = latest.filter(|_| killed < SOCKET_ADAPTERS_STUCK_MAX);
        let latest = latest.map(|latest| self.finishing.remove(latest));
        latest.map(|latest| self.give_up(latest)).is_some()
    }

    fn give_up(&mut self, finishing: FinishingAdapter) {
        *self.stuck.entry(finishing.socket).or_default() += 1;
        self.ending.push((finishing.socket, finishing.adapter.dismiss(true)));
    }

    fn collect(&mut self, now: Instant, reaper: &Reaper) {
        for finishing in std::mem::take(&mut self.finishing) {
            let is_late = finishing.since + ADAPTER_PATIENCE <= now;
            match finishing.adapter.progress() {
                AdapterProgress::Free => self.free.push(finishing.adapter),
                AdapterProgress::Busy if !is_late => self.finishing.push(finishing),
                AdapterProgress::Busy | AdapterProgress::Ended => self.give_up(finishing),
            }
        }
        self.looked = Some(now);
        let stuck = &mut self.stuck;
        self.ending.retain(|(socket, ending)| {
            let is_over = ending.is_over(reaper);
            if let Some(count) = stuck.get_mut(socket).filter(|_| is_over) {
                *count -= 1;
            }
            !is_over
        });
        stuck.retain(|_, count| *count > 0);
    }
}

impl LentAdapter {
    /// The adapter itself.
    pub(super) fn adapter(&self) -> &Adapter {
        self.adapter.as_ref().expect("it is there until it is dropped")
    }

    /// Gives back an adapter that was told nothing.
    pub(super) fn give_back(mut self) {
        self.pool.state.lock().free.extend(self.adapter.take());
    }
}

impl Drop for LentAdapter {
    fn drop(&mut self) {
        let Some(adapter) = self.adapter.take() else { return };
        let finishing = FinishingAdapter { adapter, socket: self.socket, since: Instant::now() };
        self.pool.state.lock().finishing.push(finishing);
    }
}
