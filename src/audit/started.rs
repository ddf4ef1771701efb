//! The order of a call's records as a type: a [`Started`] is on record, and must be finished.

use std::io;
use std::time::Instant;

use crate::ids::CallId;

use super::manifest::Manifest;
use super::record::{Ending, Lost, Opening, Outcome, Start};

/// A call whose start is on record (unless its log policy keeps it out). Dropping one records that its end was not
/// seen.
#[derive(Debug)]
pub struct Started<'m> {
    manifest: &'m Manifest,
    call: CallId,
    since: Instant,
    finished: bool,
}

impl<'m> Started<'m> {
    /// Writes the start. Before this nothing has changed; after it something may run. The second value is the number
    /// and why the record could not be written, for the caller to judge by `audit =`.
    pub fn new(manifest: &'m Manifest, opening: &Opening<'_>) -> (Self, io::Result<()>) {
        let (call, written) =
            manifest.write_numbered(|call| (!opening.hidden).then(|| Start::new(call, opening)));
        (Self { manifest, call, since: Instant::now(), finished: false }, written)
    }

    /// Writes the start that could not be written, to the manifest as it is now.
    pub fn write_again(&self, opening: &Opening<'_>) -> io::Result<()> {
        if opening.hidden { Ok(()) } else { self.manifest.write(&Start::new(self.call, opening)) }
    }

    /// The call's number.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// Writes the end.
    pub fn finish(mut self, outcome: &Outcome, opening: &Opening<'_>) -> io::Result<()> {
        self.finished = true;
        self.manifest.write(&Ending::new(self.call, self.since.elapsed(), outcome, opening))
    }

    /// Takes the call back: its start could not be written, so it does not run.
    pub fn withdraw(mut self) {
        self.finished = true;
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // The thread is unwinding: there is nobody left to tell of a failure.
            drop(self.manifest.write(&Lost::new(self.call)));
        }
    }
}
