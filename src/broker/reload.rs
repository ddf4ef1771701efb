//! HUP: each rules file is read again, and its manifest is opened again where it was moved away. Calls in flight keep
//! the rules that they started with; a file that does not load changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit};

use crate::limits::{
    BROKER_FDS_SPARE, CALL_FDS_MAX, PARKED_FDS_MAX, RELAY_FDS_MAX, RULESET_FDS_MAX, SCOPES_PARKED_MAX,
};
use crate::rules::{Policy, ScopeMode};

use super::notice::LoadError;
use super::ruleset::{Loaded, Ruleset, want_records};
use super::state::Broker;

/// Reads every rules file again.
pub(super) fn reload(broker: &Broker) {
    let mut sockets_of: HashMap<*const Ruleset, usize> = HashMap::new();
    for socket in &broker.sockets {
        *sockets_of.entry(Arc::as_ptr(&socket.rules)).or_default() += 1;
    }
    let needed_by = |ruleset: &Arc<Ruleset>, policy: &Policy| {
        sockets_of.get(&Arc::as_ptr(ruleset)).unwrap_or(&0) * needed_descriptors(policy)
    };
    let mut needed: usize = broker.rulesets.iter().map(|ruleset| needed_by(ruleset, &ruleset.policy())).sum();
    for ruleset in &broker.rulesets {
        let others = needed - needed_by(ruleset, &ruleset.policy());
        let loaded = Loaded::read(ruleset.file(), &broker.environment).and_then(|loaded| {
            needed = others + needed_by(ruleset, &loaded.policy);
            spare_descriptors(needed)?;
            Ok(loaded)
        });
        match loaded {
            Ok(loaded) => ruleset.replace(loaded),
            Err(error) => {
                needed = others + needed_by(ruleset, &ruleset.policy());
                ruleset.keep(&error);
            }
        }
    }
    want_records(&broker.rulesets);
}

/// The descriptors of a socket when every call that its rules allow runs.
pub(super) fn needed_descriptors(policy: &Policy) -> usize {
    let each = CALL_FDS_MAX + if policy.relays() { RELAY_FDS_MAX } else { 0 };
    let calls = usize::try_from(policy.max_calls()).unwrap_or(usize::MAX);
    let kinds = match policy.scope() {
        ScopeMode::Off => 0,
        ScopeMode::Require | ScopeMode::Delegate => 1,
        // A burst of calls may find scopes first and groups of the broker's own later, and the other way round.
        ScopeMode::Auto => 2,
    };
    let parked = kinds * SCOPES_PARKED_MAX * PARKED_FDS_MAX;
    calls.saturating_mul(each) + 1 + RULESET_FDS_MAX + parked
}

/// The descriptors that are left when all sockets have what they need.
pub(super) fn spare_descriptors(needed: usize) -> Result<usize, LoadError> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    let needed = needed.saturating_add(BROKER_FDS_SPARE);
    let spare = usize::try_from(limit).unwrap_or(usize::MAX).checked_sub(needed);
    spare.ok_or(LoadError::Descriptors { limit, needed: needed as u64 })
}
