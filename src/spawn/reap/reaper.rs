//! Keeps track of which process belongs to which call, where no scope of systemd's says so.
//!
//! The broker is a child subreaper, and so is each command while it lives: orphans of a command's descendants
//! stay below the command, whatever sessions they begin, and become the broker's children all at once when
//! the command ends. They are then claimed for that call. Where two commands end at the same moment, an
//! orphan that could be either's is claimed for both, and both calls are over only when it has ended. Where
//! that would be wrong, a call has a reaper of its own (`call_reaper.rs`): where its rule lets processes go
//! on, and where this process has children that no call started, which were there before it became a broker.
//! Those children, and the orphans that they leave, are never signalled. Only this module reaps, under one
//! lock, so a child's pid stays that child's until this module reaps it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid, getsid};

use crate::cgroup::Cgroup;
use crate::limits::PARKED_ROUND;
use crate::rules::BackgroundMode;
use crate::spawn::process::parent_thread;
use crate::sys::{self, Locked, ProcessEnd};

use super::proc_tree::{ChildList, left_below, signal_tree};

/// The broker's children.
#[derive(Debug)]
pub struct Reaper(Locked<ReaperState>);

/// A command that was reaped.
#[derive(Debug)]
pub(in crate::spawn) struct Ended {
    pub(in crate::spawn) end: ProcessEnd,
    /// Processor time of the command and of the children that it waited for.
    pub(in crate::spawn) used: Duration,
    /// The processes that it left.
    pub(in crate::spawn) left: Vec<Pid>,
}

#[derive(Debug)]
struct ReaperState {
    orphans: ChildList,
    nurseries: HashSet<Pid>,
    /// Relays that calls hold. They are not reaped while they are in this set, so their pids stay theirs.
    relays: HashSet<Pid>,
    /// When unused launchers were last looked for.
    looked: Instant,
    /// Commands, call reapers, and launchers that are about to become one of them.
    commands: HashSet<Pid>,
    /// Orphans, each with the ended commands that it may belong to.
    claimed: HashMap<Pid, Vec<Pid>>,
    /// Children that no call started. While there are any, calls have reapers of their own, and an orphan
    /// that is in no other list is added here.
    foreign: HashSet<Pid>,
    /// Orphans that may go on running, and commands that could not be killed.
    kept: HashSet<Pid>,
    /// Reapers of ended commands, whose processes may go on.
    reapers: HashSet<Pid>,
    /// The paths of scopes with kept processes. Their number has no limit, so no descriptor is held for each.
    scopes: Vec<String>,
    /// When the processes in these scopes were sent SIGTERM.
    told: Option<Instant>,
}

impl Reaper {
    /// Makes this process the subreaper of all processes below it.
    pub fn begin() -> io::Result<Self> {
        prctl::set_child_subreaper(true)?;
        let orphans = ChildList::of(getpid())?;
        let foreign = orphans.list()?.into_iter().collect();
        Ok(Self(Locked::new(ReaperState::new(orphans, foreign))))
    }

    /// Whether a call needs a reaper of its own.
    pub fn wants_reaper(&self, background: BackgroundMode) -> bool {
        if background == BackgroundMode::Keep {
            return true;
        }
        let mut state = self.state();
        // If the list cannot be read, there may be such children.
        !state.foreign.is_empty() && (state.look_at_foreign().is_err() || !state.foreign.is_empty())
    }

    /// Takes note of a nursery.
    pub fn note_nursery(&self, pid: Pid) {
        self.state().nurseries.insert(pid);
    }

    /// Forgets a nursery that has ended.
    pub fn forget_nursery(&self, pid: Pid) {
        self.state().nurseries.remove(&pid);
    }

    /// Takes note of a relay.
    pub(in crate::spawn) fn note_relay(&self, pid: Pid) {
        self.state().relays.insert(pid);
    }

    /// Reaps a relay that has ended. A relay that could not be killed is reaped later, when it ends.
    pub(in crate::spawn) fn let_go(&self, pid: Pid) {
        let mut state = self.state();
        state.relays.remove(&pid);
        state.is_over(pid);
    }

    /// Takes note of a launcher that is about to become a command, or a call reaper.
    pub(in crate::spawn) fn adopt(&self, pid: Pid) {
        self.state().commands.insert(pid);
    }

    /// Reaps a command that has ended, and gives its end, its processor time and the processes that it left.
    /// `None` while its end cannot be seen, because another process traces it. Never waits: every other
    /// call's end needs this lock.
    pub(in crate::spawn) fn reap(&self, pid: Pid, pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
        let mut state = self.state();
        let Some((end, used)) = sys::reap(pidfd)? else { return Ok(None) };
        state.commands.remove(&pid);
        if state.looked.elapsed() >= PARKED_ROUND {
            state.sweep()?;
        }
        Ok(Some(Ended { end, used, left: state.claim(pid)? }))
    }

    /// Reaps a call reaper that has ended, and gives the processes left of its call: none, unless the reaper
    /// was killed. `None` while its end cannot be seen.
    pub(in crate::spawn) fn reap_reaper(
        &self,
        pid: Pid,
        pidfd: BorrowedFd<'_>,
    ) -> io::Result<Option<Vec<Pid>>> {
        let mut state = self.state();
        let Some((end, _)) = sys::reap(pidfd)? else { return Ok(None) };
        state.commands.remove(&pid);
        match end {
            ProcessEnd::Exited(_) => state.look_round().map(|()| Some(Vec::new())),
            ProcessEnd::Signaled(_) => state.claim(pid).map(Some),
        }
    }

    /// Lets the processes below a call reaper go on, and notes their scope if they have one.
    pub(in crate::spawn) fn keep_reaper(&self, pid: Pid, scope: Option<&Cgroup>) -> io::Result<()> {
        let mut state = self.state();
        state.commands.remove(&pid);
        state.reapers.insert(pid);
        state.keep_scope(scope);
        state.look_round()
    }

    /// Reaps a launcher that never had a call, if it has ended.
    pub(in crate::spawn) fn reap_unused(&self, pid: Pid) {
        let mut state = self.state();
        if !state.commands.contains(&pid) {
            state.is_over(pid);
        }
    }

    /// Gives up on a command that cannot be killed; it is reaped later, when it ends.
    pub(in crate::spawn) fn give_up(&self, pid: Pid) {
        let mut state = self.state();
        state.commands.remove(&pid);
        state.kept.insert(pid);
    }

    /// The processes of an ended command that still run; reaps those that have ended.
    pub(in crate::spawn) fn left_of(&self, pid: Pid) -> io::Result<Vec<Pid>> {
        self.state().claim(pid)
    }

    /// Lets the processes go on that a command left, and notes the scope if processes are left in it. For a
    /// command without a reaper, or whose reaper was killed. Gives whether there are any processes.
    pub(in crate::spawn) fn keep(&self, pid: Pid, scope: Option<&Cgroup>) -> bool {
        let mut state = self.state();
        state.keep_scope(scope);
        let kept: Vec<_> = state.claimed.extract_if(|_, owners| owners.contains(&pid)).collect();
        let keeps = scope.is_some() || !kept.is_empty();
        state.kept.extend(kept.into_iter().map(|(child, _)| child));
        keeps
    }

    /// The scopes of kept processes, and when they were sent SIGTERM; `None` the first time.
    pub(super) fn kept_scopes(&self) -> (Vec<Cgroup>, Option<Instant>) {
        let mut state = self.state();
        let told = state.told.replace(Instant::now());
        (state.scopes.iter().filter_map(|path| Cgroup::open(path).ok()).collect(), told)
    }

    /// All processes that were let go on, for the broker's end; reaps those that have ended.
    pub fn kept(&self) -> io::Result<Vec<Pid>> {
        let mut state = self.state();
        let nobody = Pid::from_raw(0);
        state.sweep()?;
        let mut left = if state.foreign.is_empty() {
            state.claim(nobody)?
        } else {
            state.look_at_foreign().map(|()| Vec::new())?
        };
        left.extend(state.kept.iter());
        let reapers: Vec<_> = state.reapers.iter().copied().collect();
        for reaper in reapers {
            // No child is reaped while the lock is held, so the pid is still this reaper's.
            let Ok(pidfd) = sys::open_pidfd(reaper) else { continue };
            left.extend(left_below(reaper, pidfd.as_fd())?);
        }
        Ok(left)
    }

    /// Kills every child of the parent thread but the nurseries, with all processes below it: launchers
    /// without a call, and processes that a command made as its own siblings (`CLONE_PARENT`). For the
    /// broker's end, when no call runs any more.
    pub fn end_siblings(&self) -> io::Result<()> {
        let state = self.state();
        let Some(thread) = parent_thread::thread() else { return Ok(()) };
        let children = ChildList::of(thread)?.list()?;
        children.into_iter().filter(|child| !state.nurseries.contains(child)).for_each(|child| {
            signal_tree(child, Signal::SIGKILL);
        });
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, ReaperState> {
        self.0.lock()
    }
}

impl ReaperState {
    fn new(orphans: ChildList, foreign: HashSet<Pid>) -> Self {
        Self {
            orphans,
            nurseries: HashSet::new(),
            relays: HashSet::new(),
            looked: Instant::now(),
            commands: HashSet::new(),
            claimed: HashMap::new(),
            foreign,
            kept: HashSet::new(),
            reapers: HashSet::new(),
            scopes: Vec::new(),
            told: None,
        }
    }

    fn keep_scope(&mut self, scope: Option<&Cgroup>) {
        let populated = |cgroup: &Cgroup| cgroup.is_populated().unwrap_or(true);
        self.scopes.retain(|path| Cgroup::open(path).is_ok_and(|cgroup| populated(&cgroup)));
        self.scopes.extend(scope.map(|scope| scope.path().to_owned()));
    }

    /// Reaps orphans that have ended, claims new ones, for `owner` too, and gives those of `owner` that still
    /// run. An orphan that was reaped may have left orphans after the list was read; so, if none of `owner`'s
    /// is left, the list is read again until no orphan in it had ended.
    fn claim(&mut self, owner: Pid) -> io::Result<Vec<Pid>> {
        loop {
            let somebody_ended = self.look_through(owner)?;
            let left =
                self.claimed.iter().filter(|(_, owners)| owners.contains(&owner)).map(|(child, _)| *child);
            let left: Vec<_> = left.collect();
            if !somebody_ended || !left.is_empty() {
                return Ok(left);
            }
        }
    }

    /// One look at the orphans. Gives whether one of them had ended.
    fn look_through(&mut self, asking: Pid) -> io::Result<bool> {
        // The commands that may have left new orphans: the asking one, and the owners of orphans that ended.
        let (mut heirs, mut fresh, mut somebody_ended) = (vec![asking], Vec::new(), false);
        for child in self.orphans.list()? {
            let owners = self.claimed.get(&child).cloned();
            if self.is_over(child) {
                somebody_ended = true;
                heirs.extend(owners.unwrap_or_default());
            } else if owners.is_none() && !self.kept.contains(&child) && !self.foreign.contains(&child) {
                fresh.push(child);
            }
        }
        for child in fresh {
            let owners = self.owners_of(child, &heirs);
            self.claimed.insert(child, owners);
        }
        Ok(somebody_ended)
    }

    /// The ended commands that a new orphan may belong to. If a command began the orphan's session, it is the
    /// owner, for only its descendants are in that session; else every command that may have left the orphan
    /// is an owner.
    fn owners_of(&self, child: Pid, heirs: &[Pid]) -> Vec<Pid> {
        let is_owner = |pid: &Pid| {
            self.commands.contains(pid)
                || heirs.contains(pid)
                || self.claimed.values().any(|owners| owners.contains(pid))
        };
        if let Some(owner) = getsid(Some(child)).ok().filter(is_owner) {
            return vec![owner];
        }
        let look = WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let has_ended = |pid: &&Pid| !matches!(wait(**pid, look), Ok(WaitStatus::StillAlive));
        let mut owners: Vec<_> = self.commands.iter().filter(has_ended).chain(heirs).copied().collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Looks through the children that no call started: the orphans that they leave belong to no call either.
    fn look_at_foreign(&mut self) -> io::Result<()> {
        for child in self.orphans.list()? {
            let is_known = self.claimed.contains_key(&child) || self.kept.contains(&child);
            if !self.is_over(child) && !is_known {
                self.foreign.insert(child);
            }
        }
        Ok(())
    }

    /// The upkeep that is done when a call with a reaper is over.
    fn look_round(&mut self) -> io::Result<()> {
        if self.looked.elapsed() >= PARKED_ROUND {
            self.sweep()?;
        }
        if self.foreign.is_empty() { Ok(()) } else { self.look_at_foreign() }
    }

    /// Reaps launchers that ended unused, and relays and commands that were given up and ended after all.
    /// From time to time only: the parent thread's list of children is as long as there are running calls.
    fn sweep(&mut self) -> io::Result<()> {
        self.looked = Instant::now();
        let Some(thread) = parent_thread::thread() else { return Ok(()) };
        for child in ChildList::of(thread)?.list()? {
            let is_held = self.nurseries.contains(&child) || self.relays.contains(&child);
            if !is_held && !self.commands.contains(&child) {
                self.is_over(child);
            }
        }
        Ok(())
    }

    /// Reaps an orphan or an unused launcher that has ended, and forgets it.
    fn is_over(&mut self, child: Pid) -> bool {
        let over = !matches!(wait(child, WaitPidFlag::WNOHANG), Ok(WaitStatus::StillAlive));
        if over {
            self.claimed.remove(&child);
            self.kept.remove(&child);
            self.foreign.remove(&child);
            self.reapers.remove(&child);
        }
        over
    }
}

fn wait(pid: Pid, flags: WaitPidFlag) -> Result<WaitStatus, Errno> {
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | flags)
}
