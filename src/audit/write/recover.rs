//! What a broker does about calls that are not in its file from start to end: those that one before it left without an
//! end, and its own when a new file is begun.

use std::io;

use crate::audit::record::aftermath::{CaptureRecord, CarriedRecord, KeptRecord, LostRecord};
use crate::ids::CallId;

use super::file::ManifestFile;
use super::leftovers::{UnendedCall, end_all};
use super::scan::ManifestScan;

impl ManifestFile {
    /// Ends what is left of the calls that an earlier broker began here, and puts it on record: of calls that did not end,
    /// of those whose captures went on, and of those that had left something running.
    pub(super) fn recover(&mut self, history: &ManifestScan) -> io::Result<()> {
        let own = self.calls.clone();
        let others = |(call, _): &(&CallId, &UnendedCall)| !own.has(**call);
        let lost = end_all(history.unfinished.iter().filter(others));
        lost.into_iter().try_for_each(|remains| self.write(&LostRecord::new(remains)))?;
        let cut = end_all(history.capturing.iter().filter(others));
        cut.into_iter().try_for_each(|remains| self.write(&CaptureRecord::lost(remains)))?;
        let kept = end_all(history.keeping.iter().filter(others));
        // Most of it has ended by itself.
        let kept = kept.into_iter().filter(|remains| remains.ended + remains.left > 0);
        kept.map(KeptRecord::new).try_for_each(|kept| self.write(&kept))
    }

    /// Says in this file what a broker after this one needs of the calls that began in another.
    pub(super) fn carry(&mut self) -> io::Result<()> {
        let traces = self.calls.traces();
        let carried: Vec<_> =
            traces.map(|(call, goes_on, trace)| CarriedRecord::new(call, goes_on, trace.clone())).collect();
        carried.iter().try_for_each(|carried| self.write(carried))
    }
}
