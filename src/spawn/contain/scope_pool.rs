//! Launchers that are each in a scope of their own, as calls get them. A call takes a launcher that is parked
//! for its socket, or waits for one. The scopes are made by one thread, in `scope_maker.rs`, which alone
//! speaks to the manager. Where the manager makes none and a cgroup is delegated to the broker,
//! `delegated.rs` makes groups instead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::ids::SocketName;
use crate::limits::{SCOPE_PATIENCE, SCOPE_WAIT};
use crate::refusal::Refusal;
use crate::rules::{Resource, ScopeMode};
use crate::sd::{BusAddress, BusError, Delegation, DelegationError};
use crate::spawn::process::launcher::Launcher;
use crate::spawn::process::pool::LauncherPool;
use crate::spawn::reap::reaper::Reaper;

use super::delegated::DelegatedGroups;
use super::queue::QueueSender;
use super::queue::queue;
use super::scope_maker::ScopeMaker;
use super::shared::{
    MakerEvent, ManagerState, ScopeCaption, ScopeFallback, ScopeNews, ScopeOrder, SharedScopes, TellNews,
};
use super::warm::{KeepPolicy, WarmSet};

/// The scope that a call needs.
#[derive(Clone, Copy, Debug)]
pub struct ScopeWant<'a> {
    /// The socket on which the call was requested.
    pub socket: &'a SocketName,
    /// Whether it has to be in a scope.
    pub mode: ScopeMode,
    /// The limits that the scope is to have.
    pub resources: &'a [Resource],
}

/// Launchers in scopes.
#[derive(Debug)]
pub struct ScopePool {
    pool: Arc<LauncherPool>,
    shared: Arc<SharedScopes>,
    scope_maker: QueueSender<MakerEvent>,
    /// Whether launchers were taken since the scope maker was last told to look.
    owed: AtomicBool,
    groups: Result<DelegatedGroups, DelegationError>,
}

impl ScopePool {
    /// Scopes from the manager behind `address`, or groups below the delegated cgroup, for launchers of
    /// `pool`. Nothing is made before [`Self::warm`] or the first call that wants a scope.
    pub fn new(
        pool: Arc<LauncherPool>,
        reaper: Arc<Reaper>,
        address: Option<BusAddress>,
        delegation: Result<Delegation, DelegationError>,
        tell: TellNews,
    ) -> io::Result<Self> {
        let (scope_maker, told) = queue()?;
        let manager =
            if address.is_some() { ManagerState::Unknown } else { ManagerState::Gone(BusError::NoAddress) };
        let groups = match delegation {
            Ok(delegation) => Ok(DelegatedGroups::new(delegation, pool.clone(), reaper.clone())?),
            Err(why) => Err(why),
        };
        let instead = if groups.is_ok() { ScopeFallback::Group } else { ScopeFallback::Nothing };
        let shared = Arc::new(SharedScopes::new(manager, reaper, instead, tell));
        if let Some(address) = address {
            let work = ScopeMaker::new(address, pool.clone(), shared.clone());
            thread::Builder::new().name("scope-maker".into()).spawn(move || work.run(&told))?;
        }
        Ok(Self { pool, shared, scope_maker, owed: AtomicBool::new(false), groups })
    }

    /// Connects to the manager now, if calls under these modes will want scopes, and reports a missing
    /// manager or delegated cgroup.
    pub fn warm(&self, modes: &[ScopeMode]) {
        if let Err(why) = &self.groups
            && modes.contains(&ScopeMode::Delegate)
        {
            (self.shared.tell)(&ScopeNews::NoGroups(why));
        }
        if !modes.iter().any(|mode| matches!(mode, ScopeMode::Auto | ScopeMode::Require)) {
            return;
        }
        let without_bus = matches!(self.shared.state().manager, ManagerState::Gone(BusError::NoAddress));
        if without_bus {
            self.shared.lose(&BusError::NoAddress);
        }
        self.scope_maker.tell(MakerEvent::Look);
    }

    /// The substitute for a scope that calls get while the manager makes none; `None` while it makes them.
    pub fn instead(&self) -> Option<ScopeFallback> {
        matches!(self.shared.state().manager, ManagerState::Gone(_)).then_some(self.shared.instead)
    }

    /// A launcher, in a scope as far as the call's rules ask for it.
    pub fn take(&self, want: &ScopeWant<'_>) -> Result<Launcher, Refusal> {
        match want.mode {
            ScopeMode::Off => self.bare(),
            ScopeMode::Delegate => self.grouped(want).map_err(Refusal::no_scope),
            ScopeMode::Require => self.required(want).map_err(|why| Refusal::NoScope(io::Error::other(why))),
            ScopeMode::Auto => match self.scoped(want) {
                Ok(launcher) => Ok(launcher),
                Err(why) => self.instead_of_scope(want, why),
            },
        }
    }

    /// Before a call is refused, the manager is looked for once more, if that was not done just now.
    fn required(&self, want: &ScopeWant<'_>) -> Result<Launcher, BusError> {
        let taken = self.scoped(want);
        let may_be_back = |why: &BusError| !matches!(why, BusError::Denied(_) | BusError::Silent);
        match &taken {
            Err(why) if may_be_back(why) && want.resources.is_empty() => self.made(want),
            Ok(_) | Err(_) => taken,
        }
    }

    fn scoped(&self, want: &ScopeWant<'_>) -> Result<Launcher, BusError> {
        if want.resources.is_empty() { self.parked(want) } else { self.made(want) }
    }

    /// A launcher in a group, or in no cgroup of its own. A call whose rule sets limits is refused rather
    /// than run without them.
    fn instead_of_scope(&self, want: &ScopeWant<'_>, why: BusError) -> Result<Launcher, Refusal> {
        let limited = !want.resources.is_empty();
        match self.shared.instead {
            ScopeFallback::Nothing if limited => Err(Refusal::NoScope(io::Error::other(why))),
            ScopeFallback::Nothing => self.bare(),
            ScopeFallback::Group => match self.grouped(want) {
                Err(source) if limited => Err(Refusal::no_scope(source)),
                Err(source) => {
                    self.shared.note_ungrouped(Some(&source));
                    self.bare()
                }
                Ok(launcher) => {
                    self.shared.note_ungrouped(None);
                    Ok(launcher)
                }
            },
        }
    }

    fn grouped(&self, want: &ScopeWant<'_>) -> io::Result<Launcher> {
        match &self.groups {
            Ok(groups) => groups.take(want.socket, want.resources),
            Err(why) => Err(io::Error::other(why.to_string())),
        }
    }

    /// Notes that a call lasts: the scope maker describes its scope by its call, or the groups thread parks
    /// another launcher. The description is not waited for, and short calls get none, since nobody would see
    /// it: a description costs the manager half as much again as the scope itself.
    pub fn note_lasting(&self, launcher: &Launcher, text: impl FnOnce() -> String) {
        let Some(scope) = launcher.scope() else { return };
        match (scope.name(), &self.groups) {
            (Some(name), _) => {
                let caption = ScopeCaption { scope: Arc::downgrade(name), text: text() };
                self.scope_maker.tell(MakerEvent::Describe(caption));
            }
            (None, Ok(groups)) => groups.refill(),
            (None, Err(_)) => {}
        }
    }

    /// Has launchers made in the place of those that were taken; for the time after a call's reply.
    pub fn refill(&self) {
        if self.owed.swap(false, Ordering::Relaxed) {
            self.scope_maker.tell(MakerEvent::Look);
        }
    }

    /// Makes no more launchers, and dismisses the parked ones: the broker stops.
    pub fn stop(&self) {
        self.scope_maker.tell(MakerEvent::Stop);
        if let Ok(groups) = &self.groups {
            groups.stop();
        }
    }

    /// Removes all groups: every call is over.
    pub fn clear(&self) {
        if let Ok(groups) = &self.groups {
            groups.clear();
        }
    }

    fn bare(&self) -> Result<Launcher, Refusal> {
        self.pool.take().map_err(Refusal::no_launcher)
    }

    /// How long a call waits for the manager in its present state. A call that could have a group instead
    /// waits less for a bus that has not answered yet than for a manager that is busy.
    fn patience(&self, want: &ScopeWant<'_>, manager: &ManagerState) -> Duration {
        let can_do_without = want.mode == ScopeMode::Auto && self.shared.instead == ScopeFallback::Group;
        if can_do_without && matches!(manager, ManagerState::Unknown) { SCOPE_PATIENCE } else { SCOPE_WAIT }
    }

    fn parked(&self, want: &ScopeWant<'_>) -> Result<Launcher, BusError> {
        let (began, socket) = (Instant::now(), want.socket);
        let mut state = self.shared.state();
        loop {
            let now = Instant::now();
            if let ManagerState::Gone(why) = &state.manager {
                let why = why.clone();
                self.scope_maker.tell(MakerEvent::Look);
                return Err(why);
            }
            let give_up = began + self.patience(want, &state.manager);
            let warm = state
                .warm_sets
                .entry(socket.clone())
                .or_insert_with(|| WarmSet::new(KeepPolicy::SCOPED, now));
            if let Some(launcher) = warm.take(now, Launcher::is_alive) {
                if warm.is_low() {
                    self.scope_maker.tell(MakerEvent::Look);
                } else {
                    self.owed.store(true, Ordering::Relaxed);
                }
                return Ok(launcher);
            }
            warm.waiting += 1;
            self.scope_maker.tell(MakerEvent::Look);
            if now >= give_up {
                warm.waiting -= 1;
                drop(state);
                self.shared.lose(&BusError::Silent);
                return Err(BusError::Silent);
            }
            state = self.shared.wait(state, socket, give_up.saturating_duration_since(now));
            state.warm_sets.get_mut(socket).expect("warm_sets are never removed").waiting -= 1;
        }
    }

    fn made(&self, want: &ScopeWant<'_>) -> Result<Launcher, BusError> {
        if let ManagerState::Gone(why @ BusError::NoAddress) = &self.shared.state().manager {
            return Err(why.clone());
        }
        let (reply, answer) = mpsc::sync_channel(1);
        let (socket, resources) = (want.socket.clone(), want.resources.to_vec());
        self.scope_maker.tell(MakerEvent::Make(ScopeOrder { socket, resources, reply }));
        let began = Instant::now();
        loop {
            let give_up = began + self.patience(want, &self.shared.state().manager);
            let left = give_up.saturating_duration_since(Instant::now());
            match answer.recv_timeout(left) {
                Ok(made) => return made,
                // The scope maker may have connected meanwhile: then the call waits longer.
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(_) => return Err(BusError::Silent),
            }
        }
    }
}
