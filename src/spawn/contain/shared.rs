//! What calls (`scope_pool.rs`) and the scope maker (`scope_maker.rs`) share: how the manager stands, and
//! what is parked. And what the ones tell the other.

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

/// What an operator should know of the manager.
#[derive(Debug)]
pub enum ScopeNews<'a> {
    /// The manager makes no scopes for now; what calls get instead that can do without.
    Lost(&'a BusError, ScopeFallback),
    /// It makes scopes again.
    Back,
    /// There is no delegated group, and rules want one.
    NoGroups(&'a DelegationError),
    /// A call that could do without has no group.
    Ungrouped(&'a io::Error),
    /// A scope could not be given its description.
    Undescribed(&'a str),
}

/// What a call gets where the manager makes no scope, with `scope = auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeFallback {
    /// A group of the broker's delegated one.
    Group,
    /// Nothing that holds what it starts.
    Nothing,
}

/// Who is told.
pub type TellNews = Box<dyn Fn(&ScopeNews<'_>) + Send + Sync>;

/// What the scope maker is told.
#[derive(Debug)]
pub(super) enum MakerEvent {
    /// Something was taken, or is waited for.
    Look,
    /// A call waits for a scope with properties of its own.
    Make(ScopeOrder),
    /// A call runs in this scope.
    Describe(ScopeCaption),
    /// The broker stops.
    Stop,
}

/// What the description of a scope is to be, as long as its call runs.
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

/// What calls and the scope maker share.
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
    /// Whether the last news was that there are none.
    said_lost: bool,
    /// Whether the last news was that a group could not be made.
    said_ungrouped: bool,
    pub(super) warm_sets: HashMap<SocketName, WarmSet<Launcher>>,
    /// Where the calls of each socket wait.
    queues: HashMap<SocketName, Arc<Condvar>>,
}

/// Whether scopes can be had.
#[derive(Debug)]
pub(super) enum ManagerState {
    /// There is no connection yet.
    Unknown,
    /// It answers; no scope was made on this connection yet.
    Connected,
    Here,
    Gone(BusError),
}

impl SharedScopes {
    /// Nothing was made yet.
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

    /// Has a call wait until there is a launcher for its socket, or none to be had.
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

    /// There is a manager, whatever it will say.
    pub(super) fn connected(&self) {
        self.state().manager = ManagerState::Connected;
    }

    /// Scopes can be had from now on: one was made.
    pub(in crate::spawn) fn found(&self) {
        let mut state = self.state();
        state.manager = ManagerState::Here;
        let news = std::mem::replace(&mut state.said_lost, false);
        drop(state);
        if news {
            (self.tell)(&ScopeNews::Back);
        }
    }

    /// None can be had from now on; what is parked ends.
    pub(in crate::spawn) fn lose(&self, why: &BusError) {
        let mut state = self.state();
        state.manager = ManagerState::Gone(why.clone());
        // A stop is nobody's trouble: who stopped the broker knows it.
        let news = !matches!(why, BusError::Stopped(_)) && !std::mem::replace(&mut state.said_lost, true);
        let parked: Vec<_> = state.warm_sets.values_mut().flat_map(|warm| warm.ready.drain(..)).collect();
        drop(state);
        self.wake();
        dismiss(parked, &self.reaper);
        if news {
            (self.tell)(&ScopeNews::Lost(why, self.instead));
        }
    }

    /// One complaint is enough, until one was made again.
    pub(super) fn note_ungrouped(&self, why: Option<&io::Error>) {
        let said = std::mem::replace(&mut self.state().said_ungrouped, why.is_some());
        if let Some(why) = why.filter(|_| !said) {
            (self.tell)(&ScopeNews::Ungrouped(why));
        }
    }
}
