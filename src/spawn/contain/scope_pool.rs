//! Launchers that are each in a group of their own, as calls get them. A call takes a free slot of its socket
//! (`slot_pool.rs`), or waits for one. Scopes are made by one thread, in `scope_maker.rs`, which alone speaks
//! to the manager. Where the manager makes none and a cgroup is delegated to the broker, calls get groups
//! there instead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::ids::SocketName;
use crate::limits::{SCOPE_PATIENCE, SCOPE_WAIT, SCOPES_MAKING, SLOTS_CLEANED, SLOTS_SPARE};
use crate::refusal::Refusal;
use crate::rules::{Resource, ScopeMode};
use crate::sd::{BusAddress, BusError, Delegation, DelegationError};
use crate::spawn::process::launcher::Launcher;
use crate::spawn::process::pool::LauncherPool;
use crate::spawn::reap::reaper::Reaper;

use super::queue::queue;
use super::scope::CallScope;
use super::scope_maker::ScopeMaker;
use super::shared::{
    FreeSlot, MakerEvent, ManagerState, ScopeCaption, ScopeFallback, ScopeNews, ScopeOrder, SharedSlots,
    SlotResources, TellNews,
};
use super::slot::SlotSort;
use super::slot_pool::{SlotFailure, is_lacking};

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
    shared: Arc<SharedSlots>,
    /// Whether slots were taken since more were last made.
    owed: AtomicBool,
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
        let (maker, told) = queue()?;
        let manager =
            if address.is_some() { ManagerState::Unknown } else { ManagerState::Gone(BusError::NoAddress) };
        let resources = SlotResources { pool, reaper, delegation, tell, maker };
        let shared = Arc::new(SharedSlots::new(manager, resources)?);
        let work = ScopeMaker::new(address, shared.clone());
        thread::Builder::new().name("scope-maker".into()).spawn(move || work.run(&told))?;
        Ok(Self { shared, owed: AtomicBool::new(false) })
    }

    /// Connects to the manager now, if calls under these modes will want scopes, and reports a missing
    /// manager or delegated cgroup.
    pub fn warm(&self, modes: &[ScopeMode]) {
        if let Err(why) = &self.shared.delegation
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
        self.shared.maker.tell(MakerEvent::Look);
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
            ScopeMode::Require => self.required(want).map_err(SlotError::refusal),
            ScopeMode::Auto => match self.scoped(want) {
                Ok(launcher) => Ok(launcher),
                // A limit of the scopes' slice holds: such a call does not run beside it.
                Err(why @ SlotError::NoProcess(_)) => Err(why.refusal()),
                Err(SlotError::NoScope(why)) => self.instead_of_scope(want, why),
            },
        }
    }

    /// Before a call is refused, the manager is looked for once more, if that was not done just now.
    fn required(&self, want: &ScopeWant<'_>) -> Result<Launcher, SlotError> {
        let taken = self.scoped(want);
        let may_be_back = |why: &BusError| !matches!(why, BusError::Denied(_) | BusError::Silent);
        match &taken {
            Err(SlotError::NoScope(why)) if may_be_back(why) && want.resources.is_empty() => self.made(want),
            Ok(_) | Err(_) => taken,
        }
    }

    fn scoped(&self, want: &ScopeWant<'_>) -> Result<Launcher, SlotError> {
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
                Err(source) if limited => Err(Refusal::NoScope(io::Error::other(format!("{why}; {source}")))),
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
        let ScopeWant { socket, resources, .. } = *want;
        if !resources.is_empty() {
            return self.shared.claim_group(socket, resources);
        }
        let mut noted = false;
        loop {
            let taken = {
                let mut state = self.shared.state();
                let set = state.set(SlotSort::Delegated, socket);
                // The scope maker gives up groups that are not wanted any more.
                if !std::mem::replace(&mut noted, true) && set.note_call(Instant::now()) {
                    self.shared.maker.tell(MakerEvent::Wake);
                }
                set.take()
            };
            self.owed.store(true, Ordering::Relaxed);
            let Some(slot) = taken else {
                return self.shared.claim_group(socket, &[]);
            };
            match self.shared.claim(slot) {
                Ok(launcher) => return Ok(launcher),
                Err(SlotFailure::Spoilt) => {}
                Err(SlotFailure::NoGroup(source) | SlotFailure::NoLauncher(source)) => return Err(source),
            }
        }
    }

    /// Notes that a call lasts: the scope maker describes its scope by its call. The description is not
    /// waited for, and short calls get none, since nobody would see it: a description costs the manager half
    /// as much as a scope.
    pub fn note_lasting(&self, launcher: &Launcher, text: impl FnOnce() -> String) {
        if let Some((scope, name)) = launcher.scope().and_then(|scope| Some((scope, scope.name()?))) {
            scope.note_described();
            let caption = ScopeCaption { scope: Arc::downgrade(name), text: text() };
            self.shared.maker.tell(MakerEvent::Describe(caption));
        }
    }

    /// Notes that what a call left goes on: its scope keeps the description of the call.
    pub fn note_kept(&self, launcher: &Launcher, text: impl FnOnce() -> String) {
        if let Some(name) = launcher.scope().and_then(CallScope::name) {
            self.shared.maker.tell(MakerEvent::Keep((**name).clone(), text()));
        }
    }

    /// Cleans the slots of calls that are over: when no call comes for a moment.
    pub fn clean(&self) {
        self.shared.clean_returned(1);
    }

    /// Cleans such slots if there are several; for the time while a command runs. Most calls then have no
    /// part in that work.
    pub fn clean_several(&self) {
        self.shared.clean_returned(SLOTS_CLEANED);
    }

    /// Has slots made that are wanted by now; for the time after a call's reply.
    pub fn refill(&self) {
        if self.owed.swap(false, Ordering::Relaxed) {
            self.shared.refill();
        }
    }

    /// Makes no more slots, and gives up the free ones: the broker stops.
    pub fn stop(&self) {
        self.shared.maker.tell(MakerEvent::Stop);
    }

    /// Removes all delegated groups: every call is over.
    pub fn clear(&self) {
        if let Ok(delegation) = &self.shared.delegation {
            delegation.clear();
        }
    }

    fn bare(&self) -> Result<Launcher, Refusal> {
        self.shared.pool.take().map_err(Refusal::no_launcher)
    }

    /// How long a call waits for the manager in its present state. A call that could have a group instead
    /// waits less for a bus that has not answered yet than for a manager that is busy.
    fn patience(&self, want: &ScopeWant<'_>, manager: &ManagerState) -> Duration {
        let can_do_without = want.mode == ScopeMode::Auto && self.shared.instead == ScopeFallback::Group;
        if can_do_without && matches!(manager, ManagerState::Unknown) { SCOPE_PATIENCE } else { SCOPE_WAIT }
    }

    /// The launcher of a slot of the socket. Waits for a slot where none is free.
    fn parked(&self, want: &ScopeWant<'_>) -> Result<Launcher, SlotError> {
        let began = Instant::now();
        let mut tries = {
            let mut state = self.shared.state();
            let set = state.set(SlotSort::Scope, want.socket);
            set.note_call(began);
            // A nursery that was replaced leaves slots without launchers, and the manager may have to move
            // the new one first. So each slot that is there is tried, and each that is being made.
            set.free().count() + SLOTS_SPARE + SCOPES_MAKING
        };
        loop {
            if let Some(slot) = self.free_slot(want.socket) {
                match self.shared.claim(slot) {
                    Ok(launcher) => return Ok(launcher),
                    Err(SlotFailure::Spoilt) => {}
                    Err(why) if tries == 0 || !why.is_slots() => return Err(SlotError::new(why)),
                    Err(_) => tries -= 1,
                }
                continue;
            }
            if !self.shared.clean_returned(1) {
                self.await_slot(want, began)?;
            }
        }
    }

    /// A free slot of a socket. More are made where some are missing, at once if this was the last.
    fn free_slot(&self, socket: &SocketName) -> Option<FreeSlot> {
        let mut state = self.shared.state();
        let set = state.set(SlotSort::Scope, socket);
        let slot = set.take()?;
        let (is_missing, is_short) = (set.missing(Instant::now()) > 0, set.is_short());
        drop(state);
        if is_missing && is_short {
            self.shared.maker.tell(MakerEvent::Look);
        } else if is_missing {
            self.owed.store(true, Ordering::Relaxed);
        }
        Some(slot)
    }

    /// Waits until a slot may be free. Errors: none can be had, or not in time.
    fn await_slot(&self, want: &ScopeWant<'_>, began: Instant) -> Result<(), BusError> {
        let (now, socket) = (Instant::now(), want.socket);
        let mut state = self.shared.state();
        let set = state.set(SlotSort::Scope, socket);
        if !set.is_short() {
            return Ok(());
        }
        set.waiting += 1;
        let (is_missing, comes_back) = (set.missing(now) > 0, set.comes_back());
        let give_up = began + self.patience(want, &state.manager);
        let gone = match &state.manager {
            ManagerState::Gone(why) => Some(why.clone()),
            ManagerState::Unknown | ManagerState::Connected | ManagerState::Here => None,
        };
        if is_missing || gone.is_some() {
            self.shared.maker.tell(MakerEvent::Look);
        }
        // Without a manager, a call that needs a scope waits for one that a call has now.
        let may_wait = gone.is_none() || want.mode == ScopeMode::Require && comes_back;
        if may_wait && now < give_up {
            state = self.shared.wait(state, socket, give_up - now);
        }
        state.set(SlotSort::Scope, socket).waiting -= 1;
        drop(state);
        match gone {
            _ if may_wait && now < give_up => Ok(()),
            Some(why) => Err(why),
            None => {
                self.shared.lose(&BusError::Silent);
                Err(BusError::Silent)
            }
        }
    }

    fn made(&self, want: &ScopeWant<'_>) -> Result<Launcher, SlotError> {
        if let ManagerState::Gone(why @ BusError::NoAddress) = &self.shared.state().manager {
            return Err(why.clone().into());
        }
        let (reply, answer) = mpsc::sync_channel(1);
        let (socket, resources) = (want.socket.clone(), want.resources.to_vec());
        self.shared.maker.tell(MakerEvent::Make(ScopeOrder { socket, resources, reply }));
        let began = Instant::now();
        loop {
            let give_up = began + self.patience(want, &self.shared.state().manager);
            let left = give_up.saturating_duration_since(Instant::now());
            match answer.recv_timeout(left) {
                Ok(made) => {
                    let claimed = self.shared.claim(FreeSlot::Empty(made?));
                    return claimed.map_err(SlotError::new);
                }
                // The scope maker may have connected meanwhile: then the call waits longer.
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(_) => return Err(BusError::Silent.into()),
            }
        }
    }
}

/// Why a call gets no slot.
enum SlotError {
    /// The manager makes no scope, or one that cannot be used.
    NoScope(BusError),
    /// The kernel has no room for another process, by its own limits or those of the scopes' slice.
    NoProcess(io::Error),
}

impl SlotError {
    fn new(why: SlotFailure) -> Self {
        let text = why.to_string();
        match why {
            SlotFailure::NoLauncher(source) if is_lacking(&source) => Self::NoProcess(source),
            SlotFailure::Spoilt | SlotFailure::NoGroup(_) | SlotFailure::NoLauncher(_) => {
                Self::NoScope(BusError::Failed(text))
            }
        }
    }

    fn refusal(self) -> Refusal {
        match self {
            Self::NoScope(why) => Refusal::NoScope(io::Error::other(why)),
            Self::NoProcess(source) => Refusal::no_launcher(source),
        }
    }
}

impl From<BusError> for SlotError {
    fn from(why: BusError) -> Self {
        Self::NoScope(why)
    }
}
