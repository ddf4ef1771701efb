//! Which process belongs to which call, where no scope of systemd's says so.
//!
//! The broker is a child subreaper, and so is each command while it lives: what a command's descendants
//! abandon stays below the command, whatever sessions they begin, and comes to the broker in one go when the
//! command ends. It is then claimed for that call. Where two end in one moment, what cannot be told apart is
//! both's: both are over when it has ended. Where that would be wrong, a call has a reaper of its own
//! (`call_reaper.rs`): where its rule lets processes go on, and where this process has children that no call
//! started, which were there before it became a broker. Those, and what they leave, are never signalled. Only
//! this module reaps, under one lock: so a child's pid means that child until then.

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
    /// Processor time.
    pub(in crate::spawn) used: Duration,
    /// What it left.
    pub(in crate::spawn) left: Vec<Pid>,
}

#[derive(Debug)]
struct ReaperState {
    orphans: ChildList,
    nurseries: HashSet<Pid>,
    /// Relays that calls hold. Their numbers mean them for as long as they stand here.
    relays: HashSet<Pid>,
    /// When launchers were last looked at.
    looked: Instant,
    /// Commands or their reapers, and launchers that are about to be one.
    commands: HashSet<Pid>,
    /// Orphans, each with the ended commands that it may belong to.
    claimed: HashMap<Pid, Vec<Pid>>,
    /// Children that no call started. While there are any, calls have reapers, and an orphan that is in no
    /// other list is one of these.
    foreign: HashSet<Pid>,
    /// Orphans that may go on.
    kept: HashSet<Pid>,
    /// Reapers of ended commands, whose processes may go on.
    reapers: HashSet<Pid>,
    /// The scopes that kept processes are in, by path: as many as there are, so no handle of each is held.
    scopes: Vec<String>,
    /// When those were told to end.
    told: Option<Instant>,
}

impl Reaper {
    /// Makes this process the one that orphans come to.
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
        // A list that cannot be read may hold some.
        !state.foreign.is_empty() && (state.look_at_foreign().is_err() || !state.foreign.is_empty())
    }

    /// Takes note of a nursery.
    pub fn note_nursery(&self, pid: Pid) {
        self.state().nurseries.insert(pid);
    }

    /// A nursery has ended.
    pub fn forget_nursery(&self, pid: Pid) {
        self.state().nurseries.remove(&pid);
    }

    /// Takes note of a relay.
    pub(in crate::spawn) fn note_relay(&self, pid: Pid) {
        self.state().relays.insert(pid);
    }

    /// Reaps a relay that has ended. One that cannot be killed is reaped when it ends after all.
    pub(in crate::spawn) fn let_go(&self, pid: Pid) {
        let mut state = self.state();
        state.relays.remove(&pid);
        state.is_over(pid);
    }

    /// Takes note of a launcher that becomes a command now, or whose command begins.
    pub(in crate::spawn) fn adopt(&self, pid: Pid) {
        self.state().commands.insert(pid);
    }

    /// Reaps a command that has ended, and says how, after how much processor time, and what it left. `None`
    /// while its end cannot be seen. Never waits: every other call's end needs this lock.
    pub(in crate::spawn) fn reap(&self, pid: Pid, pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
        let mut state = self.state();
        let Some((end, used)) = sys::reap(pidfd)? else { return Ok(None) };
        state.commands.remove(&pid);
        if state.looked.elapsed() >= PARKED_ROUND {
            state.sweep()?;
        }
        Ok(Some(Ended { end, used, left: state.claim(pid)? }))
    }

    /// Reaps a reaper that has ended, and gives what is left of its call: nothing, unless it was killed.
    /// `None` while its end cannot be seen.
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

    /// Lets go on what is below a reaper, in its scope where it has one.
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

    /// Gives up on a command that cannot be killed; it is reaped when it ends after all.
    pub(in crate::spawn) fn give_up(&self, pid: Pid) {
        let mut state = self.state();
        state.commands.remove(&pid);
        state.kept.insert(pid);
    }

    /// What still runs of an ended command; the ones that have ended since are reaped.
    pub(in crate::spawn) fn left_of(&self, pid: Pid) -> io::Result<Vec<Pid>> {
        self.state().claim(pid)
    }

    /// Lets go on what a command left whose reaper was killed, in its scope where something is left in one.
    /// Gives whether there is anything.
    pub(in crate::spawn) fn keep(&self, pid: Pid, scope: Option<&Cgroup>) -> bool {
        let mut state = self.state();
        state.keep_scope(scope);
        let kept: Vec<_> = state.claimed.extract_if(|_, owners| owners.contains(&pid)).collect();
        let keeps = scope.is_some() || !kept.is_empty();
        state.kept.extend(kept.into_iter().map(|(child, _)| child));
        keeps
    }

    /// The scopes of what was let go on, and when they were told to end, if this is not the first time.
    pub(super) fn kept_scopes(&self) -> (Vec<Cgroup>, Option<Instant>) {
        let mut state = self.state();
        let told = state.told.replace(Instant::now());
        (state.scopes.iter().filter_map(|path| Cgroup::open(path).ok()).collect(), told)
    }

    /// Everything that was let go on, for the broker's end; the ones that have ended are reaped.
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
            // None other is reaped here meanwhile, so the number means this one.
            let Ok(pidfd) = sys::open_pidfd(reaper) else { continue };
            left.extend(left_below(reaper, pidfd.as_fd())?);
        }
        Ok(left)
    }

    /// Kills every child beside nurseries that did not come by an orphan's way, with all below it: launchers
    /// without a call, and what a command made as its own sibling (`CLONE_PARENT`). For the broker's end,
    /// when no call runs any more.
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

    /// Reaps what has ended, claims for `owner` what nobody else's is, and gives what of `owner`'s still
    /// runs. What was reaped may have left others after the list was read: with nobody left, the list is read
    /// until nobody was.
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
        // Those who may have left what comes now: who asks, and the owners of orphans that have ended since.
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

    /// The ended commands that a new orphan may belong to. Its session tells, where a command began it, for
    /// only its descendants are in there; else each that may have left it is an owner.
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

    /// One look at children that no call started, if there are any: what they leave is no call's either.
    fn look_at_foreign(&mut self) -> io::Result<()> {
        for child in self.orphans.list()? {
            let is_known = self.claimed.contains_key(&child) || self.kept.contains(&child);
            if !self.is_over(child) && !is_known {
                self.foreign.insert(child);
            }
        }
        Ok(())
    }

    /// What is seen to in passing, when a call with a reaper is over.
    fn look_round(&mut self) -> io::Result<()> {
        if self.looked.elapsed() >= PARKED_ROUND {
            self.sweep()?;
        }
        if self.foreign.is_empty() { Ok(()) } else { self.look_at_foreign() }
    }

    /// Reaps launchers that ended unused, and relays and commands that were given up and ended after all.
    /// From time to time only: their list is as long as there are calls.
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
