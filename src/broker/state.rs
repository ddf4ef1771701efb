//! What the broker's threads share.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::audit::{Caller, RefusedRequest};
use crate::ids::{CallId, SocketName};
use crate::limits::SOCKET_THREADS_SPARE;
use crate::refusal::Refusal;
use crate::spawn::{Environment, LauncherPool, Reaper, ScopePool};
use crate::sys::Locked;

use super::admission::Admission;
use super::admitted::AdmittedCall;
use super::closing::ConnectionCloser;
use super::deferred_entry::DeferredEntry;
use super::events::BrokerEvents;
use super::notice::SayNotice;
use super::ruleset::Ruleset;
use super::status_board::StatusBoard;

/// What the broker's threads share.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) sockets: Vec<ServedSocket>,
    /// The rules files in force, each once.
    pub(super) rulesets: Vec<Arc<Ruleset>>,
    /// Where refusals are being counted, and the accept loop does not know yet.
    pub(super) counting: Locked<Vec<Arc<Ruleset>>>,
    /// Sockets at which somebody who waits may be refused or run by now, and that no thread looks after yet.
    pub(super) unhandled: Locked<Vec<usize>>,
    pub(super) deferred: DeferredEntry,
    pub(super) environment: Environment,
    pub(super) reaper: Arc<Reaper>,
    pub(super) pool: Arc<LauncherPool>,
    pub(super) closing: Arc<ConnectionCloser>,
    pub(super) scopes: ScopePool,
    pub(super) say: SayNotice,
    pub(super) events: Arc<BrokerEvents>,
    pub(super) board: Arc<StatusBoard>,
}

/// One socket: its rules, its callers, its gate.
#[derive(Debug)]
pub(super) struct ServedSocket {
    pub(super) name: SocketName,
    pub(super) rules: Arc<Ruleset>,
    pub(super) listener: &'static OwnedFd,
    pub(super) admission: Admission<AdmittedCall>,
}

impl ServedSocket {
    /// How many threads may answer there at a time.
    pub(super) fn threads_max(&self) -> u32 {
        self.rules.policy().max_calls().saturating_add(SOCKET_THREADS_SPARE)
    }

    /// The broker stops: decisions that take long end, and those who wait for a place are taken out.
    pub(super) fn turn_out(&self) -> Vec<AdmittedCall> {
        self.rules.policy().end_long_decisions();
        self.admission.turn_out()
    }
}

impl Broker {
    /// Puts a refusal on record, under the number that the call has, or the next, and gives the number.
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

    /// Puts on record that a caller is given the listing, before it is.
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

    /// Adds the rulesets that have begun to count refusals to those that are `known` to.
    pub(super) fn take_counting(&self, known: &mut Vec<Arc<Ruleset>>) {
        for ruleset in self.counting.lock().drain(..) {
            if !known.iter().any(|other| Arc::ptr_eq(other, &ruleset)) {
                known.push(ruleset);
            }
        }
    }

    /// Has the accept loop find a thread for those who wait at a socket.
    pub(super) fn need_waiting_job(&self, socket: &ServedSocket) {
        let index = self.sockets.iter().position(|other| std::ptr::eq(other, socket));
        self.unhandled.lock().extend(index);
        self.events.wake();
    }

    /// The sockets that need one.
    pub(super) fn take_waiting(&self) -> Vec<usize> {
        std::mem::take(&mut self.unhandled.lock())
    }

    /// A call came or went.
    pub(super) fn note_change(&self) {
        self.events.note_change(&self.board);
    }
}
