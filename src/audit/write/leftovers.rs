//! Ends what a killed broker left of its calls, as their start records tell: processes in scopes, bytes in
//! captures. A scope is found by the path of its cgroup, and ended only if the cgroup has the recorded
//! number, which no other cgroup has before the host boots again: a cgroup that was made at that path since
//! is left alone.

use std::fs::{Metadata, symlink_metadata};
use std::path::PathBuf;
use std::time::Instant;

use crate::audit::read::RecordFacts;
use crate::audit::record::aftermath::{Leftovers, LossReason};
use crate::audit::record::call::{CaptureTally, CapturedBytes};
use crate::audit::record::trace::CallTrace;
use crate::cgroup::Cgroup;
use crate::ids::CallId;
use crate::limits::{KILL_GRACE, REQUEST_FDS};

/// A call that was begun and not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::audit) struct UnendedCall {
    /// Its start record, or the `carried` that stands for it in a later file; empty where there is neither.
    pub(in crate::audit) line: Vec<u8>,
    /// Whether the host was booted since.
    pub(super) is_of_other_boot: bool,
}

impl UnendedCall {
    /// Whether processes of the call run, as far as can be found out.
    pub(super) fn is_left(&self) -> bool {
        self.trace().is_left()
    }

    fn trace(&self) -> CallTrace {
        CallTrace::of(&RecordFacts::of(&self.line))
    }
}

/// The captures and processes that an earlier broker left of a call.
#[derive(Debug)]
struct CallLeftovers {
    captures: [Option<PathBuf>; REQUEST_FDS],
    cgroup: Option<Cgroup>,
    found: usize,
}

/// Ends what is left of these calls, of all at once, and gives for each call what was found and ended.
pub(super) fn end_all<'b>(
    calls: impl Iterator<Item = (&'b CallId, &'b UnendedCall)>,
) -> Vec<(CallId, Leftovers)> {
    let leftovers: Vec<_> = calls.map(|(call, begun)| (*call, begun, CallLeftovers::kill(begun))).collect();
    let until = Instant::now() + KILL_GRACE;
    let settled = leftovers.iter().map(|(call, begun, leftover)| {
        let reason = Some(if begun.is_of_other_boot { LossReason::Host } else { LossReason::Killed });
        let (ended, left) = leftover.settle(until);
        let captured =
            CaptureTally::new(&CapturedBytes { bytes: leftover.bytes(), ..CapturedBytes::default() });
        (*call, Leftovers { reason, captured, ended, left })
    });
    settled.collect()
}

impl CallLeftovers {
    /// Kills what is left of a call.
    fn kill(begun: &UnendedCall) -> Self {
        let trace = begun.trace();
        // This broker may have been started by the call's own command: then it is in the call's cgroup.
        let cgroup = trace.find().filter(|cgroup| !begun.is_of_other_boot && !cgroup.holds_us());
        let found = cgroup.as_ref().map_or(0, count);
        if let Some(cgroup) = cgroup.as_ref().filter(|_| found > 0) {
            // Processes that this does not end are counted.
            cgroup.kill().ok();
        }
        Self { captures: [trace.stdin, trace.stdout, trace.stderr], cgroup, found }
    }

    /// Waits until the killed processes are gone. Gives how many were ended, and how many were not.
    fn settle(&self, until: Instant) -> (usize, usize) {
        let left = self.cgroup.as_ref().filter(|_| self.found > 0).map_or(0, |cgroup| {
            let is_empty = cgroup.wait_empty(until).unwrap_or(false);
            if is_empty { 0 } else { count(cgroup) }
        });
        (self.found.saturating_sub(left), left)
    }

    /// The bytes in the captures.
    fn bytes(&self) -> [Option<u64>; REQUEST_FDS] {
        let file = |path: &PathBuf| symlink_metadata(path).ok().filter(Metadata::is_file);
        self.captures.each_ref().map(|path| path.as_ref().and_then(file).map(|file| file.len()))
    }
}

fn count(cgroup: &Cgroup) -> usize {
    cgroup.processes().map_or(0, |processes| processes.len())
}
