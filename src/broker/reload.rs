//! HUP: each rules file is read again, and its manifest is opened again where it was moved away. Calls in flight keep
//! the rules that they started with; a file that does not load changes nothing.

use nix::sys::resource::{Resource, getrlimit};

use crate::limits::{BROKER_FDS_SPARE, CALL_FDS_MAX, PARKED_FDS_MAX, RULESET_FDS_MAX, SCOPES_PARKED_MAX};

use super::notice::LoadError;
use super::ruleset::{Loaded, want_journals};
use super::state::Broker;

/// Reads every rules file again.
pub(super) fn reload(broker: &Broker) {
    for ruleset in broker.rulesets() {
        let others = broker.sockets.iter().filter(|socket| socket.rules.file() != ruleset.file());
        let others: Vec<u32> = others.map(|socket| socket.rules.policy().max_calls()).collect();
        let own = broker.sockets.len() - others.len();
        let loaded = Loaded::read(ruleset.file(), &broker.environment).and_then(|loaded| {
            let calls = std::iter::repeat_n(loaded.policy.max_calls(), own);
            spare_descriptors(others.into_iter().chain(calls))?;
            Ok(loaded)
        });
        match loaded {
            Ok(loaded) => ruleset.replace(loaded),
            Err(error) => ruleset.keep(&error),
        }
    }
    want_journals(&broker.rulesets());
}

/// The descriptors that are left when every call that the rules allow runs; `max_calls` has each socket's.
pub(super) fn spare_descriptors(max_calls: impl IntoIterator<Item = u32>) -> Result<usize, LoadError> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    // A burst of calls may find scopes first and groups of the broker's own later, and the other way round.
    let beside = 1 + RULESET_FDS_MAX + 2 * SCOPES_PARKED_MAX * PARKED_FDS_MAX;
    let of_socket =
        |calls| usize::try_from(calls).unwrap_or(usize::MAX).saturating_mul(CALL_FDS_MAX) + beside;
    let needed = max_calls.into_iter().map(of_socket).sum::<usize>() + BROKER_FDS_SPARE;
    let spare = usize::try_from(limit).unwrap_or(usize::MAX).checked_sub(needed);
    spare.ok_or(LoadError::Descriptors { limit, needed: needed as u64 })
}
