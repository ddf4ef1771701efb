//! One open manifest file: its chain, its numbers, and the order in which a record is written. A line goes
//! to disk first and to the journal next; the part of a line that could not be written whole is cut off
//! again. On a full disk, the ends of running calls are written into space that was reserved for them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::Flock;

use crate::audit::chain::{LineHash, chained, no_line};
use crate::audit::record::aftermath::CarriedRecord;
use crate::audit::record::ascii::to_ascii;
use crate::audit::record::call::now_ms;
use crate::audit::record::journal_entry::Record;
use crate::audit::record::kind::RecordKind;
use crate::audit::record::lifecycle::{CloseRecord, OpenRecord, RecordAuthor, boot_id};
use crate::audit::record::listing::ListingCounts;
use crate::audit::record::trace::CallTrace;
use crate::ids::CallId;
use crate::limits::{CALL_NUMBER_MAX, END_ROOM_BYTES};
use crate::sd::JournalEntry;
use crate::sys;

use super::backlog::{EndBacklog, UnwrittenEnd};
use super::dedup::RefusalDedup;
use super::journal_sink::JournalSink;
use super::leftovers::UnendedCall;
use super::live::{LiveCalls, LiveParts};
use super::lock::{self, ManifestOpenError};
use super::mark::{ManifestMark, WrittenPoint};
use super::recover::recover;
use super::reserve::{ReservedSpace, SpaceSource};
use super::scan::{ManifestScan, look_back};

/// A manifest that is open. The manifest's lock orders all that is done with it.
#[derive(Debug)]
pub(super) struct ManifestFile {
    pub(in crate::audit) path: PathBuf,
    pub(in crate::audit) file: Arc<Flock<File>>,
    pub(in crate::audit) mark: Arc<ManifestMark>,
    pub(in crate::audit) bytes: u64,
    /// The file may end in part of a line that could not be written whole.
    torn: bool,
    /// This broker's `close` is in the file: no line comes after it.
    is_closed: bool,
    room: ReservedSpace,
    /// The `prev` of the next line.
    prev: LineHash,
    /// The `prev` of the last line.
    before: LineHash,
    next: CallId,
    /// Lines that were written so far, to this file and those before it.
    pub(in crate::audit) lines: u64,
    /// Calls that are not over.
    pub(in crate::audit) calls: LiveCalls,
    /// Ends that could not be written when they came: they are written before the next line.
    backlog: EndBacklog,
    pub(super) fold: RefusalDedup,
    pub(in crate::audit) lists: ListingCounts,
    pub(super) sink: Arc<JournalSink>,
}

/// An open manifest, and its contents as the broker found them.
type OpenedManifest = (ManifestFile, ManifestScan);

impl ManifestFile {
    /// Opens or makes the manifest at `path`, and goes on after its last record. Writes an `open` as its
    /// first record.
    pub(in crate::audit) fn open(
        path: &Path,
        author: &RecordAuthor<'_>,
        sink: Arc<JournalSink>,
    ) -> Result<Self, ManifestOpenError> {
        let io = ManifestOpenError::at(path);
        let (mark, noted) = ManifestMark::open(path)?;
        let (mut file, history) = Self::at(path, Arc::new(mark), &noted.prev, sink)?;
        file.next = history.next.max(noted.next);
        file.check_number()?;
        file.begin(author, &history, &noted.prev).map_err(io)?;
        file.recover(&history).map_err(io)?;
        Ok(file)
    }

    /// Goes on in another file, at `path`: this file was moved away, or the rules name another one. Numbers,
    /// chain and running calls go on there, and the last line here is a `close`.
    pub(super) fn move_to(
        &mut self,
        path: &Path,
        author: &RecordAuthor<'_>,
    ) -> Result<(), ManifestOpenError> {
        let io = ManifestOpenError::at(path);
        let is_ours = self.mark.is_of(path);
        let (mark, noted) = if is_ours { (self.mark.clone(), self.point()) } else { Self::mark(path)? };
        let (mut fresh, history) = Self::at(path, mark, &noted.prev, self.sink.clone())?;
        let close = self.closing();
        let (line, left) = chained(&to_ascii(&close), &self.prev);
        fresh.next = self.next.max(history.next).max(noted.next);
        fresh.check_number()?;
        (fresh.lines, fresh.calls) = (self.lines, self.calls.clone());
        std::mem::swap(&mut fresh.backlog, &mut self.backlog);
        let noted = if is_ours || history.last.is_none() { left.clone() } else { noted.prev };
        let begun = fresh.begin(author, &history, &noted);
        let begun = begun.and_then(|()| fresh.carry()).and_then(|()| fresh.recover(&history));
        if begun.is_err() {
            // This file stays in use, and so do its ends that are still to be written.
            std::mem::swap(&mut fresh.backlog, &mut self.backlog);
            std::mem::swap(&mut fresh.calls, &mut self.calls);
        }
        begun.map_err(io)?;
        // The `close` is written last, so that at every moment a file tells of the running calls.
        let closed = self.append(line.as_bytes(), SpaceSource::Kept);
        self.before = std::mem::replace(&mut self.prev, left);
        self.enter(&close, &closed).ok();
        self.give_back();
        std::mem::swap(&mut fresh.fold, &mut self.fold);
        std::mem::swap(&mut fresh.lists, &mut self.lists);
        *self = fresh;
        Ok(())
    }

    /// Goes on in the same file after another process cut it or wrote to it: a reload accepts that. The
    /// chain shows which of the file's lines are still records.
    pub(super) fn resume(&mut self, author: &RecordAuthor<'_>) -> Result<(), ManifestOpenError> {
        let path = self.path.clone();
        let io = ManifestOpenError::at(&path);
        if !self.mark.is_of(&path) {
            self.mark = Self::mark(&path)?.0;
        }
        let history = self.read_again(&self.prev.clone()).map_err(io)?;
        self.next = self.next.max(history.next);
        self.check_number()?;
        let noted = self.prev.clone();
        self.begin(author, &history, &noted).and_then(|()| self.carry()).map_err(io)
    }

    fn mark(path: &Path) -> Result<(Arc<ManifestMark>, WrittenPoint), ManifestOpenError> {
        ManifestMark::open(path).map(|(mark, noted)| (Arc::new(mark), noted))
    }

    fn at(
        path: &Path,
        mark: Arc<ManifestMark>,
        prev: &LineHash,
        sink: Arc<JournalSink>,
    ) -> Result<OpenedManifest, ManifestOpenError> {
        let mut file = Self {
            path: path.to_owned(),
            file: Arc::new(lock::open(path)?),
            mark,
            bytes: 0,
            torn: false,
            is_closed: false,
            room: ReservedSpace::default(),
            prev: no_line(),
            before: no_line(),
            next: CallId::FIRST,
            lines: 0,
            calls: LiveCalls::default(),
            backlog: EndBacklog::default(),
            fold: RefusalDedup::default(),
            lists: ListingCounts::default(),
            sink,
        };
        let io = ManifestOpenError::at(path);
        let history = file.read_again(prev).map_err(io)?;
        Ok((file, history))
    }

    fn read_again(&mut self, prev: &LineHash) -> io::Result<ManifestScan> {
        self.room.forget();
        let mut history = look_back(&self.file, prev, UnendedCall::is_left)?;
        history.compare_boot(boot_id().as_deref());
        self.bytes = (&**self.file).seek(SeekFrom::End(0))?;
        Ok(history)
    }

    /// Writes the first record of this broker, or of this file. A line that a crash tore stays, on a line of
    /// its own, and so do lines of other writers.
    fn begin(
        &mut self,
        author: &RecordAuthor<'_>,
        history: &ManifestScan,
        noted: &LineHash,
    ) -> io::Result<()> {
        if history.is_open_ended {
            self.append(b"\n", SpaceSource::Free)?;
        }
        let last = history.last.as_ref();
        self.prev = last.map_or_else(|| noted.clone(), |last| last.hash.clone());
        if self.prev != *noted {
            // The mark must name the line that the next record follows: a broker that is killed right after
            // that record leaves the mark as it is.
            self.note()?;
        }
        let is_missing = *noted != no_line() && last.is_some_and(|last| !last.follows(noted));
        let open = OpenRecord {
            kind: RecordKind::Open,
            ts: now_ms(),
            version: env!("CARGO_PKG_VERSION"),
            broker: std::process::id(),
            boot: boot_id(),
            rules: author.rules,
            policy: author.policy,
            next: self.next,
            running: self.calls.running(),
            torn: history.torn.map_or(0, |torn| torn.bytes),
            torn_sha256: history.torn.map(|torn| torn.hash.to_hash()),
            foreign: history.foreign.as_ref().map_or(0, |foreign| foreign.lines),
            foreign_sha256: history.foreign.as_ref().map(|foreign| foreign.hash.clone()),
            at: self.bytes,
            missing: is_missing.then(|| noted.clone()),
        };
        self.write(&open)
    }

    /// Ends the processes that an earlier broker left of its calls, and records that.
    fn recover(&mut self, history: &ManifestScan) -> io::Result<()> {
        let own = self.calls.clone();
        recover(history, &own, |record| self.write(record))
    }

    /// Records in this file what the next broker must know of calls that began in another file.
    fn carry(&mut self) -> io::Result<()> {
        let traces = self.calls.traces();
        let carried: Vec<_> =
            traces.map(|(call, goes_on, trace)| CarriedRecord::new(call, goes_on, trace.clone())).collect();
        carried.iter().try_for_each(|carried| self.write(carried))
    }

    /// Checks that there are free numbers left.
    fn check_number(&self) -> Result<(), ManifestOpenError> {
        let fits = self.next.get() <= CALL_NUMBER_MAX;
        if fits {
            Ok(())
        } else {
            Err(ManifestOpenError::Exhausted { path: self.path.clone(), next: self.next })
        }
    }

    /// Checks that this broker has not closed the file. A thread that was about to accept a connection when
    /// the stop began, and got no processor until everything had ended, finds the file closed.
    pub(super) fn check_open(&self) -> io::Result<()> {
        if self.is_closed { Err(io::Error::other("the broker that wrote it has left")) } else { Ok(()) }
    }

    /// Takes the next number.
    pub(in crate::audit) fn number(&mut self) -> CallId {
        let call = self.next;
        self.next = call.next();
        call
    }

    /// Notes in the mark the numbers that were taken and have no record of their own.
    pub(in crate::audit) fn note(&self) -> io::Result<()> {
        self.mark.note(&self.point())
    }

    fn point(&self) -> WrittenPoint {
        WrittenPoint { next: self.next, prev: self.prev.clone() }
    }

    /// Writes the `close`, and gives back the space that was reserved.
    pub(in crate::audit) fn close(&mut self) -> io::Result<()> {
        let closed = self.write(&self.closing());
        self.is_closed = true;
        self.give_back();
        closed
    }

    fn closing(&self) -> CloseRecord {
        CloseRecord { kind: RecordKind::Close, ts: now_ms(), next: self.next }
    }

    /// Writes a record to the manifest, and then to the journal. A record in the manifest stays there,
    /// whatever the journal does; a record that could not be written to the manifest is in the journal at
    /// least.
    pub(in crate::audit) fn write(&mut self, record: &impl Record) -> io::Result<()> {
        let written = self.append_chained(&to_ascii(record), SpaceSource::Free);
        // The sink reports a journal that takes nothing; only for a start, in `write_start`, does the error
        // matter.
        self.enter(record, &written).ok();
        written?;
        self.note()
    }

    /// Reserves space for the end of a call that begins without a start record, and notes the call's number.
    pub(in crate::audit) fn expect(&mut self, call: CallId) -> io::Result<()> {
        self.calls.begin(call, CallTrace::default());
        self.make_room(0)?;
        self.note()
    }

    /// Writes the start of a call, before which nothing of it runs. A start that cannot be noted in the
    /// mark, or that a required journal does not take, is taken back.
    pub(super) fn write_start(
        &mut self,
        call: CallId,
        trace: CallTrace,
        record: &impl Record,
    ) -> io::Result<()> {
        self.calls.begin(call, trace);
        self.pay()?;
        let (bytes, prev) = (self.bytes, self.prev.clone());
        self.append_chained(&to_ascii(record), SpaceSource::Free)?;
        let stands = self.note().and_then(|()| self.enter(record, &Ok(())));
        if stands.is_err() {
            (self.bytes, self.prev, self.torn) = (bytes, prev, true);
            // The mark is changed first: a broker that is killed in between must not leave a mark that names
            // a removed line.
            self.note().and(self.cut_torn())?;
        }
        stands
    }

    /// Writes the end of a call, into the space that was reserved for it. An end that cannot be written is
    /// put into the backlog.
    pub(super) fn write_end(
        &mut self,
        call: CallId,
        goes_on: LiveParts,
        record: &impl Record,
    ) -> io::Result<()> {
        let body = to_ascii(record);
        let written = self.append_chained(&body, SpaceSource::Kept);
        self.sink.keep(|| self.entry(record, &written));
        let is_owed = written.is_err()
            && self.backlog.push(UnwrittenEnd { call, goes_on, body, entry: record.entry() });
        if !is_owed {
            self.calls.end(call, goes_on);
        }
        written?;
        self.note()
    }

    /// Writes the ends in the backlog.
    fn pay(&mut self) -> io::Result<()> {
        while let Some(body) = self.backlog.first().map(|end| end.body.clone()) {
            self.append_line(&body, SpaceSource::Kept)?;
            let Some(mut end) = self.backlog.shift() else { return Ok(()) };
            self.calls.end(end.call, end.goes_on);
            end.entry.add("SLUICE_MANIFEST", &self.path.to_string_lossy());
            end.entry.add("SLUICE_HASH", &self.prev);
            end.entry.add("SLUICE_PREV", &self.before);
            self.sink.enter(|| end.entry).ok();
        }
        Ok(())
    }

    /// Forgets a call that does not run after all.
    pub(super) fn forget(&mut self, call: CallId) {
        self.calls.end(call, LiveParts::default());
    }

    fn enter(&self, record: &impl Record, written: &io::Result<()>) -> io::Result<()> {
        self.sink.enter(|| self.entry(record, written))
    }

    fn entry(&self, record: &impl Record, written: &io::Result<()>) -> JournalEntry {
        let mut entry = record.entry();
        entry.add("SLUICE_MANIFEST", &self.path.to_string_lossy());
        match written {
            Ok(()) => {
                entry.add("SLUICE_HASH", &self.prev);
                entry.add("SLUICE_PREV", &self.before);
            }
            Err(source) => entry.add("SLUICE_UNWRITTEN", &source.to_string()),
        }
        entry
    }

    /// Appends a record with its `prev` as one line, after the ends in the backlog.
    fn append_chained(&mut self, body: &str, space: SpaceSource) -> io::Result<()> {
        self.pay()?;
        self.append_line(body, space)
    }

    fn append_line(&mut self, body: &str, space: SpaceSource) -> io::Result<()> {
        let (line, hash) = chained(body, &self.prev);
        self.append(line.as_bytes(), space)?;
        self.before = std::mem::replace(&mut self.prev, hash);
        Ok(())
    }

    /// Appends a line with one write(2), whole or not at all: the part of it that a full disk took is cut
    /// off again, at once or before the next line.
    fn append(&mut self, line: &[u8], space: SpaceSource) -> io::Result<()> {
        self.check_open()?;
        self.cut_torn()?;
        if space == SpaceSource::Free {
            self.make_room(line.len())?;
        }
        let written = sys::write(self.file.as_fd(), line)?;
        if written < line.len() {
            self.torn = true;
            self.cut_torn()?;
            return Err(Errno::ENOSPC.into());
        }
        self.bytes += line.len() as u64;
        self.lines += 1;
        Ok(())
    }

    /// Reserves space for this many bytes, and after them for the end of every call that runs.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let kept = self.calls.count_running() as u64 * END_ROOM_BYTES;
        self.room.reach(self.file.as_fd(), self.bytes, self.bytes + bytes as u64 + kept)
    }

    pub(super) fn cut_torn(&mut self) -> io::Result<()> {
        if self.torn {
            // The file is never made longer: another process may have cut it since.
            if self.file.metadata()?.len() > self.bytes {
                self.file.set_len(self.bytes)?;
                self.room.forget();
            }
            self.torn = false;
        }
        Ok(())
    }

    /// Gives back the space that was reserved, unless another process changed the length of the file.
    fn give_back(&mut self) {
        self.room.forget();
        if self.file.metadata().is_ok_and(|file| file.len() == self.bytes) {
            // Where this fails, some space stays taken until the next broker writes there.
            self.file.set_len(self.bytes).ok();
        }
    }
}
