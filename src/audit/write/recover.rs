//! Ends the calls that an earlier broker left without an end, and records that.

use std::io;

use crate::audit::record::aftermath::{AftermathRecord, Leftovers};
use crate::audit::record::call::CaptureTally;
use crate::audit::record::kind::RecordKind;
use crate::ids::CallId;

use super::leftovers::{UnendedCall, end_all};
use super::live::LiveCalls;
use super::scan::ManifestScan;

/// Ends the processes of calls that an earlier broker began, and has `write` record each call: first calls
/// that did not end, then ended calls whose captures went on, then ended calls whose processes ran on. The
/// calls in `own` are this broker's, and are left out.
/// Errors: the first error of `write`, at which it stops.
pub(super) fn recover(
    history: &ManifestScan,
    own: &LiveCalls,
    mut write: impl FnMut(&AftermathRecord) -> io::Result<()>,
) -> io::Result<()> {
    let others = |(call, _): &(&CallId, &UnendedCall)| !own.has(**call);
    for (call, leftovers) in end_all(history.unfinished.iter().filter(others)) {
        write(&AftermathRecord::new(RecordKind::Lost, call, leftovers))?;
    }
    for (call, leftovers) in end_all(history.capturing.iter().filter(others)) {
        write(&AftermathRecord::new(RecordKind::Capture, call, leftovers))?;
    }
    for (call, leftovers) in end_all(history.keeping.iter().filter(others)) {
        // Most of these calls have no process left by now.
        if leftovers.ended + leftovers.left > 0 {
            let leftovers = Leftovers { captured: CaptureTally::default(), ..leftovers };
            write(&AftermathRecord::new(RecordKind::Kept, call, leftovers))?;
        }
    }
    Ok(())
}
