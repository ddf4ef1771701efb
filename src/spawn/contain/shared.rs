//! The state that calls (`scope_pool.rs`) and the scope maker (`scope_maker.rs`) share: the state of the
//! manager, and the parked launchers. Also the messages from calls to the scope maker.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, MutexGuard, Weak};
use std::time::Duration;

use crate::ids::SocketName;
use crate::rules::Resource;
use crate::sd::{BusError, DelegationError, ScopeName};
use crate::spawn::process::launcher::{Launcher, dismiss};
use crate::spawn::reap::reaper::Reaper;
use crate::sys::{self, Locked};

use super::warm::WarmSet;

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
    /// A launcher was taken, or a call waits for one.
    Look,
    /// A call waits for a scope with properties of its own.
    Make(ScopeOrder),
    /// A call runs in this scope.
    Describe(ScopeCaption),
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
    pub(in crate::spawn) reply: SyncSender<Result<Launcher, BusError>>,
}

/// The state that calls and the scope maker share.
pub(super) struct SharedScopes {
    state: Locked<ScopesState>,
    pub(in crate::spawn) reaper: Arc<Reaper>,
    pub(super) instead: ScopeFallback,
    pub(in crate::spawn) tell: TellNews,
}

impl std::fmt::Debug for SharedScopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct ScopesState {
    pub(super) manager: ManagerState,
    /// Whether the last news was that there are no scopes.
    said_lost: bool,
    /// Whether the last news was that a group could not be made.
    said_ungrouped: bool,
    pub(super) warm_sets: HashMap<SocketName, WarmSet<Launcher>>,
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

impl SharedScopes {
    /// The state before the first connection.
    pub(in crate::spawn) fn new(
        manager: ManagerState,
        reaper: Arc<Reaper>,
        instead: ScopeFallback,
        tell: TellNews,
    ) -> Self {
        let (warm_sets, queues) = (HashMap::new(), HashMap::new());
        let state = ScopesState { manager, said_lost: false, said_ungrouped: false, warm_sets, queues };
        Self { state: Locked::new(state), reaper, instead, tell }
    }

    pub(in crate::spawn) fn state(&self) -> MutexGuard<'_, ScopesState> {
        self.state.lock()
    }

    /// Has a call wait until its socket's waiters are woken: a launcher was parked, or there is no manager.
    pub(in crate::spawn) fn wait<'s>(
        &self,
        mut state: MutexGuard<'s, ScopesState>,
        socket: &SocketName,
        at_most: Duration,
    ) -> MutexGuard<'s, ScopesState> {
        let queue = state.queues.entry(socket.clone()).or_default().clone();
        sys::wait_change_for(&queue, state, at_most)
    }

    /// Parks a launcher, and wakes one call that waits for it: the others would find nothing.
    pub(super) fn park(&self, socket: &SocketName, launcher: Launcher) {
        let mut state = self.state();
        if let Some(warm) = state.warm_sets.get_mut(socket) {
            warm.ready.push_back(launcher);
        }
        if let Some(queue) = state.queues.get(socket) {
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

    /// Notes that the manager makes no scopes for now, and dismisses the parked launchers.
    pub(in crate::spawn) fn lose(&self, why: &BusError) {
        let mut state = self.state();
        state.manager = ManagerState::Gone(why.clone());
        // A stop is not reported: the operator who stopped the broker knows of it.
        let news = !matches!(why, BusError::Stopped(_)) && !std::mem::replace(&mut state.said_lost, true);
        let parked: Vec<_> = state.warm_sets.values_mut().flat_map(|warm| warm.ready.drain(..)).collect();
        drop(state);
        self.wake();
        dismiss(parked, &self.reaper);
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
