//! Launchers in a transient scope of their own, ahead of need: the calls' side. A call takes one that is parked for
//! its socket, or waits for one. Making them is the work of one thread, `scoper.rs`, which alone speaks to the manager.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::ids::SocketName;
use crate::limits::{DESCRIPTION_DELAY, SCOPE_WAIT};
use crate::refusal::Refusal;
use crate::rules::{Resource, ScopeMode};
use crate::sd::{Address, BusError, ScopeName, Word};

use super::pool::{Launcher, Pool};
use super::scoper::Scoper;
use super::stock::Stock;

/// What an operator should know of the manager.
#[derive(Debug)]
pub enum ScopeNews<'a> {
    /// There are no scopes for now.
    Lost(&'a BusError),
    /// There are scopes again.
    Back,
    /// A scope could not be given its description.
    Undescribed(&'a str),
}

/// Who is told.
pub type Tell = Box<dyn Fn(&ScopeNews<'_>) + Send + Sync>;

/// What a call needs.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// The socket that was asked.
    pub socket: &'a SocketName,
    /// Whether it has to be in a scope.
    pub mode: ScopeMode,
    /// What the scope is to be given.
    pub resources: &'a [Resource],
}

/// Launchers in scopes.
#[derive(Debug)]
pub struct Scopes {
    pool: Arc<Pool>,
    shared: Arc<Shared>,
    events: Sender<Event>,
}

/// What the scoper is told.
#[derive(Debug)]
pub(super) enum Event {
    /// Something was taken, or is waited for.
    Look,
    /// A call waits for a scope with properties of its own.
    Make(Order),
    /// A call begins in this scope.
    Describe(Caption),
    /// The manager said something, on the connection of this number.
    Said(u64, Word),
    /// That connection is gone.
    Hangup(u64),
    /// The broker stops.
    Stop,
}

/// What the description of a scope is to be, as long as its call runs.
#[derive(Debug)]
pub(super) struct Caption {
    pub(super) scope: Weak<ScopeName>,
    pub(super) text: String,
    pub(super) due: Instant,
}

/// A scope with properties of its own, and the call that waits for it.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) socket: SocketName,
    pub(super) resources: Vec<Resource>,
    pub(super) reply: SyncSender<Result<Launcher, BusError>>,
}

/// What calls and the scoper share.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) tell: Tell,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) manager: Manager,
    /// Whether the last news was that there are none.
    said_lost: bool,
    pub(super) stocks: HashMap<SocketName, Stock>,
}

/// Whether scopes can be had.
#[derive(Debug)]
pub(super) enum Manager {
    /// No scope was asked for on this connection yet, or there is no connection yet.
    Unknown,
    Here,
    Gone(BusError),
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the calls that wait.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// There is a manager, whatever it will say.
    pub(super) fn connected(&self) {
        self.state().manager = Manager::Unknown;
    }

    /// Scopes can be had from now on: one was made.
    pub(super) fn found(&self) {
        let mut state = self.state();
        state.manager = Manager::Here;
        let news = std::mem::replace(&mut state.said_lost, false);
        drop(state);
        if news {
            (self.tell)(&ScopeNews::Back);
        }
    }

    /// None can be had from now on; what is parked ends.
    pub(super) fn lose(&self, why: &BusError) {
        let mut state = self.state();
        state.manager = Manager::Gone(why.clone());
        let news = !std::mem::replace(&mut state.said_lost, true);
        let parked: Vec<_> = state.stocks.values_mut().flat_map(|stock| stock.ready.drain(..)).collect();
        drop(state);
        drop(parked);
        self.wake();
        if news {
            (self.tell)(&ScopeNews::Lost(why));
        }
    }
}

impl Scopes {
    /// Scopes from the manager behind `address`, for launchers of `pool`. Nothing is done before [`Self::warm`] or the
    /// first call that wants one.
    pub fn new(pool: Arc<Pool>, address: Option<Address>, tell: Tell) -> io::Result<Self> {
        let (events, received) = mpsc::channel();
        let manager = if address.is_some() { Manager::Unknown } else { Manager::Gone(BusError::NoAddress) };
        let state = Mutex::new(State { manager, said_lost: false, stocks: HashMap::new() });
        let shared = Arc::new(Shared { state, changed: Condvar::new(), tell });
        if let Some(address) = address {
            let scoper = Scoper::new(address, pool.clone(), shared.clone(), events.clone());
            thread::Builder::new().name("scoper".into()).spawn(move || scoper.run(&received))?;
        }
        Ok(Self { pool, shared, events })
    }

    /// Looks for the manager now, and says so when there is none.
    pub fn warm(&self) {
        let without_bus = matches!(self.shared.state().manager, Manager::Gone(BusError::NoAddress));
        if without_bus {
            self.shared.lose(&BusError::NoAddress);
        }
        self.tell_scoper(Event::Look);
    }

    /// A launcher, in a scope as far as the call's rules ask for it.
    pub fn take(&self, want: &Want<'_>) -> Result<Launcher, Refusal> {
        if want.mode == ScopeMode::Off {
            return self.bare();
        }
        let taken = if want.resources.is_empty() { self.parked(want.socket) } else { self.made(want) };
        let taken = match want.mode {
            // Before it is refused, the manager is looked for once more, if that was not done just now.
            ScopeMode::Require if want.resources.is_empty() => taken.or_else(|why| match why {
                BusError::Silent => Err(why),
                BusError::NoAddress | BusError::Failed(_) => self.made(want),
            }),
            ScopeMode::Auto | ScopeMode::Require | ScopeMode::Off => taken,
        };
        match taken {
            Ok(launcher) => Ok(launcher),
            // Limits that a rule asks for are not dropped because nobody is there to set them.
            Err(_) if want.mode == ScopeMode::Auto && want.resources.is_empty() => self.bare(),
            Err(why) => Err(Refusal::NoScope(io::Error::other(why))),
        }
    }

    /// Says in the scope's description which call runs there. Not waited for, and not said of a call that is over
    /// before anybody could have looked: it would cost the manager half as much again as the scope itself.
    pub fn describe(&self, launcher: &Launcher, text: String) {
        if let Some(scope) = launcher.scope() {
            let due = Instant::now() + DESCRIPTION_DELAY;
            self.tell_scoper(Event::Describe(Caption { scope: Arc::downgrade(scope.name()), text, due }));
        }
    }

    /// Makes no more, and lets go of what is parked: the broker stops.
    pub fn stop(&self) {
        self.tell_scoper(Event::Stop);
    }

    fn bare(&self) -> Result<Launcher, Refusal> {
        self.pool.take().map_err(Refusal::NoLauncher)
    }

    fn parked(&self, socket: &SocketName) -> Result<Launcher, BusError> {
        let give_up = Instant::now() + SCOPE_WAIT;
        let mut state = self.shared.state();
        loop {
            let now = Instant::now();
            if let Manager::Gone(why) = &state.manager {
                let why = why.clone();
                self.tell_scoper(Event::Look);
                return Err(why);
            }
            let stock = state.stocks.entry(socket.clone()).or_insert_with(|| Stock::new(now));
            let taken = stock.take(now);
            stock.waiting += usize::from(taken.is_none());
            self.tell_scoper(Event::Look);
            if let Some(launcher) = taken {
                return Ok(launcher);
            }
            if now >= give_up {
                stock.waiting -= 1;
                drop(state);
                self.shared.lose(&BusError::Silent);
                return Err(BusError::Silent);
            }
            state = self.wait(state, give_up.saturating_duration_since(now));
            state.stocks.get_mut(socket).expect("stocks are never removed").waiting -= 1;
        }
    }

    fn made(&self, want: &Want<'_>) -> Result<Launcher, BusError> {
        if let Manager::Gone(why @ BusError::NoAddress) = &self.shared.state().manager {
            return Err(why.clone());
        }
        let (reply, answer) = mpsc::sync_channel(1);
        let (socket, resources) = (want.socket.clone(), want.resources.to_vec());
        self.tell_scoper(Event::Make(Order { socket, resources, reply }));
        answer.recv_timeout(SCOPE_WAIT).unwrap_or(Err(BusError::Silent))
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, at_most: Duration) -> MutexGuard<'s, State> {
        let waited = self.shared.changed.wait_timeout(state, at_most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn tell_scoper(&self, event: Event) {
        // Without a bus, or while the broker stops, there is no scoper; then nothing is owed to anybody.
        drop(self.events.send(event));
    }
}

/// The receiving end of what the scoper is told.
pub(super) type Events = Receiver<Event>;
