//! The manifest on disk: one line a record, one `write` a line, each line with the hash of the one before it, and the
//! numbers that never repeat. One lock orders all of it.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::ids::CallId;
use crate::rules::Journal;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::fstat;

use super::ascii::to_ascii;
use super::entry::Record;
use super::fold::{Fold, Heard};
use super::history::{History, LineHash, hash_line, read_history};
use super::record::{Close, Open, Reload, now_ms};
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

/// What the lock guards.
#[derive(Debug)]
struct Book {
    path: PathBuf,
    file: Flock<File>,
    bytes: u64,
    /// The file may end in part of a line that could not be written.
    torn: bool,
    prev: LineHash,
    next: CallId,
    fold: Fold,
    sink: Arc<Sink>,
}

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

impl Book {
    fn after(path: &Path, mut file: Flock<File>, history: &History, sink: Arc<Sink>) -> io::Result<Self> {
        let bytes = file.seek(SeekFrom::End(0))?;
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            bytes,
            torn: false,
            prev: history.prev.clone(),
            next: history.next,
            fold: Fold::default(),
            sink,
        })
    }

    /// The first record of this broker. What a crash tore stays, on a line of its own.
    fn begin(&mut self, rules: &str, policy: &str, history: &History) -> io::Result<()> {
        if history.torn > 0 {
            self.append(b"\n")?;
        }
        let (version, broker) = (env!("CARGO_PKG_VERSION"), std::process::id());
        let (next, torn) = (self.next, history.torn);
        self.write(&Open { kind: "open", ts: now_ms(), version, broker, rules, policy, next, torn })
    }

    fn number(&mut self) -> CallId {
        let call = self.next;
        self.next = call.next();
        call
    }

    fn settle(&mut self, now: Instant) -> io::Result<()> {
        for (rejected, repeats) in self.fold.take_due(now) {
            self.write(&Reject::many(repeats.first, repeats.last, repeats.count, &rejected))?;
        }
        Ok(())
    }

    /// Writes a record to the manifest, and then to the journal. What stands here stays, whatever the journal does.
    fn write(&mut self, record: &impl Record) -> io::Result<()> {
        self.append_chained(record)?;
        // The sink says it; only a start can still be kept from running.
        self.enter(record).ok();
        Ok(())
    }

    /// The same for the record before which nothing runs: one that a required journal does not take is taken back.
    fn write_start(&mut self, record: &impl Record) -> io::Result<()> {
        let (bytes, prev) = (self.bytes, self.prev.clone());
        self.append_chained(record)?;
        let entered = self.enter(record);
        if entered.is_err() {
            (self.bytes, self.prev, self.torn) = (bytes, prev, true);
            self.cut_torn()?;
        }
        entered
    }

    fn enter(&self, record: &impl Record) -> io::Result<()> {
        self.sink.enter(|| {
            let mut entry = record.entry();
            entry.add("SLUICE_HASH", &self.prev);
            entry
        })
    }

    /// Adds the chain to a record and appends it as one line.
    fn append_chained(&mut self, record: &impl Record) -> io::Result<()> {
        let mut line = to_ascii(record);
        line.pop();
        line.push_str(",\"prev\":\"");
        line.push_str(&self.prev);
        line.push_str("\"}\n");
        self.append(line.as_bytes())?;
        self.prev = hash_line(&line.as_bytes()[..line.len() - 1]);
        Ok(())
    }

    /// One `write`, all or nothing: what a full disk took of it is cut off again, at once or before the next line.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.cut_torn()?;
        let written = self.file.write(line)?;
        if written < line.len() {
            self.torn = true;
            self.cut_torn()?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn cut_torn(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.bytes)?;
            self.torn = false;
        }
        Ok(())
    }

    /// That the file is where it was and as long as it was left: nobody can read what is written elsewhere.
    fn check_place(&mut self) -> io::Result<()> {
        self.cut_torn()?;
        let bytes = u64::try_from(fstat(&*self.file)?.st_size).unwrap_or(0);
        if self.is_at(&self.path) && bytes == self.bytes {
            return Ok(());
        }
        Err(io::Error::other(
            "the manifest was moved, removed or cut by somebody else; have the broker reload (HUP)",
        ))
    }

    /// Goes on from the file's end as it is now: a reload accepts what was done to it. What the file's own lines prove
    /// of that, they prove by their chain.
    fn settle_length(&mut self) -> io::Result<()> {
        self.bytes = self.file.seek(SeekFrom::End(0))?;
        Ok(())
    }

    /// Whether the file that is open is the one at `path`.
    fn is_at(&self, path: &Path) -> bool {
        let (Ok(open), Ok(there)) = (fstat(&*self.file), nix::sys::stat::lstat(path)) else { return false };
        (open.st_dev, open.st_ino) == (there.st_dev, there.st_ino)
    }
}

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
