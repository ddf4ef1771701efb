//! Where records go beside the manifest: the journal, as far as the rules want it there. What it does not
//! take is said once, and once more when it takes entries again.

use std::fmt;
use std::io;
use std::sync::MutexGuard;
use std::time::Instant;

use crate::limits::JOURNAL_REST;
use crate::rules::JournalMode;
use crate::sd::{JOURNAL_SOCKET, JournalEntry, JournalSocket};
use crate::sys::Locked;

/// A change of what the journal takes.
#[derive(Debug)]
pub enum JournalNews<'a> {
    /// The journal does not take entries any more, or never did.
    Lost(&'a io::Error),
    /// The journal takes entries again.
    Back,
}

/// A function that is told of such a change.
pub type NewsListener = Box<dyn Fn(&JournalNews<'_>) + Send>;

/// The journal of one manifest.
pub struct JournalSink(Locked<SinkState>);

struct SinkState {
    wanted: JournalMode,
    socket: JournalSocket,
    lost: Option<JournalOutage>,
    /// Entries that are handed over when the caller that waits for an answer has it.
    untold: Vec<JournalEntry>,
    hear: NewsListener,
}

/// A journal that takes no entries. Nothing is waited for until it takes them again.
#[derive(Clone, Copy)]
enum JournalOutage {
    /// Nobody listens.
    Gone,
    /// Its queue had no room, last at this time. A journal that hangs takes an entry now and then; for that
    /// it is not waited for again, by all who use the manifest, before it has taken everything for
    /// [`JOURNAL_REST`].
    Full(Instant),
}

impl fmt::Debug for JournalSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

impl JournalSink {
    /// A sink that gets what `journal =` says.
    pub fn new(wanted: JournalMode, hear: NewsListener) -> io::Result<Self> {
        Ok(Self(Locked::new(SinkState {
            wanted,
            socket: JournalSocket::new()?,
            lost: None,
            untold: Vec::new(),
            hear,
        })))
    }

    /// From now on, `journal =` says this.
    pub(in crate::audit) fn want(&self, wanted: JournalMode) {
        self.state().wanted = wanted;
    }

    /// From now on, it says this or something stricter.
    pub(super) fn want_at_least(&self, wanted: JournalMode) {
        let mut state = self.state();
        state.wanted = state.wanted.max(wanted);
    }

    /// Hands over an entry, if one is wanted. An error is one that must keep a call from running.
    pub(super) fn enter(&self, entry: impl FnOnce() -> JournalEntry) -> io::Result<()> {
        let mut state = self.state();
        if state.wanted == JournalMode::Off {
            return Ok(());
        }
        state.tell();
        state.send(&entry())
    }

    /// Keeps an entry, if one is wanted: it is handed over by [`Self::tell`], or ahead of the next one.
    pub(in crate::audit) fn keep(&self, entry: impl FnOnce() -> JournalEntry) {
        let mut state = self.state();
        if state.wanted != JournalMode::Off {
            state.untold.push(entry());
        }
    }

    /// Hands over what was kept.
    pub(in crate::audit) fn tell(&self) {
        self.state().tell();
    }

    /// Tries the journal without an entry: a call that leaves no start record needs it for its end.
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
            // It is said once what the journal does not take.
            self.send(&entry).ok();
        }
    }

    fn send(&mut self, entry: &JournalEntry) -> io::Result<()> {
        // The bound on waiting is paid once, not with every record.
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
