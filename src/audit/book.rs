//! One open manifest file: the chain, the numbers, and what is written where. A line goes to disk first and to the
//! journal next; what could not be written whole is cut off again.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nix::fcntl::Flock;
use nix::sys::stat::fstat;

use crate::ids::CallId;

use super::ascii::to_ascii;
use super::chain::{LineHash, hash_line};
use super::entry::Record;
use super::fold::Fold;
use super::history::History;
use super::record::{Open, now_ms};
use super::rejected::Reject;
use super::sink::Sink;

/// A manifest that is open. What is done with it is ordered by the manifest's lock.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) path: PathBuf,
    file: Flock<File>,
    pub(super) bytes: u64,
    /// The file may end in part of a line that could not be written.
    torn: bool,
    pub(super) prev: LineHash,
    pub(super) next: CallId,
    pub(super) fold: Fold,
    pub(super) sink: Arc<Sink>,
}

impl Book {
    /// Goes on after what the file holds.
    pub(super) fn after(
        path: &Path,
        mut file: Flock<File>,
        history: &History,
        sink: Arc<Sink>,
    ) -> io::Result<Self> {
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
    pub(super) fn begin(&mut self, rules: &str, policy: &str, history: &History) -> io::Result<()> {
        if history.torn > 0 {
            self.append(b"\n")?;
        }
        let (version, broker) = (env!("CARGO_PKG_VERSION"), std::process::id());
        let (next, torn, at) = (self.next, history.torn, self.bytes);
        self.write(&Open { kind: "open", ts: now_ms(), version, broker, rules, policy, next, torn, at })
    }

    /// Takes the next number.
    pub(super) fn number(&mut self) -> CallId {
        let call = self.next;
        self.next = call.next();
        call
    }

    /// Writes the counts of refusals whose time has come.
    pub(super) fn settle(&mut self, now: Instant) -> io::Result<()> {
        for (rejected, repeats) in self.fold.take_due(now) {
            self.write(&Reject::many(repeats.first, repeats.last, repeats.count, &rejected))?;
        }
        Ok(())
    }

    /// Writes a record to the manifest, and then to the journal. What stands here stays, whatever the journal does.
    pub(super) fn write(&mut self, record: &impl Record) -> io::Result<()> {
        let prev = self.prev.clone();
        self.append_chained(record)?;
        // The sink says it; only a start can still be kept from running.
        self.enter(record, &prev).ok();
        Ok(())
    }

    /// The same for the record before which nothing runs: one that a required journal does not take is taken back.
    pub(super) fn write_start(&mut self, record: &impl Record) -> io::Result<()> {
        let (bytes, prev) = (self.bytes, self.prev.clone());
        self.append_chained(record)?;
        let entered = self.enter(record, &prev);
        if entered.is_err() {
            (self.bytes, self.prev, self.torn) = (bytes, prev, true);
            self.cut_torn()?;
        }
        entered
    }

    fn enter(&self, record: &impl Record, prev: &str) -> io::Result<()> {
        self.sink.enter(|| {
            let mut entry = record.entry();
            entry.add("SLUICE_HASH", &self.prev);
            entry.add("SLUICE_PREV", prev);
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
            // Never longer: somebody else may have cut it since.
            if self.file.metadata()?.len() > self.bytes {
                self.file.set_len(self.bytes)?;
            }
            self.torn = false;
        }
        Ok(())
    }

    /// That the file is where it was and as long as it was left: nobody can read what is written elsewhere.
    pub(super) fn check_place(&mut self) -> io::Result<()> {
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
    pub(super) fn settle_length(&mut self) -> io::Result<()> {
        self.cut_torn()?;
        self.bytes = self.file.seek(SeekFrom::End(0))?;
        Ok(())
    }

    /// Whether the file that is open is the one at `path`.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let (Ok(open), Ok(there)) = (fstat(&*self.file), nix::sys::stat::lstat(path)) else { return false };
        (open.st_dev, open.st_ino) == (there.st_dev, there.st_ino)
    }
}
