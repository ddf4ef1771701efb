//! The manifest: what is recorded when, under numbers that never repeat. One lock orders all of it; `book.rs` is how a
//! record gets to disk and to the journal.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::fcntl::{Flock, FlockArg};

use crate::ids::CallId;
use crate::rules::Journal;

use super::book::Book;
use super::entry::Record;
use super::fold::Heard;
use super::history::read_history;
use super::record::{Close, Reload, now_ms};
use super::rejected::{Reject, Rejected};
use super::sink::Sink;
use super::trust::{Distrust, Trusted};

/// The manifest of one broker.
#[derive(Debug)]
pub struct Manifest(Mutex<Book>);

/// Why a manifest cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Somebody else could replace it.
    Distrust(Distrust),
    /// Another broker writes it.
    Locked(PathBuf),
    /// A system call failed.
    Io {
        /// The manifest.
        path: PathBuf,
        /// What the call gave.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distrust(distrust) => write!(f, "cannot keep the manifest: {distrust}"),
            Self::Locked(path) => write!(
                f,
                "another broker writes {}; give this one another `logfile`, or stop that one",
                path.display()
            ),
            Self::Io { path, source } => write!(f, "cannot open the manifest {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl Manifest {
    /// Opens or makes the manifest at `path`, mode 0600, below directories that only root or this user can write, and
    /// goes on after what it holds. The first record says so.
    pub fn open(path: &Path, rules: &str, policy: &str, sink: Sink) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let mut file = lock(path)?;
        let history = read_history(&mut *file).map_err(io)?;
        let mut book = Book::after(path, file, &history, Arc::new(sink)).map_err(io)?;
        book.begin(rules, policy, &history).map_err(io)?;
        Ok(Self(Mutex::new(book)))
    }

    /// Has records go to the journal as `journal =` says.
    pub fn want_journal(&self, wanted: Journal) {
        self.book().sink.want(wanted);
    }

    /// Where the manifest is.
    pub fn path(&self) -> PathBuf {
        self.book().path.clone()
    }

    /// Goes on at `path`: the file was moved away, or the rules name another. The numbers and the chain go on too.
    pub fn reopen(&self, path: &Path, rules: &str, policy: &str) -> Result<(), OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let mut book = self.book();
        if book.is_at(path) {
            return book.settle_length().map_err(io);
        }
        let mut file = lock(path)?;
        let history = read_history(&mut *file).map_err(io)?;
        let mut fresh = Book::after(path, file, &history, book.sink.clone()).map_err(io)?;
        fresh.next = fresh.next.max(book.next);
        if history.torn == 0 && fresh.bytes == 0 {
            fresh.prev.clone_from(&book.prev);
        }
        fresh.begin(rules, policy, &history).map_err(io)?;
        std::mem::swap(&mut fresh.fold, &mut book.fold);
        *book = fresh;
        Ok(())
    }

    /// Records that the rules were read again, and with what outcome.
    pub fn reloaded(&self, policy: &str, error: Option<&str>) -> io::Result<()> {
        let reload = Reload { kind: "reload", ts: now_ms(), ok: error.is_none(), policy, error };
        self.book().write(&reload)
    }

    /// Records a refusal under a number of its own. Of many equal ones within a second, most are only counted:
    /// [`Self::settle`] writes the count when [`Self::next_due`] says so.
    pub fn reject(&self, rejected: &Rejected) -> io::Result<()> {
        let mut book = self.book();
        let call = book.number();
        if book.fold.hear(call, rejected, Instant::now()) == Heard::First {
            book.write(&Reject::one(call, rejected))?;
        }
        book.settle(Instant::now())
    }

    /// Writes the counts of refusals whose time has come.
    pub fn settle(&self) -> io::Result<()> {
        self.book().settle(Instant::now())
    }

    /// When there is a count to write.
    pub fn next_due(&self) -> Option<Instant> {
        self.book().fold.next_due()
    }

    /// Records that the broker leaves.
    pub fn close(&self) -> io::Result<()> {
        let mut book = self.book();
        for (rejected, repeats) in book.fold.take_all() {
            book.write(&Reject::many(repeats.first, repeats.last, repeats.count, &rejected))?;
        }
        let next = book.next;
        book.write(&Close { kind: "close", ts: now_ms(), next })
    }

    /// Takes the next number and writes the start record that `record` makes of it, as one step.
    pub(super) fn write_numbered<R: Record>(
        &self,
        record: impl FnOnce(CallId) -> Option<R>,
    ) -> (CallId, io::Result<()>) {
        let mut book = self.book();
        let call = book.number();
        let written = book.check_place().and_then(|()| match record(call) {
            Some(record) => book.write_start(&record),
            None => book.sink.probe(),
        });
        (call, written)
    }

    /// Writes one record; one that is kept in the manifest whatever the journal does.
    pub(super) fn write(&self, record: &impl Record) -> io::Result<()> {
        self.book().write(record)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A thread that panicked while it held the lock left at worst a number unused.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the file at `path` to append, for this broker alone.
fn lock(path: &Path) -> Result<Flock<File>, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let file =
        Trusted::parent_of(path, true).and_then(|parent| parent.append()).map_err(OpenError::Distrust)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(file),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(OpenError::Locked(path.to_owned())),
        Err((_, errno)) => Err(io(errno.into())),
    }
}
