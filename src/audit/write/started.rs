//! A type for the order of a call's records: a [`StartedCall`] has its start on record, and must be
//! finished.

use std::io;
use std::time::Instant;

use nix::errno::Errno;

use crate::audit::record::aftermath::AftermathRecord;
use crate::audit::record::call::{CallOutcome, CallStart, CapturedBytes, ExitRecord, StartRecord};
use crate::ids::CallId;
use crate::sys;

use super::live::LiveParts;
use super::manifest::{BegunStart, Manifest};

/// A call whose start is on record (unless its log policy keeps it out). Dropping it records that the call's
/// end was not seen.
#[derive(Debug)]
pub struct StartedCall<'m> {
    manifest: &'m Manifest,
    call: CallId,
    since: Instant,
    is_recorded: bool,
    finished: bool,
}

impl<'m> StartedCall<'m> {
    /// Writes the start under the call's number, or under the next one. Before this nothing has changed;
    /// after it the command may run. The second value is the result of writing the record, for the caller to
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

    /// Writes the start that could not be written before, to the manifest as it is now.
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

    /// Writes the end to the manifest. The journal gets it by [`Manifest::tell`], or ahead of the next
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

    /// Takes the call back: because of the error `source` its start does not count, so the call does not
    /// run.
    pub fn withdraw(mut self, opening: &CallStart<'_>, source: &io::Error) {
        if self.is_recorded {
            let errno = Errno::from_raw(sys::errno_of(source));
            let manifest = self.manifest;
            // An error is dropped: where this line cannot be written, the next one fails too, and is
            // reported.
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
            // The thread is unwinding, and no caller is left to be told of an error.
            self.manifest.end(self.call, LiveParts::default(), &AftermathRecord::failed(self.call)).ok();
            self.manifest.tell();
        }
    }
}
