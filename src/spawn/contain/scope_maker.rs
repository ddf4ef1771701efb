//! The thread that has scopes made, and the only one that speaks to the manager. It never blocks on one
//! reply: it polls the manager's connection and the calls' queue together, and several scopes are in the
//! making at once. When the connection is lost, a call that wants a scope triggers the next attempt, at
//! growing intervals. It also gives up slots that are no longer wanted, and removes delegated groups that
//! could not be removed at once.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Instant;

use crate::cgroup::Cgroup;
use crate::ids::SocketName;
use crate::limits::{GROUP_ROUND, SCOPE_WAIT, SCOPES_MAKING, SEND_RETRY, STOPPED_PAUSE};
use crate::rules::{Resource, ResourceKey, ResourceValue};
use crate::sd::{BusAddress, BusError, ManagerReply, NewScope, ScopeName, ready_text};
use crate::spawn::process::anchor::NewAnchor;

use super::manager::ManagerConnection;
use super::nursery_place::NurseryPlace;
use super::queue::QueueReceiver;
use super::shared::{MakerEvent, ManagerState, ScopeCaption, ScopeNews, ScopeOrder, SharedSlots};
use super::slot::{ScopeSlot, Slot, SlotSort};
use super::slot_set::SlotSet;

/// The scope maker's own state.
pub(super) struct ScopeMaker {
    line: ManagerConnection,
    shared: Arc<SharedSlots>,
    /// The scopes that were asked for and are not there yet, by name.
    making: HashMap<String, PendingScope>,
    /// The request behind each D-Bus serial number.
    asked: HashMap<u32, AskedScope>,
    scopes: u64,
    /// The scopes in a row that the manager made and that could not be used.
    unfit: usize,
    /// Whether a failed description was reported on this connection already.
    undescribed: bool,
    /// Scopes that still have the description of a call that is over.
    overdue: Vec<(ScopeName, SocketName)>,
    /// Until when no scope is asked for, because the manager stops what it would belong to.
    paused: Option<Instant>,
    nursery: NurseryPlace,
    /// The calls that wait for the nursery's move.
    held: Vec<ScopeOrder>,
    kept: KeptGroups,
}

/// A scope that the manager was asked for.
struct PendingScope {
    anchor: NewAnchor,
    name: ScopeName,
    socket: SocketName,
    resources: Vec<Resource>,
    goal: ScopeGoal,
    since: Instant,
}

/// Where the slot goes once its scope is there.
enum ScopeGoal {
    Park,
    Call(SyncSender<Result<Slot, BusError>>),
}

enum AskedScope {
    Scope(String),
    Description,
}

/// Delegated groups in which a process was left running.
#[derive(Default)]
struct KeptGroups {
    /// Their paths. Their number has no limit, so no descriptor is held for each.
    paths: Vec<String>,
    /// When to look at them again.
    look: Option<Instant>,
}

impl KeptGroups {
    fn add(&mut self, path: String) {
        self.paths.push(path);
        self.look.get_or_insert(Instant::now() + GROUP_ROUND);
    }

    /// Removes those that are empty by now. A group that cannot be removed is left to the broker's end.
    fn look_at_them(&mut self) {
        if self.look.is_some_and(|look| look <= Instant::now()) {
            let stays =
                |path: &String| matches!(Cgroup::open(path).map(|group| group.remove()), Ok(Ok(false)));
            self.paths.retain(stays);
            self.look = (!self.paths.is_empty()).then(|| Instant::now() + GROUP_ROUND);
        }
    }
}

impl ScopeMaker {
    pub(in crate::spawn) fn new(address: Option<BusAddress>, shared: Arc<SharedSlots>) -> Self {
        Self {
            line: ManagerConnection::new(address),
            shared,
            making: HashMap::new(),
            asked: HashMap::new(),
            scopes: 0,
            unfit: 0,
            undescribed: false,
            overdue: Vec::new(),
            paused: None,
            nursery: NurseryPlace::default(),
            held: Vec::new(),
            kept: KeptGroups::default(),
        }
    }

    /// Serves until the broker stops.
    pub(in crate::spawn) fn run(mut self, queue: &QueueReceiver<MakerEvent>) {
        'serving: loop {
            let shared = self.shared.clone();
            let bus = self.line.bus().map(AsFd::as_fd);
            let elsewhere: Vec<_> = bus.into_iter().chain([shared.stopped.0.as_fd()]).collect();
            match queue.wait(&elsewhere, self.due()) {
                Ok(false) => {}
                Ok(true) => {
                    self.shared.give_up_stopped();
                    self.listen();
                }
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
                    MakerEvent::Wake => {}
                    MakerEvent::Keep(scope, text) => drop(self.describe_as(&scope, &text)),
                    MakerEvent::Ready(scope, socket) => self.note_ready(scope, socket),
                    MakerEvent::Kept(path) => self.kept.add(path),
                    MakerEvent::Stop => break 'serving,
                }
            }
            self.give_up();
            self.kept.look_at_them();
            self.shrink();
            self.fill();
        }
        let free = {
            let mut state = self.shared.state();
            state.is_stopping = true;
            state.manager = ManagerState::Gone(BusError::Failed("the broker stops".into()));
            state.all_sets().flat_map(SlotSet::drain).collect()
        };
        self.shared.dismiss(free);
        self.shared.clean_returned(1);
        self.shared.wake();
    }

    /// When there is work without an event.
    fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let shrink = self.shared.state().all_sets().filter_map(|set| set.due(now)).min();
        let making = self.making.values().map(|making| making.since);
        let late = making.chain(self.nursery.since()).min().map(|since| since + SCOPE_WAIT);
        [shrink, late, self.kept.look, self.paused].into_iter().flatten().min()
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
                for (scope, socket) in std::mem::take(&mut self.overdue) {
                    self.note_ready(scope, socket);
                }
            }
            Err(why) => self.lose(&why),
        }
    }

    /// Closes the connection, and tells every waiting call that there is no manager for now.
    fn lose(&mut self, why: &BusError) {
        self.line.hang_up(why);
        self.asked.clear();
        self.nursery.forget();
        for order in self.held.drain(..) {
            drop(order.reply.send(Err(why.clone())));
        }
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
        let mut making = self.making.values().map(|making| making.since).chain(self.nursery.since());
        if making.any(|since| since + SCOPE_WAIT <= now) {
            self.lose(&BusError::Silent);
        }
    }

    /// Gives up the slots that are not wanted.
    fn shrink(&self) {
        let now = Instant::now();
        let surplus: Vec<_> = self.shared.state().all_sets().flat_map(|set| set.surplus(now)).collect();
        self.shared.dismiss(surplus);
    }

    /// Asks for as many scopes as are wanted.
    fn fill(&mut self) {
        let now = Instant::now();
        self.paused = self.paused.filter(|paused| *paused > now);
        let is_wanted = || self.shared.state().sets(SlotSort::Scope).any(|(_, set)| set.missing(now) > 0);
        if self.paused.is_some() || self.held.is_empty() && !is_wanted() || !self.can_start() {
            return;
        }
        for order in std::mem::take(&mut self.held) {
            self.start(order.socket, order.resources, ScopeGoal::Call(order.reply));
        }
        let mut wanted = Vec::new();
        for (socket, set) in self.shared.state().sets(SlotSort::Scope) {
            // A manager finishes scopes at one time that were asked for together, so a scope that a call
            // waits for is not asked for together with scopes that are only to be parked.
            let at_once = if set.waiting > 0 { set.waiting } else { SCOPES_MAKING };
            let missing = set.missing(now).min(at_once.saturating_sub(set.making));
            set.making += missing;
            wanted.extend(std::iter::repeat_n(socket.clone(), missing));
        }
        for socket in wanted {
            self.start(socket, Vec::new(), ScopeGoal::Park);
        }
    }

    fn order(&mut self, order: ScopeOrder) {
        let ScopeOrder { socket, resources, reply } = order;
        let gone = match &self.shared.state().manager {
            ManagerState::Gone(why) => Some(why.clone()),
            ManagerState::Unknown | ManagerState::Connected | ManagerState::Here => None,
        };
        match gone {
            Some(why) => drop(reply.send(Err(why))),
            // A scope is asked for once the nursery can make processes in it.
            None => self.held.push(ScopeOrder { socket, resources, reply }),
        }
    }

    /// Whether there is a connection, and the nursery is where it can make processes in scopes.
    fn can_start(&mut self) -> bool {
        let (Some(bus), Some(nursery)) = (self.line.bus(), self.shared.pool.nursery()) else { return false };
        match self.nursery.is_inside(bus, nursery) {
            Ok(is_inside) => is_inside,
            Err(why) => {
                self.lose(&why);
                false
            }
        }
    }

    /// Asks for a scope around a new anchor.
    fn start(&mut self, socket: SocketName, resources: Vec<Resource>, goal: ScopeGoal) {
        let Some(bus) = self.line.bus() else {
            return self.tell_failure(&socket, goal, BusError::Silent);
        };
        let anchor = match self.shared.pool.order_anchor() {
            Ok(anchor) => anchor,
            // The nursery is gone, or makes no process now: the next call triggers another try.
            Err(source) => return self.tell_failure(&socket, goal, BusError::Failed(source.to_string())),
        };
        self.scopes += 1;
        let name = ScopeName::new(&socket, std::process::id(), self.scopes);
        let pid = anchor.anchor.pid().as_raw().unsigned_abs();
        let (pidfd, resources_of) = (anchor.pidfd.as_fd(), &resources);
        let scope =
            NewScope { name: &name, socket: &socket, pid, pidfd, broker: None, resources: resources_of };
        let asked = bus.start(&scope);
        let key: String = name.as_str().into();
        let making = PendingScope { anchor, name, socket, resources, goal, since: Instant::now() };
        self.making.insert(key.clone(), making);
        match asked {
            Ok(serial) => drop(self.asked.insert(serial, AskedScope::Scope(key))),
            Err(why) => self.lose(&why),
        }
    }

    /// A scope is not made: whoever waits for it is told.
    fn tell_failure(&self, socket: &SocketName, goal: ScopeGoal, why: BusError) {
        match goal {
            // The call may have given up.
            ScopeGoal::Call(reply) => drop(reply.send(Err(why))),
            ScopeGoal::Park => self.shared.note_made(socket),
        }
    }

    /// Gives a scope the description that names its call.
    fn describe(&mut self, caption: &ScopeCaption) {
        if let Some(name) = caption.scope.upgrade() {
            self.describe_as(&name, &caption.text);
        }
    }

    /// Asks for a description. Gives whether there is a manager to ask.
    fn describe_as(&mut self, name: &ScopeName, text: &str) -> bool {
        self.overdue.retain(|(overdue, _)| overdue != name);
        let Some(bus) = self.line.bus() else { return false };
        match bus.describe(name, text) {
            Ok(serial) => drop(self.asked.insert(serial, AskedScope::Description)),
            Err(why) => {
                self.lose(&why);
                return false;
            }
        }
        true
    }

    /// Takes the description of a call that is over from its scope, now or when there is a manager again.
    fn note_ready(&mut self, scope: ScopeName, socket: SocketName) {
        if !self.describe_as(&scope, &ready_text(&socket)) {
            self.overdue.push((scope, socket));
        }
    }

    fn hear(&mut self, word: ManagerReply) {
        match word {
            ManagerReply::Taken(serial) => drop(self.asked.remove(&serial)),
            ManagerReply::Refused(serial, why) if self.nursery.asked_as(serial) => {
                self.lose(&BusError::refused(why));
            }
            ManagerReply::Refused(serial, why) => match self.asked.remove(&serial) {
                Some(AskedScope::Scope(name)) => self.fail(&name, BusError::refused(why)),
                Some(AskedScope::Description) => self.note_undescribed(&why),
                None => {}
            },
            ManagerReply::Over(unit, result) if self.nursery.hear(&unit, result == "done") => {
                if result != "done" {
                    self.lose(&BusError::ended(&result));
                }
            }
            ManagerReply::Over(unit, result) if result == "done" => self.finish(&unit),
            ManagerReply::Over(unit, result) => self.fail(&unit, BusError::ended(&result)),
        }
    }

    /// The manager has made a scope: its slot is parked, or goes to its call.
    fn finish(&mut self, unit: &str) {
        let Some(making) = self.making.remove(unit) else { return };
        let PendingScope { anchor: NewAnchor { anchor, .. }, name, socket, resources, goal, .. } = making;
        let changes = self.shared.begin_watch();
        let made = Cgroup::of(anchor.pid(), unit).and_then(|cgroup| {
            make_room(&cgroup, &resources);
            ScopeSlot::new(name, cgroup, anchor, changes)
        });
        let scope = match made {
            Ok(scope) => scope,
            Err(source) => {
                let why = unfit(&source);
                self.tell_failure(&socket, goal, why.clone());
                return self.note_unfit(&why);
            }
        };
        let slot = Slot::scope(socket.clone(), scope, resources);
        if let Some(anchor) = slot.anchor() {
            self.shared.watch_anchor(anchor.stream());
        }
        match goal {
            ScopeGoal::Call(reply) => {
                self.note_fit();
                self.shared.hand(slot, &reply);
            }
            ScopeGoal::Park => {
                self.shared.note_made(&socket);
                match self.shared.park(slot, false) {
                    Ok(()) => self.note_fit(),
                    Err(source) => self.note_unfit(&unfit(&source)),
                }
            }
        }
    }

    fn note_fit(&mut self) {
        self.unfit = 0;
        self.line.praise();
        self.shared.found();
    }

    /// A scope was made that cannot be used. One may have been stopped meanwhile; after several in a row, the
    /// manager is taken to make none, so that they are not asked for again and again.
    fn note_unfit(&mut self, why: &BusError) {
        self.unfit += 1;
        if self.unfit >= SCOPES_MAKING {
            self.lose(why);
        }
    }

    /// The manager did not make a scope. If the scope had one call's own properties, only that call fails; if
    /// it was to be parked, the manager is taken to make none.
    fn fail(&mut self, unit: &str, why: BusError) {
        let Some(making) = self.making.remove(unit) else { return };
        if matches!(why, BusError::Stopped(_)) {
            return self.put_off(making);
        }
        match making.goal {
            ScopeGoal::Call(reply) => {
                drop(reply.send(Err(why.clone())));
                if matches!(why, BusError::Denied(_)) {
                    self.lose(&why);
                }
            }
            // The anchor was killed meanwhile, and its scope ended with it: nothing is wrong with the
            // manager.
            goal @ ScopeGoal::Park if !making.anchor.anchor.stands() => {
                self.tell_failure(&making.socket, goal, why);
            }
            ScopeGoal::Park => self.lose(&why),
        }
    }

    /// The manager stops what the scope would belong to: its slice, which is there again in a moment, or the
    /// broker's own unit. The scope is asked for again after a pause, if it is wanted then.
    fn put_off(&mut self, making: PendingScope) {
        let PendingScope { socket, resources, goal, .. } = making;
        self.paused = Some(Instant::now() + STOPPED_PAUSE);
        match goal {
            ScopeGoal::Call(reply) => self.held.push(ScopeOrder { socket, resources, reply }),
            ScopeGoal::Park => self.shared.note_made(&socket),
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

fn unfit(source: &io::Error) -> BusError {
    BusError::Failed(format!("the scope's cgroup cannot be used: {source}"))
}

/// Lets the call have as many tasks as its rule says: the anchor is one of the scope's. A call's own group
/// has the limit of the rule. After a reload of the manager, it is one task less.
fn make_room(scope: &Cgroup, resources: &[Resource]) {
    let tasks = resources.iter().find(|resource| resource.key == ResourceKey::TasksMax);
    if let Some(ResourceValue::Number(tasks)) = tasks.map(|resource| &resource.value)
        && *tasks < u64::MAX
    {
        // It fails where there is no controller, and so no limit.
        scope.set("pids.max", &(tasks + 1).to_string()).ok();
    }
}
