//! The journal's entry of the last call's end, which is sent a moment after the answer: sent at once, it
//! would wake journald, which would hold up the caller. It is sent when a thread has had nothing to do for a
//! moment, ahead of the next entry of the same manifest, or when a call of another manifest begins or ends.

use std::mem;
use std::sync::{Arc, MutexGuard};

use super::ruleset::Ruleset;

use crate::sys::Locked;

/// The ruleset of the last call that ended, while the journal may not have the entry of its end.
#[derive(Debug, Default)]
pub(super) struct DeferredEntry(Locked<Option<Arc<Ruleset>>>);

impl DeferredEntry {
    /// Notes that a call by these rules has ended.
    pub(super) fn note(&self, rules: &Arc<Ruleset>) {
        let last = self.last().replace(rules.clone());
        tell(last.filter(|last| is_other(last, rules)));
    }

    /// Sends the entry now where it is of another manifest; the next entry of this manifest sends it first in
    /// any case.
    pub(super) fn turn_to(&self, rules: &Arc<Ruleset>) {
        let other = self.last().take_if(|last| is_other(last, rules));
        tell(other);
    }

    /// Sends the entry now.
    pub(super) fn tell(&self) {
        let last = mem::take(&mut *self.last());
        tell(last);
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<Ruleset>>> {
        self.0.lock()
    }
}

fn is_other(last: &Ruleset, rules: &Ruleset) -> bool {
    !Arc::ptr_eq(last.manifest(), rules.manifest())
}

fn tell(rules: Option<Arc<Ruleset>>) {
    if let Some(rules) = rules {
        rules.manifest().tell();
    }
}
