//! The state that the broker's threads share.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::audit::{Caller, RefusedRequest};
use crate::broker::accept::incoming::{Incoming, WatchedListener};
use crate::ids::{CallId, SocketName};
use crate::limits::{QUEUED_AFTER, SOCKET_THREADS_SPARE};
use crate::refusal::Refusal;
use crate::rules::{DenialLog, ScopeMode};
use crate::sd::Notifier;
use crate::spawn::{Environment, LauncherPool, Reaper, ScopePool};
use crate::sys::Locked;

use super::adapters::AdapterPool;
use super::admission::Admission;
use super::admitted::AdmittedCall;
use super::closing::ConnectionCloser;
use super::config::ServeError;
use super::confiner::Confiner;
use super::connection::Connection;
use super::deferred_entry::DeferredEntry;
use super::denials::{AuditLog, DenialWatch};
use super::doors::FifoDoors;
use super::events::BrokerEvents;
use super::notice::{Notice, SayNotice};
use super::ruleset::Ruleset;
use super::scope_setup::begin_scopes;
use super::status_board::StatusBoard;

/// The state that the broker's threads share.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) sockets: Vec<ServedSocket>,
    /// The rules files in force, each once.
    pub(super) rulesets: Vec<Arc<Ruleset>>,
    /// The rulesets that have begun to count refusals, until the main thread takes them.
    pub(super) counting: Locked<Vec<Arc<Ruleset>>>,
    pub(super) deferred: DeferredEntry,
    pub(super) environment: Environment,
    pub(super) reaper: Arc<Reaper>,
    pub(super) pool: Arc<LauncherPool>,
    pub(super) closing: Arc<ConnectionCloser>,
    pub(super) adapters: Arc<AdapterPool>,
    pub(super) doors: FifoDoors,
    pub(super) confiner: Confiner,
    /// When to look at which socket for calls whose callers are to be told that they wait, by time.
    pub(super) queued: Locked<VecDeque<(Instant, usize)>>,
    pub(super) incoming: Incoming,
    pub(super) scopes: ScopePool,
    /// The denials of confined commands, where this broker can read the kernel's audit log.
    pub(super) denials: Option<Arc<DenialWatch>>,
    pub(super) say: SayNotice,
    pub(super) events: Arc<BrokerEvents>,
    pub(super) board: Arc<StatusBoard>,
}

/// One socket: its rules, and the calls that run and wait.
#[derive(Debug)]
pub(super) struct ServedSocket {
    /// Its place among the broker's sockets.
    pub(super) index: usize,
    pub(super) name: SocketName,
    pub(super) rules: Arc<Ruleset>,
    pub(super) admission: Admission<AdmittedCall>,
}

impl ServedSocket {
    /// A socket with its rules, at which at most `waiting_max` requests wait for their place.
    pub(super) fn new(index: usize, name: SocketName, rules: Arc<Ruleset>, waiting_max: usize) -> Self {
        Self { index, name, rules, admission: Admission::new(waiting_max) }
    }

    /// The number of threads that may answer there at a time.
    pub(super) fn threads_max(&self) -> u32 {
        self.rules.policy().max_calls().saturating_add(SOCKET_THREADS_SPARE)
    }

    /// Ends long decisions and takes out all waiting calls: the broker stops.
    pub(super) fn turn_out(&self) -> Vec<AdmittedCall> {
        self.rules.policy().end_long_decisions();
        self.admission.turn_out()
    }
}

impl Broker {
    /// A broker that does not serve yet: it has its threads, and no nursery. There is room for so many
    /// connections that no thread works on.
    pub(super) fn new(
        sockets: Vec<ServedSocket>,
        listeners: Vec<WatchedListener>,
        room: usize,
        rulesets: Vec<Arc<Ruleset>>,
        environment: Environment,
        notifier: &Notifier,
        say: SayNotice,
    ) -> Result<Self, ServeError> {
        let reaper = Arc::new(Reaper::begin().map_err(ServeError::NoTree)?);
        let pool = Arc::new(LauncherPool::new(reaper.clone()));
        let events = Arc::new(BrokerEvents::new()?);
        let board = Arc::new(StatusBoard::new(notifier));
        let (told, changes) = (board.clone(), events.clone());
        let change = move || changes.note_change(&told);
        let scopes = begin_scopes(&pool, &reaper, &environment, &scope_modes(&rulesets), say, change)?;
        let closing =
            ConnectionCloser::begin(sockets.len(), &pool, &reaper).map_err(ServeError::NoProcess)?;
        let adapters = AdapterPool::new(&pool, &reaper);
        let doors = FifoDoors::new(sockets.len());
        let incoming = Incoming::new(listeners, room, closing.clone(), events.clone())?;
        Ok(Self {
            sockets,
            rulesets,
            counting: Locked::default(),
            deferred: DeferredEntry::default(),
            environment,
            reaper,
            pool,
            closing,
            adapters,
            doors,
            confiner: Confiner::default(),
            queued: Locked::default(),
            incoming,
            scopes,
            denials: None,
            say,
            events,
            board,
        })
    }

    /// Has the kernel's audit log read, if this broker may, and if a rule has denials logged.
    pub(super) fn watch_denials(&mut self, log: Option<AuditLog>) -> io::Result<()> {
        let logs = |ruleset: &Arc<Ruleset>| {
            ruleset.policy().rules().iter().any(|rule| rule.settings.denials == DenialLog::Kernel)
        };
        let log = log.filter(|_| self.rulesets.iter().any(logs));
        self.denials = log.map(DenialWatch::begin).transpose()?;
        Ok(())
    }

    /// The scope mode of each ruleset.
    pub(super) fn scope_modes(&self) -> Vec<ScopeMode> {
        scope_modes(&self.rulesets)
    }

    /// Puts a refusal on record, under the number that the call has or the next one, and returns the number.
    pub(super) fn record_refusal(
        &self,
        socket: &ServedSocket,
        call: Option<CallId>,
        rejected: &RefusedRequest,
    ) -> CallId {
        let (call, is_counted) = socket.rules.record_refusal(call, rejected);
        if is_counted {
            self.counting.lock().push(socket.rules.clone());
        }
        if self.board.refuse(rejected) || is_counted {
            self.events.wake();
        }
        call
    }

    /// Puts on record that a caller gets the listing, before the listing is sent.
    pub(super) fn record_listing(
        &self,
        socket: &ServedSocket,
        caller: Option<Caller>,
    ) -> Result<(), Refusal> {
        let (is_counted, written) = socket.rules.manifest().list(&socket.name, caller);
        if is_counted {
            self.counting.lock().push(socket.rules.clone());
            self.events.wake();
        }
        match written {
            Err(source) if socket.rules.is_strict() => {
                Err(Refusal::AuditLost { path: socket.rules.manifest().path(), source })
            }
            written => {
                socket.rules.heed(written);
                Ok(())
            }
        }
    }

    /// Adds the rulesets that have begun to count refusals to those that are `known` to count.
    pub(super) fn take_counting(&self, known: &mut Vec<Arc<Ruleset>>) {
        for ruleset in self.counting.lock().drain(..) {
            if !known.iter().any(|other| Arc::ptr_eq(other, &ruleset)) {
                known.push(ruleset);
            }
        }
    }

    /// Has a thread look after the waiting calls of a socket.
    pub(super) fn need_waiting_job(&self, socket: &ServedSocket) {
        self.incoming.need_handling(socket.index);
    }

    /// Has what waits at a socket for a thread look again, where there is one to spare again.
    pub(super) fn offer_thread(&self, socket: &ServedSocket) {
        if socket.admission.has_spare_thread_again(socket.threads_max()) {
            self.incoming.note_spare_thread(socket.index);
        }
    }

    /// Accepts no connection for a while, because the kernel is out of a resource.
    pub(super) fn note_exhausted(&self, why: &io::Error) {
        if self.incoming.note_exhausted(Instant::now()) {
            (self.say)(&Notice::Exhausted(why));
        }
    }

    /// Has a connection of version 2 watched for its next request. Where the user has too many watches, it is
    /// closed.
    pub(super) fn watch_again(&self, connection: Connection) {
        if let Err(source) = self.incoming.watch_idle(connection) {
            self.note_exhausted(&source);
        }
    }

    /// Notes that a call of version 2 has begun to wait at a socket.
    pub(super) fn note_queued(&self, socket: &ServedSocket) {
        let mut queued = self.queued.lock();
        queued.push_back((Instant::now() + QUEUED_AFTER, socket.index));
        if queued.len() == 1 {
            self.events.wake();
        }
    }

    /// When the next waiting call may have waited for so long that its caller is told.
    pub(super) fn next_queued(&self) -> Option<Instant> {
        self.queued.lock().front().map(|(due, _)| *due)
    }

    /// Tells callers that have waited for their place for `QUEUED_AFTER`.
    pub(super) fn tell_queued(&self, now: Instant) {
        loop {
            let mut queued = self.queued.lock();
            let Some((_, index)) = queued.front().copied().filter(|(due, _)| *due <= now) else { return };
            queued.retain(|&(due, other)| other != index || due > now);
            drop(queued);
            self.sockets[index].admission.tell_waiting();
        }
    }

    /// Notes that a call came or went.
    pub(super) fn note_change(&self) {
        self.events.note_change(&self.board);
    }
}

fn scope_modes(rulesets: &[Arc<Ruleset>]) -> Vec<ScopeMode> {
    rulesets.iter().map(|ruleset| ruleset.policy().scope()).collect()
}
