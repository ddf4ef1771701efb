//! The calls of which a killed broker may leave something: calls that run, and ended calls of which
//! processes or captures go on. Remembers what a new file of the manifest has to say of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::record::trace::CallTrace;
use crate::ids::CallId;

/// The parts of a call that go on after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveParts {
    /// Its captures.
    pub capturing: bool,
    /// Processes that its rule lets run on.
    pub keeping: bool,
}

impl LiveParts {
    fn is_any(self) -> bool {
        self.capturing || self.keeping
    }
}

/// Calls that are not over.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveCalls {
    /// Calls whose end is still to be written.
    running: BTreeMap<CallId, CallTrace>,
    /// Calls that ended, and the parts of them that go on.
    lasting: BTreeMap<CallId, (LiveParts, CallTrace)>,
    /// How many ended calls there were when they were last looked at.
    looked_at: usize,
}

impl LiveCalls {
    /// Notes that a call is about to run.
    pub(in crate::audit) fn begin(&mut self, call: CallId, trace: CallTrace) {
        self.running.insert(call, trace);
    }

    /// Notes that a call ended, or did not run after all.
    pub(in crate::audit) fn end(&mut self, call: CallId, goes_on: LiveParts) {
        let Some(trace) = self.running.remove(&call).filter(|_| goes_on.is_any()) else { return };
        self.lasting.insert(call, (goes_on, trace));
        // Processes that a call left end without notice. To look for them at the end of each call would cost
        // the more the more calls there are, so it is done when their number has doubled.
        if self.lasting.len() > 2 * self.looked_at {
            self.lasting.retain(|_, (goes_on, trace)| goes_on.capturing || trace.is_left());
            self.looked_at = self.lasting.len();
        }
    }

    /// Notes that the captures of an ended call are closed.
    pub(super) fn close_captures(&mut self, call: CallId) {
        if let Some((goes_on, _)) = self.lasting.get_mut(&call) {
            goes_on.capturing = false;
        }
    }

    /// Whether the call runs, or a part of it goes on.
    pub(in crate::audit) fn has(&self, call: CallId) -> bool {
        self.running.contains_key(&call) || self.lasting.contains_key(&call)
    }

    /// How many calls run.
    pub(super) fn count_running(&self) -> usize {
        self.running.len()
    }

    /// The calls that run.
    pub(in crate::audit) fn running(&self) -> BTreeSet<CallId> {
        self.running.keys().copied().collect()
    }

    /// The calls of which the next broker could find something, with the parts that go on and the way to
    /// find them.
    pub(super) fn traces(&self) -> impl Iterator<Item = (CallId, LiveParts, &CallTrace)> {
        let running = self.running.iter().filter(|(_, trace)| **trace != CallTrace::default());
        let running = running.map(|(call, trace)| (*call, LiveParts::default(), trace));
        let lasting = self.lasting.iter().map(|(call, (goes_on, trace))| {
            // Captures may be closed by now, while processes go on, or the other way round.
            (*call, LiveParts { keeping: goes_on.keeping && trace.is_left(), ..*goes_on }, trace)
        });
        running.chain(lasting.filter(|(_, goes_on, _)| goes_on.is_any()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const KEPT: LiveParts = LiveParts { capturing: false, keeping: true };

    fn captured(path: &str) -> CallTrace {
        CallTrace { stdout: Some(PathBuf::from(path)), ..CallTrace::default() }
    }

    fn check(calls: &LiveCalls, want: &[(u64, LiveParts)]) {
        let traces: Vec<_> = calls.traces().map(|(call, goes_on, _)| (call.get(), goes_on)).collect();
        assert_eq!(traces, want);
    }

    #[test]
    fn a_call_leaves_a_trace_until_nothing_of_it_goes_on() {
        let mut calls = LiveCalls::default();
        let both = LiveParts { capturing: true, keeping: true };
        let captures = LiveParts { capturing: true, keeping: false };
        calls.begin(CallId::new(1), captured("/a"));
        calls.begin(CallId::new(2), CallTrace::default());
        check(&calls, &[(1, LiveParts::default())]);
        calls.end(CallId::new(1), both);
        // The call has no scope in which processes could be found.
        check(&calls, &[(1, captures)]);
        assert!(calls.has(CallId::new(1)) && calls.running().len() == 1);
        calls.close_captures(CallId::new(1));
        check(&calls, &[]);
        calls.end(CallId::new(2), LiveParts::default());
        assert!(!calls.has(CallId::new(2)));
    }

    #[test]
    fn what_calls_kept_is_forgotten_when_it_has_ended() {
        let mut calls = LiveCalls::default();
        let gone =
            CallTrace { cgroup: Some("/no/such/group".into()), cgroup_id: Some(7), ..CallTrace::default() };
        for call in 1..=1000 {
            calls.begin(CallId::new(call), gone.clone());
            calls.end(CallId::new(call), KEPT);
            assert!(calls.lasting.len() <= 1, "{} are held", calls.lasting.len());
        }
    }
}
