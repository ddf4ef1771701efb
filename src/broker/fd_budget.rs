//! The budget of descriptors: the number that the calls need which the rules allow, and the number that the
//! limit (`RLIMIT_NOFILE`) leaves for connections that wait.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::limits::{
    BROKER_FDS_SPARE, CALL_FDS_MAX, PARKED_FDS_MAX, PENDING_CONNECTIONS_MAX, RELAY_FDS_MAX, RULESET_FDS_MAX,
    SLOTS_SPARE, SOCKET_WAITING_MAX,
};
use crate::rules::{Policy, ScopeMode};

use super::notice::LoadError;
use super::ruleset::Ruleset;
use super::state::Broker;

/// The numbers of connections that may wait, by the descriptors that the limit leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    /// Without a thread, of all sockets: until they can be read, or between two requests.
    pub(super) connections: usize,
    /// With a request that waits for its place, at each socket.
    pub(super) waiting: usize,
}

/// Raises the limit of descriptors to the most that is allowed. Returns the limit that the broker was started
/// with, which its commands get.
pub(super) fn raise_descriptors() -> io::Result<u64> {
    let (open_files, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(open_files)
}

/// Shares out the descriptors that the limit leaves beside those that are needed.
pub(super) fn share_descriptors(sockets: usize, needed: usize) -> Result<QueueLimits, LoadError> {
    let spare = spare_descriptors(needed)?;
    let connections = (spare / 2).clamp(1, PENDING_CONNECTIONS_MAX);
    // A request that waits holds up to three: its line, and those of its adapter.
    let waiting = (spare / 8 / sockets).clamp(1, SOCKET_WAITING_MAX);
    Ok(QueueLimits { connections, waiting })
}

/// The descriptors that all sockets need, while one ruleset after the other changes.
#[derive(Debug)]
pub(super) struct DescriptorNeeds {
    /// The number of sockets of each ruleset.
    sockets: Vec<usize>,
    all: usize,
}

impl DescriptorNeeds {
    pub(super) fn new(broker: &Broker) -> Self {
        let mut sockets_of: HashMap<*const Ruleset, usize> = HashMap::new();
        for socket in &broker.sockets {
            *sockets_of.entry(Arc::as_ptr(&socket.rules)).or_default() += 1;
        }
        let sockets = broker.rulesets.iter().map(|ruleset| sockets_of.remove(&Arc::as_ptr(ruleset)));
        let sockets: Vec<_> = sockets.map(Option::unwrap_or_default).collect();
        let each = broker.rulesets.iter().map(|ruleset| needed_descriptors(&ruleset.policy()));
        let all = each.zip(&sockets).map(|(each, sockets)| each * sockets).sum();
        Self { sockets, all }
    }

    /// Replaces one ruleset's part of the need. Errors: too few descriptors are left for the new rules.
    pub(super) fn change(&mut self, at: usize, old: &Policy, new: &Policy) -> Result<(), LoadError> {
        let needed = |policy| self.sockets[at] * needed_descriptors(policy);
        let all = self.all - needed(old) + needed(new);
        spare_descriptors(all)?;
        self.all = all;
        Ok(())
    }
}

/// The descriptors of a socket when every call that its rules allow runs.
pub(super) fn needed_descriptors(policy: &Policy) -> usize {
    let each = CALL_FDS_MAX + if policy.relays() { RELAY_FDS_MAX } else { 0 };
    let calls = usize::try_from(policy.max_calls()).unwrap_or(usize::MAX);
    let kinds = match policy.scope() {
        ScopeMode::Off => 0,
        ScopeMode::Require | ScopeMode::Delegate => 1,
        // During a burst, calls may get scopes first and groups of the broker's own later, or the other way
        // round.
        ScopeMode::Auto => 2,
    };
    // Slots that were made for calls of a burst take the place of those calls.
    let parked = kinds * SLOTS_SPARE * PARKED_FDS_MAX;
    calls.saturating_mul(each) + 1 + RULESET_FDS_MAX + parked
}

/// The descriptors that are left when all sockets have what they need.
pub(super) fn spare_descriptors(needed: usize) -> Result<usize, LoadError> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    let needed = needed.saturating_add(BROKER_FDS_SPARE);
    let spare = usize::try_from(limit).unwrap_or(usize::MAX).checked_sub(needed);
    spare.ok_or(LoadError::Descriptors { limit, needed: needed as u64 })
}
