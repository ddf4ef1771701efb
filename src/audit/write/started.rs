//! The order of a call's records as a type: a [`StartedCall`] is on record, and must be finished.

use std::io;
use std::time::Instant;

use nix::errno::Errno;

use crate::audit::record::aftermath::AftermathRecord;
use crate::audit::record::call::{CallOutcome, CallStart, CapturedBytes, ExitRecord, StartRecord};
use crate::ids::CallId;
use crate::sys;

use super::live::LiveParts;
use super::manifest::{BegunStart, Manifest};

/// A call whose start is on record (unless its log policy keeps it out). Dropping one records that its end
/// was not seen.
#[derive(Debug)]
pub struct StartedCall<'m> {
    manifest: &'m Manifest,
    call: CallId,
    since: Instant,
    is_recorded: bool,
    finished: bool,
}

impl<'m> StartedCall<'m> {
    /// Writes the start, under the number that the call has, or the next. Before this nothing has changed;
    /// after it something may run. The second value is why the record could not be written, for the caller to
    /// judge by `audit =`.
    pub fn new(
        manifest: &'m Manifest,
        call: Option<CallId>,
        opening: &CallStart<'_>,
    ) -> (Self, io::Result<()>) {
        let begun = manifest
            .begin(call, opening.trace(), |call| (!opening.hidden).then(|| StartRecord::new(call, opening)));
        let BegunStart { call, is_recorded, written } = begun;
        (Self { manifest, call, since: Instant::now(), is_recorded, finished: false }, written)
    }

    /// Writes the start that could not be written, to the manifest as it is now.
    pub fn write_again(&self, opening: &CallStart<'_>) -> io::Result<()> {
        if opening.hidden || self.is_recorded {
            return Ok(());
        }
        self.manifest.begin_again(self.call, opening.trace(), &StartRecord::new(self.call, opening))
    }

    /// The call's number.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// Writes the end to the manifest. The journal hears of it by [`Manifest::tell`], or ahead of the next
    /// entry.
    pub fn finish(mut self, outcome: &CallOutcome, opening: &CallStart<'_>) -> io::Result<()> {
        self.finished = true;
        let ending = ExitRecord::new(self.call, self.since.elapsed(), outcome, opening);
        self.manifest.end(self.call, outcome.goes_on(), &ending)
    }

    /// Writes that the captures of an ended call are closed.
    pub fn close_captures(manifest: &Manifest, call: CallId, captured: &CapturedBytes) -> io::Result<()> {
        manifest.close_captures(call, captured)
    }

    /// Takes the call back: for `source`, its start does not count, so it does not run.
    pub fn withdraw(mut self, opening: &CallStart<'_>, source: &io::Error) {
        if self.is_recorded {
            let errno = Errno::from_raw(sys::errno_of(source));
            let manifest = self.manifest;
            // The next line, or this one, says what the disk does.
            self.finish(&CallOutcome::NotDurable { errno }, opening).ok();
            return manifest.tell();
        }
        self.finished = true;
        self.manifest.forget(self.call);
    }
}

impl Drop for StartedCall<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // The thread is unwinding: there is nobody left to tell of a failure.
            self.manifest.end(self.call, LiveParts::default(), &AftermathRecord::failed(self.call)).ok();
            self.manifest.tell();
        }
    }
}
