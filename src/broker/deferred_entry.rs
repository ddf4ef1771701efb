//! What the journal has not heard of yet: the end of the last call. Whoever was answered goes first, and journald, woken
//! in the same instant, would stand in front of it. It hears of the end when a thread has had nothing to do for a
//! moment, ahead of the next entry of the same manifest, or when calls of another one come or go.

use std::mem;
use std::sync::{Arc, MutexGuard};

use super::ruleset::Ruleset;

use crate::sys::Locked;

/// The rules by which a call ended of which the journal has not heard, as far as the broker knows.
#[derive(Debug, Default)]
pub(super) struct DeferredEntry(Locked<Option<Arc<Ruleset>>>);

impl DeferredEntry {
    /// A call by these rules has ended.
    pub(super) fn note(&self, rules: &Arc<Ruleset>) {
        let last = self.last().replace(rules.clone());
        tell(last.filter(|last| is_other(last, rules)));
    }

    /// The journal hears now of an end by other rules than these, whose next entry says it first in any case.
    pub(super) fn turn_to(&self, rules: &Arc<Ruleset>) {
        let other = self.last().take_if(|last| is_other(last, rules));
        tell(other);
    }

    /// The journal hears of it now.
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
