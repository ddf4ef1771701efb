//! The state that calls (`scope_pool.rs`) and the scope maker (`scope_maker.rs`) share: the state of the
//! manager, and the slots of each socket. Also the messages from calls to the scope maker.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::ids::SocketName;
use crate::rules::Resource;
use crate::sd::{BusError, CallsCgroup, Delegation, DelegationError, ScopeName};
use crate::spawn::process::anchor::Anchor;
use crate::spawn::process::pool::{LauncherPool, OrderedLauncher};
use crate::spawn::reap::reaper::Reaper;
use crate::sys::{self, Locked};

use super::change_watch::ChangeWatch;
use super::queue::QueueSender;
use super::scope::{CallGroup, LeftGroup};
use super::slot::{Slot, SlotSort};
use super::slot_set::SlotSet;

/// News of scopes for the operator.
#[derive(Debug)]
pub enum ScopeNews<'a> {
    /// The manager makes no scopes for now. Calls that can do without a scope get the fallback.
    Lost(&'a BusError, ScopeFallback),
    /// The manager makes scopes again.
    Back,
    /// No cgroup is delegated to the broker, and rules want one.
    NoGroups(&'a DelegationError),
    /// No group could be made for a call that can do without one.
    Ungrouped(&'a io::Error),
    /// A scope could not be given its description.
    Undescribed(&'a str),
}

/// The substitute for a scope with `scope = auto`, while the manager makes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeFallback {
    /// A group below the cgroup that is delegated to the broker.
    Group,
    /// No cgroup of its own.
    Nothing,
}

/// The function that reports news to the operator.
pub type TellNews = Box<dyn Fn(&ScopeNews<'_>) + Send + Sync>;

/// A message to the scope maker.
#[derive(Debug)]
pub(super) enum MakerEvent {
    /// A slot was taken, or a call waits for one.
    Look,
    /// Delegated groups are used, of which there may be too many later.
    Wake,
    /// A call waits for a scope with properties of its own.
    Make(ScopeOrder),
    /// A call runs in this scope.
    Describe(ScopeCaption),
    /// The call in this scope is over, and what it left goes on there.
    Keep(ScopeName, String),
    /// The call that this scope was described with is over.
    Ready(ScopeName, SocketName),
    /// Processes were left running in the delegated group with this path.
    Kept(String),
    /// The broker stops.
    Stop,
}

/// The description that a scope is to get, as long as its call runs.
#[derive(Debug)]
pub(super) struct ScopeCaption {
    pub(in crate::spawn) scope: Weak<ScopeName>,
    pub(in crate::spawn) text: String,
}

/// A scope with properties of its own, and the call that waits for it.
#[derive(Debug)]
pub(super) struct ScopeOrder {
    pub(super) socket: SocketName,
    pub(super) resources: Vec<Resource>,
    pub(in crate::spawn) reply: SyncSender<Result<Slot, BusError>>,
}

/// A slot without a call.
#[derive(Debug)]
pub(super) enum FreeSlot {
    /// A launcher is in it, or is being made.
    Parked(OrderedLauncher),
    /// No launcher could be made in it. The next call has one made.
    Empty(Slot),
}

impl FreeSlot {
    /// Whether the manager does not stop its scope.
    pub(super) fn stands(&self) -> bool {
        match self {
            Self::Parked(ordered) => ordered.scope().stands(),
            Self::Empty(slot) => slot.stands(),
        }
    }

    /// The stream of its anchor, if it has one.
    fn anchor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Parked(ordered) => ordered.scope().stopped(),
            Self::Empty(slot) => slot.anchor().map(Anchor::stream),
        }
    }
}

/// The state that calls and the scope maker share.
pub(super) struct SharedSlots {
    state: Locked<SlotsState>,
    pub(super) pool: Arc<LauncherPool>,
    pub(in crate::spawn) reaper: Arc<Reaper>,
    pub(super) instead: ScopeFallback,
    pub(in crate::spawn) tell: TellNews,
    pub(super) maker: QueueSender<MakerEvent>,
    pub(super) delegation: Result<Delegation, DelegationError>,
    /// Empty where the user had no inotify instance left so far: scopes that are made then are used once.
    changes: OnceLock<ChangeWatch>,
    /// Tells, once for each time that a slot is free, that its anchor was sent SIGTERM or has ended.
    pub(super) stopped: Epoll,
}

impl std::fmt::Debug for SharedSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedSlots").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct SlotsState {
    pub(super) manager: ManagerState,
    /// Whether the broker stops: no slot is used again.
    pub(super) is_stopping: bool,
    /// Whether the last news was that there are no scopes.
    said_lost: bool,
    /// Whether the last news was that a group could not be made.
    said_ungrouped: bool,
    sets: [HashMap<SocketName, SlotSet<FreeSlot>>; 2],
    /// Groups of calls that are over, whose slots are to be cleaned.
    pub(super) returned: Vec<(Box<CallGroup>, LeftGroup)>,
    /// The delegated cgroup above the groups of each socket's calls.
    calls: HashMap<SocketName, Arc<CallsCgroup>>,
    /// The condition variable on which the calls of each socket wait.
    queues: HashMap<SocketName, Arc<Condvar>>,
}

/// Whether scopes can be had.
#[derive(Debug)]
pub(super) enum ManagerState {
    /// There is no connection to the manager yet.
    Unknown,
    /// The bus answers; no scope was made on this connection yet.
    Connected,
    Here,
    Gone(BusError),
}

impl SlotsState {
    /// A socket's slots.
    pub(super) fn set(&mut self, sort: SlotSort, socket: &SocketName) -> &mut SlotSet<FreeSlot> {
        let sets = &mut self.sets[sort as usize];
        if !sets.contains_key(socket) {
            sets.insert(socket.clone(), SlotSet::new(Instant::now()));
        }
        sets.get_mut(socket).expect("it is there by now")
    }

    /// The slots of one sort, of each socket.
    pub(super) fn sets(
        &mut self,
        sort: SlotSort,
    ) -> impl Iterator<Item = (&SocketName, &mut SlotSet<FreeSlot>)> {
        self.sets[sort as usize].iter_mut()
    }

    /// The slots of all sockets and sorts.
    pub(super) fn all_sets(&mut self) -> impl Iterator<Item = &mut SlotSet<FreeSlot>> {
        self.sets.iter_mut().flat_map(HashMap::values_mut)
    }
}

/// What an anchor's stream is watched for.
pub(super) fn hears_once() -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, 0)
}

/// The parts of the shared state that stay the same.
pub(super) struct SlotResources {
    pub(super) pool: Arc<LauncherPool>,
    pub(super) reaper: Arc<Reaper>,
    pub(super) delegation: Result<Delegation, DelegationError>,
    pub(super) tell: TellNews,
    pub(super) maker: QueueSender<MakerEvent>,
}

impl SharedSlots {
    /// The state before the first connection.
    pub(in crate::spawn) fn new(manager: ManagerState, resources: SlotResources) -> io::Result<Self> {
        let SlotResources { pool, reaper, delegation, tell, maker } = resources;
        let state = SlotsState {
            manager,
            is_stopping: false,
            said_lost: false,
            said_ungrouped: false,
            sets: Default::default(),
            returned: Vec::new(),
            calls: HashMap::new(),
            queues: HashMap::new(),
        };
        let instead = if delegation.is_ok() { ScopeFallback::Group } else { ScopeFallback::Nothing };
        let changes = OnceLock::new();
        let stopped = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let state = Locked::new(state);
        Ok(Self { state, pool, reaper, instead, tell, maker, delegation, changes, stopped })
    }

    /// The watch for changes, if there is one.
    pub(super) fn changes(&self) -> Option<&ChangeWatch> {
        self.changes.get()
    }

    /// The watch for changes, which is made if there was none.
    pub(super) fn begin_watch(&self) -> Option<&ChangeWatch> {
        if self.changes.get().is_none()
            && let Ok(changes) = ChangeWatch::new()
        {
            // Only the scope maker does this.
            self.changes.set(changes).ok();
        }
        self.changes.get()
    }

    pub(in crate::spawn) fn state(&self) -> MutexGuard<'_, SlotsState> {
        self.state.lock()
    }

    /// The cgroup above the groups of a socket's calls, made for the socket's first call.
    pub(super) fn calls(&self, socket: &SocketName) -> io::Result<Arc<CallsCgroup>> {
        if let Some(known) = self.state().calls.get(socket) {
            return Ok(known.clone());
        }
        let delegation = self.delegation.as_ref().map_err(|why| io::Error::other(why.to_string()))?;
        let calls = Arc::new(delegation.of_socket(socket)?);
        Ok(self.state().calls.entry(socket.clone()).or_insert(calls).clone())
    }

    /// Has a call wait until its socket's waiters are woken: a slot is free, or there is no manager.
    pub(in crate::spawn) fn wait<'s>(
        &self,
        mut state: MutexGuard<'s, SlotsState>,
        socket: &SocketName,
        at_most: Duration,
    ) -> MutexGuard<'s, SlotsState> {
        let queue = state.queues.entry(socket.clone()).or_default().clone();
        sys::wait_change_for(&queue, state, at_most)
    }

    /// Adds a free slot, which a call had or which is new, and wakes one call that waits for it: the others
    /// would find nothing.
    pub(super) fn put(&self, sort: SlotSort, socket: &SocketName, slot: FreeSlot, was_out: bool) {
        let mut state = self.state();
        if let Some(anchor) = slot.anchor() {
            // What the anchor said while the slot was not free, the scope maker hears now.
            self.stopped.modify(anchor, &mut hears_once()).ok();
        }
        let set = state.set(sort, socket);
        set.put(slot, was_out);
        let is_awaited = set.waiting > 0;
        if let Some(queue) = state.queues.get(socket).filter(|_| is_awaited) {
            queue.notify_one();
        }
    }

    /// Wakes the calls that wait.
    pub(super) fn wake(&self) {
        self.state().queues.values().for_each(|queue| queue.notify_all());
    }

    /// Notes that there is a connection; whether the manager makes scopes is not known yet.
    pub(super) fn connected(&self) {
        self.state().manager = ManagerState::Connected;
    }

    /// Notes that the manager makes scopes: one was made.
    pub(in crate::spawn) fn found(&self) {
        let mut state = self.state();
        state.manager = ManagerState::Here;
        let news = std::mem::replace(&mut state.said_lost, false);
        drop(state);
        if news {
            (self.tell)(&ScopeNews::Back);
        }
    }

    /// Notes that the manager makes no scopes for now. Slots that there are go on being used.
    pub(in crate::spawn) fn lose(&self, why: &BusError) {
        let mut state = self.state();
        state.manager = ManagerState::Gone(why.clone());
        // A stop is not reported: the operator who stopped the broker knows of it.
        let news = !matches!(why, BusError::Stopped(_)) && !std::mem::replace(&mut state.said_lost, true);
        state.sets(SlotSort::Scope).for_each(|(_, set)| set.making = 0);
        drop(state);
        self.wake();
        if news {
            (self.tell)(&ScopeNews::Lost(why, self.instead));
        }
    }

    /// Reports that a group could not be made, once until a group was made again.
    pub(super) fn note_ungrouped(&self, why: Option<&io::Error>) {
        let said = std::mem::replace(&mut self.state().said_ungrouped, why.is_some());
        if let Some(why) = why.filter(|_| !said) {
            (self.tell)(&ScopeNews::Ungrouped(why));
        }
    }
}
