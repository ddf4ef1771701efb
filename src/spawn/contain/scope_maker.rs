//! The thread that puts launchers into scopes, and the only one that speaks to the manager. It never blocks
//! on one reply: it polls the manager's connection and the calls' queue together, and several scopes are in
//! the making at once. When the connection is lost, a call that wants a scope triggers the next attempt, at
//! growing intervals.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Instant;

use crate::cgroup::Cgroup;
use crate::ids::SocketName;
use crate::limits::{SCOPE_WAIT, SCOPES_MAKING, SEND_RETRY};
use crate::rules::Resource;
use crate::sd::{BusAddress, BusError, ManagerReply, NewScope, ScopeName};
use crate::spawn::process::launcher::{Launcher, dismiss};
use crate::spawn::process::pool::LauncherPool;

use super::manager::ManagerConnection;
use super::queue::QueueReceiver;
use super::scope::CallScope;
use super::shared::{MakerEvent, ManagerState, ScopeCaption, ScopeNews, ScopeOrder, SharedScopes};
use super::warm::WarmSet;

/// The scope maker's own state.
pub(super) struct ScopeMaker {
    line: ManagerConnection,
    pool: Arc<LauncherPool>,
    shared: Arc<SharedScopes>,
    /// The scopes that were asked for and are not there yet, by name.
    making: HashMap<String, PendingScope>,
    /// The request behind each D-Bus serial number.
    asked: HashMap<u32, AskedScope>,
    scopes: u64,
    /// Whether a failed description was reported on this connection already.
    undescribed: bool,
}

/// A scope that the manager was asked for.
struct PendingScope {
    launcher: Launcher,
    name: ScopeName,
    goal: ScopeGoal,
    since: Instant,
}

/// Where the launcher goes once its scope is there.
enum ScopeGoal {
    Park(SocketName),
    Call(SyncSender<Result<Launcher, BusError>>),
}

enum AskedScope {
    Scope(String),
    Description,
}

impl ScopeMaker {
    pub(in crate::spawn) fn new(
        address: BusAddress,
        pool: Arc<LauncherPool>,
        shared: Arc<SharedScopes>,
    ) -> Self {
        Self {
            line: ManagerConnection::new(address),
            pool,
            shared,
            making: HashMap::new(),
            asked: HashMap::new(),
            scopes: 0,
            undescribed: false,
        }
    }

    /// Serves until the broker stops.
    pub(in crate::spawn) fn run(mut self, queue: &QueueReceiver<MakerEvent>) {
        'serving: loop {
            match queue.wait(self.line.bus(), self.due()) {
                Ok(false) => {}
                Ok(true) => self.listen(),
                // The kernel had no memory for poll(2): wait before the next try.
                Err(_) => thread::sleep(SEND_RETRY),
            }
            while let Some(event) = queue.next() {
                match event {
                    MakerEvent::Look => self.connect(),
                    MakerEvent::Make(order) => {
                        self.connect();
                        self.order(order);
                    }
                    MakerEvent::Describe(caption) => self.describe(&caption),
                    MakerEvent::Stop => break 'serving,
                }
            }
            self.give_up();
            self.fill();
        }
        let mut state = self.shared.state();
        let parked: Vec<_> = state.warm_sets.values_mut().flat_map(|warm| warm.ready.drain(..)).collect();
        state.manager = ManagerState::Gone(BusError::Failed("the broker stops".into()));
        drop(state);
        dismiss(parked, &self.shared.reaper);
        self.shared.wake();
    }

    /// When there is work without an event.
    fn due(&self) -> Option<Instant> {
        let state = self.shared.state();
        let shrink = state.warm_sets.values().filter_map(WarmSet::due).min();
        let late = self.making.values().map(|making| making.since + SCOPE_WAIT).min();
        [shrink, late].into_iter().flatten().min()
    }

    /// Handles the manager's replies.
    fn listen(&mut self) {
        match self.line.hear() {
            Ok(words) => words.into_iter().for_each(|word| self.hear(word)),
            Err(why) => self.lose(&why),
        }
    }

    /// Connects, unless there is a connection or an attempt failed just now.
    fn connect(&mut self) {
        if !self.line.is_due() {
            return;
        }
        match self.line.connect() {
            Ok(()) => {
                self.undescribed = false;
                self.shared.connected();
            }
            Err(why) => self.lose(&why),
        }
    }

    /// Closes the connection, and tells every waiting call that there is no manager for now.
    fn lose(&mut self, why: &BusError) {
        self.line.hang_up(why);
        self.asked.clear();
        for (_, making) in self.making.drain() {
            if let ScopeGoal::Call(reply) = making.goal {
                drop(reply.send(Err(why.clone())));
            }
        }
        self.shared.lose(why);
    }

    /// Drops the connection when a scope has been in the making for [`SCOPE_WAIT`].
    fn give_up(&mut self) {
        let now = Instant::now();
        if self.making.values().any(|making| making.since + SCOPE_WAIT <= now) {
            self.lose(&BusError::Silent);
        }
    }

    /// Asks for as many scopes as are wanted, and dismisses surplus launchers.
    fn fill(&mut self) {
        let now = Instant::now();
        let mut wanted = Vec::new();
        let mut surplus = Vec::new();
        for (socket, warm) in &mut self.shared.state().warm_sets {
            let target = warm.target(now);
            let kept = warm.ready.len().min(target.max(warm.waiting));
            surplus.extend(warm.ready.drain(kept..));
            let making = self.making_for(socket);
            let missing = (target + warm.waiting).saturating_sub(warm.ready.len() + making);
            // A manager finishes scopes at one time that were asked for together, so a scope that a call
            // waits for is not asked for together with scopes that are only to be parked.
            let room = warm.waiting.max(SCOPES_MAKING).saturating_sub(making);
            wanted.extend(std::iter::repeat_n(socket.clone(), missing.min(room)));
        }
        dismiss(surplus, &self.shared.reaper);
        for socket in wanted {
            // The nursery is gone: the next call triggers another try.
            let Ok(launcher) = self.raw() else { return };
            self.start(launcher, &socket.clone(), &[], ScopeGoal::Park(socket));
        }
    }

    fn making_for(&self, socket: &SocketName) -> usize {
        let own = |making: &&PendingScope| matches!(&making.goal, ScopeGoal::Park(goal) if goal == socket);
        self.making.values().filter(own).count()
    }

    fn raw(&self) -> Result<Launcher, BusError> {
        if self.line.bus().is_none() {
            return Err(BusError::Silent);
        }
        self.pool.take().map_err(|source| BusError::Failed(source.to_string()))
    }

    fn order(&mut self, order: ScopeOrder) {
        let ScopeOrder { socket, resources, reply } = order;
        if let ManagerState::Gone(why) = &self.shared.state().manager {
            drop(reply.send(Err(why.clone())));
            return;
        }
        match self.raw() {
            Ok(launcher) => self.start(launcher, &socket, &resources, ScopeGoal::Call(reply)),
            Err(why) => drop(reply.send(Err(why))),
        }
    }

    /// Asks for a scope around a launcher.
    fn start(&mut self, launcher: Launcher, socket: &SocketName, resources: &[Resource], goal: ScopeGoal) {
        let Some(bus) = self.line.bus() else { return };
        self.scopes += 1;
        let name = ScopeName::new(socket, std::process::id(), self.scopes);
        let pid = launcher.pid().as_raw().unsigned_abs();
        let pidfd = launcher.pidfd();
        let asked = bus.start(&NewScope { name: &name, socket, pid, pidfd, broker: None, resources });
        let making = PendingScope { launcher, name: name.clone(), goal, since: Instant::now() };
        self.making.insert(name.as_str().into(), making);
        match asked {
            Ok(serial) => drop(self.asked.insert(serial, AskedScope::Scope(name.as_str().into()))),
            Err(why) => self.lose(&why),
        }
    }

    /// Gives a scope the description that names its call.
    fn describe(&mut self, caption: &ScopeCaption) {
        let (Some(name), Some(bus)) = (caption.scope.upgrade(), self.line.bus()) else { return };
        match bus.describe(&name, &caption.text) {
            Ok(serial) => drop(self.asked.insert(serial, AskedScope::Description)),
            Err(why) => self.lose(&why),
        }
    }

    fn hear(&mut self, word: ManagerReply) {
        match word {
            ManagerReply::Taken(serial) => drop(self.asked.remove(&serial)),
            ManagerReply::Refused(serial, why) => match self.asked.remove(&serial) {
                Some(AskedScope::Scope(name)) => self.fail(&name, BusError::refused(why)),
                Some(AskedScope::Description) => self.note_undescribed(&why),
                None => {}
            },
            ManagerReply::Over(unit, result) if result == "done" => self.finish(&unit),
            ManagerReply::Over(unit, result) => self.fail(&unit, BusError::ended(&result)),
        }
    }

    /// The manager has made a scope: its launcher goes to its call, or is parked.
    fn finish(&mut self, unit: &str) {
        let Some(making) = self.making.remove(unit) else { return };
        let PendingScope { mut launcher, name, goal, since } = making;
        match Cgroup::of(launcher.pid(), unit) {
            Ok(cgroup) => launcher.enter(CallScope::unit(name, cgroup)),
            Err(source) => {
                let making = PendingScope { launcher, name, goal, since };
                self.making.insert(unit.into(), making);
                let why = format!("the scope's cgroup cannot be opened: {source}");
                return self.fail(unit, BusError::Failed(why));
            }
        }
        self.line.praise();
        self.shared.found();
        match goal {
            // A call that gave up has dropped its receiver: then the send fails, and dropping the launcher
            // ends it.
            ScopeGoal::Call(reply) => drop(reply.send(Ok(launcher))),
            ScopeGoal::Park(socket) => self.shared.park(&socket, launcher),
        }
    }

    /// The manager did not make a scope. If the scope had one call's own properties, only that call fails; if
    /// it was to be parked, the manager is taken to make none.
    fn fail(&mut self, unit: &str, why: BusError) {
        let Some(making) = self.making.remove(unit) else { return };
        match making.goal {
            ScopeGoal::Call(reply) => {
                drop(reply.send(Err(why.clone())));
                if matches!(why, BusError::Denied(_)) {
                    self.lose(&why);
                }
            }
            // The launcher was killed meanwhile, and its scope ended with it: nothing is wrong with the
            // manager.
            ScopeGoal::Park(_) if !making.launcher.is_alive() => {}
            ScopeGoal::Park(_) => self.lose(&why),
        }
    }

    /// Reports, once a connection, that a description failed. Not for a scope that is gone: its call is over.
    fn note_undescribed(&mut self, why: &str) {
        let over = why.contains("NoSuchUnit") || why.contains("not loaded") || why.contains("not found");
        if !over && !std::mem::replace(&mut self.undescribed, true) {
            (self.shared.tell)(&ScopeNews::Undescribed(why));
        }
    }
}
