//! Which process belongs to which call, where no scope of systemd's says so.
//!
//! The broker is a child subreaper, and so is each command while it lives: what a command's descendants abandon stays
//! below the command, whatever sessions they begin, and comes to the broker in one go when the command ends. It is
//! then claimed for that call. Only this module reaps, under one lock: so a child's pid means that child until then.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid, getsid};

use crate::limits::PARKED_ROUND;
use crate::rules::Background;
use crate::sd::Cgroup;
use crate::sys::{self, End};

use super::cradle;
use super::tree::Children;

/// The broker's children.
#[derive(Debug)]
pub struct Kin(Mutex<Family>);

#[derive(Debug)]
struct Family {
    orphans: Children,
    nurseries: HashSet<Pid>,
    /// Relays that calls hold. Their numbers mean them for as long as they stand here.
    relays: HashSet<Pid>,
    /// When launchers were last looked at.
    looked: Instant,
    /// Commands, and launchers that are about to be one.
    commands: HashMap<Pid, Background>,
    /// Orphans, each with the ended command that it belongs to.
    claimed: HashMap<Pid, Pid>,
    /// Orphans that may go on, and the ended commands that left them.
    kept: HashSet<Pid>,
    keepers: HashSet<Pid>,
    /// The scopes that kept processes are in, by path: as many as there are, so no handle of each is held.
    scopes: Vec<String>,
    /// When those were told to end.
    told: Option<Instant>,
}

impl Kin {
    /// Makes this process the one that orphans come to.
    pub fn begin() -> io::Result<Self> {
        prctl::set_child_subreaper(true)?;
        let orphans = Children::of(getpid())?;
        orphans.list()?;
        Ok(Self(Mutex::new(Family::new(orphans))))
    }

    /// Takes note of a nursery.
    pub fn note_nursery(&self, pid: Pid) {
        self.family().nurseries.insert(pid);
    }

    /// A nursery has ended.
    pub fn forget_nursery(&self, pid: Pid) {
        self.family().nurseries.remove(&pid);
    }

    /// Takes note of a relay.
    pub(super) fn note_relay(&self, pid: Pid) {
        self.family().relays.insert(pid);
    }

    /// Reaps a relay that has ended. One that cannot be killed is reaped when it ends after all.
    pub(super) fn let_go(&self, pid: Pid) {
        let mut family = self.family();
        family.relays.remove(&pid);
        family.is_over(pid);
    }

    /// Takes note of a launcher that becomes a command now.
    pub(super) fn adopt(&self, pid: Pid, background: Background) {
        self.family().commands.insert(pid, background);
    }

    /// Reaps a command that has ended, and says how, after how much processor time, and what it left.
    pub(super) fn reap(&self, pid: Pid, pidfd: BorrowedFd<'_>) -> io::Result<(End, Duration, Vec<Pid>)> {
        let mut family = self.family();
        let (end, used) = sys::reap(pidfd)?;
        family.commands.remove(&pid);
        if family.looked.elapsed() >= PARKED_ROUND {
            family.sweep()?;
        }
        Ok((end, used, family.claim(pid)?))
    }

    /// Reaps a launcher that never had a call, if it has ended.
    pub(super) fn reap_unused(&self, pid: Pid) {
        let mut family = self.family();
        if !family.commands.contains_key(&pid) {
            family.is_over(pid);
        }
    }

    /// Gives up on a command that cannot be killed; it is reaped when it ends after all.
    pub(super) fn give_up(&self, pid: Pid) {
        let mut family = self.family();
        family.commands.remove(&pid);
        family.kept.insert(pid);
    }

    /// What still runs of an ended command; the ones that have ended since are reaped.
    pub(super) fn left_of(&self, pid: Pid) -> io::Result<Vec<Pid>> {
        self.family().claim(pid)
    }

    /// Lets go on what an ended command left, in its scope where something is left in one. Gives whether there is anything.
    pub(super) fn keep(&self, pid: Pid, scope: Option<&Cgroup>) -> bool {
        let mut family = self.family();
        let populated = |cgroup: &Cgroup| cgroup.is_populated().unwrap_or(true);
        family.scopes.retain(|path| Cgroup::open(path).is_ok_and(|cgroup| populated(&cgroup)));
        family.scopes.extend(scope.map(|scope| scope.path().to_owned()));
        let (kept, claimed) = family.claimed.drain().partition(|(_, owner)| *owner == pid);
        family.claimed = claimed;
        let kept: HashMap<Pid, Pid> = kept;
        let keeps = scope.is_some() || !kept.is_empty();
        family.keepers.extend(kept.values());
        family.kept.extend(kept.into_keys());
        keeps
    }

    /// The scopes of what was let go on, and when they were told to end, if this is not the first time.
    pub(super) fn kept_scopes(&self) -> (Vec<Cgroup>, Option<Instant>) {
        let mut family = self.family();
        let told = family.told.replace(Instant::now());
        (family.scopes.iter().filter_map(|path| Cgroup::open(path).ok()).collect(), told)
    }

    /// Everything that was let go on, for the broker's end; the ones that have ended are reaped.
    pub fn kept(&self) -> io::Result<Vec<Pid>> {
        let mut family = self.family();
        let nobody = Pid::from_raw(0);
        family.sweep()?;
        let mut left = family.claim(nobody)?;
        left.extend(family.kept.iter());
        Ok(left)
    }

    fn family(&self) -> MutexGuard<'_, Family> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Family {
    fn new(orphans: Children) -> Self {
        Self {
            orphans,
            nurseries: HashSet::new(),
            relays: HashSet::new(),
            looked: Instant::now(),
            commands: HashMap::new(),
            claimed: HashMap::new(),
            kept: HashSet::new(),
            keepers: HashSet::new(),
            scopes: Vec::new(),
            told: None,
        }
    }

    /// Reaps what has ended, claims for `owner` what nobody else's is, and gives what of `owner`'s still runs. What was
    /// reaped may have left others after the list was read: with nobody left, the list is read until nobody was.
    fn claim(&mut self, owner: Pid) -> io::Result<Vec<Pid>> {
        loop {
            let somebody_ended = self.look_through(owner)?;
            let left = self.claimed.iter().filter(|(_, of)| **of == owner).map(|(child, _)| *child);
            let left: Vec<_> = left.collect();
            if !somebody_ended || !left.is_empty() {
                return Ok(left);
            }
        }
    }

    /// One look at the orphans. Gives whether one of them had ended.
    fn look_through(&mut self, owner: Pid) -> io::Result<bool> {
        let mut somebody_ended = false;
        for child in self.orphans.list()? {
            if self.is_over(child) {
                somebody_ended = true;
            } else if let Some(owner) = self.owner_of(child, owner) {
                self.claimed.insert(child, owner);
            }
        }
        Ok(somebody_ended)
    }

    /// Reaps launchers that ended unused, and relays and commands that were given up and ended after all. From time to time only:
    /// their list is as long as there are calls.
    fn sweep(&mut self) -> io::Result<()> {
        self.looked = Instant::now();
        let Some(thread) = cradle::thread() else { return Ok(()) };
        for child in Children::of(thread)?.list()? {
            let is_held = self.nurseries.contains(&child) || self.relays.contains(&child);
            if !is_held && !self.commands.contains_key(&child) {
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
            if self.kept.is_empty() {
                self.keepers.clear();
            }
        }
        over
    }

    /// The ended command that `child` belongs to, when it is for `asking` to say.
    fn owner_of(&mut self, child: Pid, asking: Pid) -> Option<Pid> {
        if let Some(owner) = self.claimed.get(&child) {
            return Some(*owner);
        }
        let session = getsid(Some(child)).ok()?;
        // What was this process's child before it became a broker is in its session; what a command left never is.
        if self.kept.contains(&child) || Ok(session) == getsid(None) {
            return None;
        }
        if self.keepers.contains(&session) {
            self.kept.insert(child);
            return None;
        }
        // One that began a session of its own is for whoever asks first, unless a command that may leave something
        // running has just ended too: then it is that one's.
        let another = self.commands.contains_key(&session) || (session != asking && self.a_keeper_ended());
        (!another).then_some(asking)
    }

    fn a_keeper_ended(&self) -> bool {
        let keepers = self.commands.iter().filter(|(_, background)| **background == Background::Keep);
        let look = WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        keepers.map(|(pid, _)| wait(*pid, look)).any(|status| !matches!(status, Ok(WaitStatus::StillAlive)))
    }
}

fn wait(pid: Pid, flags: WaitPidFlag) -> Result<WaitStatus, Errno> {
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | flags)
}
