//! Sends records to the journal, besides the manifest, as far as the rules want that. A journal that does
//! not take entries is reported once, and once more when it takes entries again.

use std::fmt;
use std::io;
use std::sync::MutexGuard;
use std::time::Instant;

use crate::limits::JOURNAL_REST;
use crate::rules::JournalMode;
use crate::sd::{JOURNAL_SOCKET, JournalEntry, JournalSocket};
use crate::sys::Locked;

/// A change in whether the journal takes entries.
#[derive(Debug)]
pub enum JournalNews<'a> {
    /// The journal does not take entries any more, or never did.
    Lost(&'a io::Error),
    /// The journal takes entries again.
    Back,
}

/// A function that is called on such a change.
pub type NewsListener = Box<dyn Fn(&JournalNews<'_>) + Send>;

/// The journal of one manifest.
pub struct JournalSink(Locked<SinkState>);

struct SinkState {
    wanted: JournalMode,
    socket: JournalSocket,
    lost: Option<JournalOutage>,
    /// Entries that are sent when the waiting caller has its answer.
    untold: Vec<JournalEntry>,
    hear: NewsListener,
}

/// Why the journal takes no entries. Until it takes them again, no entry waits for room.
#[derive(Clone, Copy)]
enum JournalOutage {
    /// No process listens at its socket.
    Gone,
    /// Its queue had no room, last at this time. A journal that hangs takes an entry now and then. So that
    /// not all calls of the manifest wait for it again each time, it counts as back only when it has taken
    /// every entry for [`JOURNAL_REST`].
    Full(Instant),
}

impl fmt::Debug for JournalSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

impl JournalSink {
    /// A sink for the entries that `journal =` asks for.
    pub fn new(wanted: JournalMode, hear: NewsListener) -> io::Result<Self> {
        Ok(Self(Locked::new(SinkState {
            wanted,
            socket: JournalSocket::new()?,
            lost: None,
            untold: Vec::new(),
            hear,
        })))
    }

    /// Sets the value of `journal =` from now on.
    pub(in crate::audit) fn want(&self, wanted: JournalMode) {
        self.state().wanted = wanted;
    }

    /// Makes `journal =` at least as strict as this from now on.
    pub(super) fn want_at_least(&self, wanted: JournalMode) {
        let mut state = self.state();
        state.wanted = state.wanted.max(wanted);
    }

    /// Sends an entry, if `journal =` asks for one. Errors: the journal is required and does not take the
    /// entry; then no call may run.
    pub(super) fn enter(&self, entry: impl FnOnce() -> JournalEntry) -> io::Result<()> {
        let mut state = self.state();
        if state.wanted == JournalMode::Off {
            return Ok(());
        }
        state.tell();
        state.send(&entry())
    }

    /// Keeps an entry, if `journal =` asks for one: it is sent by [`Self::tell`], or ahead of the next
    /// entry.
    pub(in crate::audit) fn keep(&self, entry: impl FnOnce() -> JournalEntry) {
        let mut state = self.state();
        if state.wanted != JournalMode::Off {
            state.untold.push(entry());
        }
    }

    /// Sends the entries that were kept.
    pub(in crate::audit) fn tell(&self) {
        self.state().tell();
    }

    /// Tries the journal without an entry: a call without a start record needs the journal for its end.
    pub(super) fn probe(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.wanted != JournalMode::Require {
            return Ok(());
        }
        let sent = state.socket.probe();
        state.judge(sent)
    }

    fn state(&self) -> MutexGuard<'_, SinkState> {
        self.0.lock()
    }
}

impl SinkState {
    fn tell(&mut self) {
        for entry in std::mem::take(&mut self.untold) {
            // The change is reported once, not with each entry that the journal does not take.
            self.send(&entry).ok();
        }
    }

    fn send(&mut self, entry: &JournalEntry) -> io::Result<()> {
        // Only the first entry that finds no room waits for it; while the journal is lost, none does.
        let sent = self.socket.send(entry, self.lost.is_some());
        self.judge(sent)
    }

    fn judge(&mut self, sent: io::Result<()>) -> io::Result<()> {
        let Err(source) = sent else {
            let is_back = match self.lost {
                None => false,
                Some(JournalOutage::Gone) => true,
                Some(JournalOutage::Full(last)) => last.elapsed() >= JOURNAL_REST,
            };
            if is_back {
                self.lost = None;
                (self.hear)(&JournalNews::Back);
            }
            return Ok(());
        };
        let is_full = source.kind() == io::ErrorKind::WouldBlock;
        let lost = if is_full { JournalOutage::Full(Instant::now()) } else { JournalOutage::Gone };
        if self.lost.replace(lost).is_none() {
            (self.hear)(&JournalNews::Lost(&source));
        }
        if self.wanted == JournalMode::Require {
            return Err(io::Error::new(source.kind(), format!("the journal ({JOURNAL_SOCKET}): {source}")));
        }
        Ok(())
    }
}
