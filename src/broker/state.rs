//! What the broker's threads share.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::audit::{Manifest, Rejected};
use crate::ids::SocketName;
use crate::rules::{Audit, Policy};
use crate::spawn::{Environment, Kin, Pool, Stop};

use super::call::Admitted;
use super::gate::Gate;
use super::notice::Notice;

/// Where notices go.
pub type Say = fn(&Notice<'_>);

/// What the broker's threads share.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) sockets: Vec<Socket>,
    pub(super) rules_file: PathBuf,
    pub(super) environment: Environment,
    pub(super) manifest: Manifest,
    pub(super) kin: Kin,
    pub(super) pool: Pool,
    pub(super) say: Say,
    pub(super) events: Events,
    policy: RwLock<Arc<Policy>>,
}

/// One socket: its callers, its gate.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) name: SocketName,
    pub(super) listener: OwnedFd,
    pub(super) gate: Gate<Admitted>,
}

/// What threads tell each other.
#[derive(Debug)]
pub(super) struct Events {
    stopping: EventFd,
    hurry: EventFd,
    wake: EventFd,
    stopped: AtomicBool,
}

impl Events {
    pub(super) fn new() -> io::Result<Self> {
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let stopped = AtomicBool::new(false);
        Ok(Self { stopping: event()?, hurry: event()?, wake: event()?, stopped })
    }

    /// Ends running calls and refuses new ones, from now on and for good.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        raise(&self.stopping);
    }

    /// Ends them without waiting for them to obey.
    pub(super) fn hurry(&self) {
        raise(&self.hurry);
    }

    /// Has the lobby look around: a thread ended, or there is a count to write.
    pub(super) fn wake(&self) {
        raise(&self.wake);
    }

    /// The lobby has been woken.
    pub(super) fn woken(&self) {
        // Nothing to read means that somebody else's wake was taken with an earlier one.
        self.wake.read().ok();
    }

    pub(super) fn wakes(&self) -> &EventFd {
        &self.wake
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn as_stop(&self) -> Stop<'_> {
        Stop { stopping: self.stopping.as_fd(), hurry: self.hurry.as_fd() }
    }
}

fn raise(event: &EventFd) {
    // It fails only when the counter is full, and then it is readable already.
    event.write(1).ok();
}

impl Broker {
    #[expect(clippy::too_many_arguments, reason = "the one place that puts the broker together")]
    pub(super) fn new(
        sockets: Vec<Socket>,
        rules_file: PathBuf,
        environment: Environment,
        manifest: Manifest,
        kin: Kin,
        events: Events,
        policy: Arc<Policy>,
        say: Say,
    ) -> Self {
        let (pool, policy) = (Pool::new(), RwLock::new(policy));
        Self { sockets, rules_file, environment, manifest, kin, pool, say, events, policy }
    }

    /// The rules in force; a call keeps the ones that it started with.
    pub(super) fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other rules in force.
    pub(super) fn set_policy(&self, policy: Arc<Policy>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Puts a refusal on record.
    pub(super) fn record_refusal(&self, rejected: &Rejected) {
        let was_due = self.manifest.next_due();
        if let Err(source) = self.manifest.reject(rejected) {
            self.say_lost(&source);
        }
        if was_due.is_none() && self.manifest.next_due().is_some() {
            self.events.wake();
        }
    }

    /// Says that a record could not be written.
    pub(super) fn say_lost(&self, source: &io::Error) {
        (self.say)(&Notice::RecordLost { path: self.manifest.path(), source });
    }

    /// Whether what cannot be recorded must not run.
    pub(super) fn is_strict(&self) -> bool {
        self.policy().audit() == Audit::Strict
    }
}
