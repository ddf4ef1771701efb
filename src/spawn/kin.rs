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
use nix::unistd::{Pid, getsid};

use crate::limits::PARKED_ROUND;
use crate::rules::Background;
use crate::sd::Cgroup;
use crate::sys::{self, End};

use super::tree::Children;

/// The broker's children.
#[derive(Debug)]
pub struct Kin(Mutex<Family>);

#[derive(Debug)]
struct Family {
    children: Children,
    nurseries: HashSet<Pid>,
    /// Launchers that had no plan when they were last looked at.
    parked: HashSet<Pid>,
    /// When those were.
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
        let children = Children::open()?;
        children.list()?;
        Ok(Self(Mutex::new(Family::new(children))))
    }

    /// Takes note of a nursery.
    pub fn note_nursery(&self, pid: Pid) {
        self.family().nurseries.insert(pid);
    }

    /// A nursery has ended.
    pub fn forget_nursery(&self, pid: Pid) {
        self.family().nurseries.remove(&pid);
    }

    /// Takes note of a launcher that becomes a command now.
    pub(super) fn adopt(&self, pid: Pid, background: Background) {
        let mut family = self.family();
        family.parked.remove(&pid);
        family.commands.insert(pid, background);
    }

    /// Reaps a command that has ended, and says how, after how much processor time, and what it left.
    pub(super) fn reap(&self, pid: Pid, pidfd: BorrowedFd<'_>) -> io::Result<(End, Duration, Vec<Pid>)> {
        let mut family = self.family();
        let (end, used) = sys::reap(pidfd)?;
        family.commands.remove(&pid);
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

    /// Lets go on what an ended command left, in its scope where it has one. Gives whether there is anything.
    pub(super) fn keep(&self, pid: Pid, scope: Option<&Cgroup>) -> bool {
        let mut family = self.family();
        let populated = |cgroup: &Cgroup| cgroup.is_populated().unwrap_or(true);
        family.scopes.retain(|path| Cgroup::open(path).is_ok_and(|cgroup| populated(&cgroup)));
        let scope = scope.filter(|scope| populated(scope));
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
        let mut left = family.claim(nobody)?;
        left.extend(family.kept.iter());
        Ok(left)
    }

    fn family(&self) -> MutexGuard<'_, Family> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Family {
    fn new(children: Children) -> Self {
        Self {
            children,
            nurseries: HashSet::new(),
            parked: HashSet::new(),
            looked: Instant::now(),
            commands: HashMap::new(),
            claimed: HashMap::new(),
            kept: HashSet::new(),
            keepers: HashSet::new(),
            scopes: Vec::new(),
            told: None,
        }
    }

    /// Reaps what has ended, claims for `owner` what nobody else's is, and gives what of `owner`'s still runs.
    fn claim(&mut self, owner: Pid) -> io::Result<Vec<Pid>> {
        self.doubt_parked();
        for child in self.children.list()? {
            let is_known = self.nurseries.contains(&child) || self.parked.contains(&child);
            if is_known || self.commands.contains_key(&child) {
                continue;
            }
            if self.is_over(child) {
                continue;
            }
            if let Some(owner) = self.owner_of(child, owner) {
                self.claimed.insert(child, owner);
            }
        }
        Ok(self.claimed.iter().filter(|(_, of)| **of == owner).map(|(child, _)| *child).collect())
    }

    /// Has the parked looked at again, from time to time: one that was killed is to be reaped.
    fn doubt_parked(&mut self) {
        if self.looked.elapsed() >= PARKED_ROUND {
            self.looked = Instant::now();
            self.parked.clear();
        }
    }

    /// Reaps an orphan or an unused launcher that has ended, and forgets it.
    fn is_over(&mut self, child: Pid) -> bool {
        let over = !matches!(wait(child, WaitPidFlag::WNOHANG), Ok(WaitStatus::StillAlive));
        if over {
            self.parked.remove(&child);
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
        // A launcher is in the broker's session until it has its plan; a command never is.
        if self.kept.contains(&child) {
            return None;
        }
        if Ok(session) == getsid(None) {
            self.parked.insert(child);
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
