//! The manifest: all records in their order, under numbers that never repeat. One lock orders all of it;
//! `file.rs` brings a record to disk and to the journal, `commit.rs` syncs it, so that it stays when the
//! machine fails.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use crate::audit::record::aftermath::AftermathRecord;
use crate::audit::record::argv::Caller;
use crate::audit::record::call::{CapturedBytes, now_ms};
use crate::audit::record::journal_entry::Record;
use crate::audit::record::kind::RecordKind;
use crate::audit::record::lifecycle::{RecordAuthor, ReloadRecord};
use crate::audit::record::reject::RefusedRequest;
use crate::audit::record::trace::CallTrace;
use crate::ids::{CallId, SocketName};
use crate::rules::{JournalMode, SyncMode};
use crate::sys::Locked;
use crate::trust::TrustedName;

use super::commit::GroupCommit;
use super::file::ManifestFile;
use super::journal_sink::JournalSink;
use super::live::LiveParts;
use super::lock::ManifestOpenError;

/// The manifest of one broker.
#[derive(Debug)]
pub struct Manifest {
    file: Locked<ManifestFile>,
    commit: GroupCommit,
    /// Whether starts and ends have to be on disk before they count.
    is_durable: AtomicBool,
}

/// The number of a call, and the result of writing its start.
#[derive(Debug)]
pub(in crate::audit) struct BegunStart {
    pub(in crate::audit) call: CallId,
    /// Whether the line is in the file, if perhaps not on disk.
    pub(super) is_recorded: bool,
    pub(in crate::audit) written: io::Result<()>,
}

impl Manifest {
    /// Opens or makes the manifest at `path`, mode 0600, below directories that only root or this user can
    /// write, and goes on after its last record. Writes an `open` as its first record.
    pub fn open(
        path: &Path,
        author: &RecordAuthor<'_>,
        sink: JournalSink,
    ) -> Result<Self, ManifestOpenError> {
        let file = Locked::new(ManifestFile::open(path, author, Arc::new(sink))?);
        Ok(Self { file, commit: GroupCommit::default(), is_durable: AtomicBool::new(false) })
    }

    /// Sends records to the journal as `journal =` says, from now on.
    pub fn want_journal(&self, wanted: JournalMode) {
        self.file().sink.want(wanted);
    }

    /// Syncs starts and ends to disk before they count, where `sync =` says so, from now on. Errors: the
    /// lines that are there already cannot be synced.
    pub fn want_durability(&self, wanted: SyncMode) -> io::Result<()> {
        self.is_durable.store(wanted == SyncMode::Disk, Ordering::SeqCst);
        self.settle_disk(&self.file())
    }

    /// Makes the journal and the syncs at least as strict as this. Errors: as [`Self::want_durability`].
    pub fn want_at_least(&self, journal: JournalMode, durability: SyncMode) -> io::Result<()> {
        self.file().sink.want_at_least(journal);
        if durability == SyncMode::Disk { self.want_durability(durability) } else { Ok(()) }
    }

    /// The path of the manifest.
    pub fn path(&self) -> PathBuf {
        self.file().path.clone()
    }

    /// Goes on at `path`: the file was moved away or changed by another process, or the rules name another
    /// file. The numbers and the chain go on too.
    pub fn reopen(&self, path: &Path, author: &RecordAuthor<'_>) -> Result<(), ManifestOpenError> {
        let io = ManifestOpenError::at(path);
        let mut file = self.file();
        let is_there = file.path == path && file.is_at(path);
        if is_there && file.is_untouched() {
            // A directory that other users can write by now is an error; records still go to the open file.
            TrustedName::parent_of(path, false).map_err(ManifestOpenError::Distrust)?;
            return self.settle_disk(&file).map_err(io);
        }
        if is_there {
            file.resume(author)?;
        } else {
            // Calls that wait for this sync get its error; the next file begins all the same.
            self.settle_disk(&file).ok();
            file.move_to(path, author)?;
        }
        self.settle_disk(&file).map_err(io)
    }

    /// Syncs the lines so far, or notes that they may not be on disk.
    fn settle_disk(&self, file: &ManifestFile) -> io::Result<()> {
        if !self.is_durable.load(Ordering::SeqCst) {
            return Ok(());
        }
        let synced = file.sync_place();
        self.commit.leave(file.lines, &synced);
        synced
    }

    /// Records that the rules were read again, and the error where they could not be used.
    pub fn reloaded(&self, policy: &str, error: Option<&str>) -> io::Result<()> {
        let reload =
            ReloadRecord { kind: RecordKind::Reload, ts: now_ms(), ok: error.is_none(), policy, error };
        self.file().write(&reload)
    }

    /// Takes the next number, for a call that needs it before its first record.
    pub fn take_number(&self) -> CallId {
        self.file().number()
    }

    /// Records a refusal under its number, or under the next one. Equal refusals within a second, and
    /// refusals that exceed the budget of their socket, are only counted: [`Self::settle`] writes the count
    /// when [`Self::next_due`] says so. Gives the number, and whether there is a count to write now and was
    /// none before.
    pub fn reject(&self, call: Option<CallId>, rejected: &RefusedRequest) -> (CallId, bool, io::Result<()>) {
        let mut file = self.file();
        let was_due = file.next_due().is_some();
        let call = call.unwrap_or_else(|| file.number());
        let written = file.refuse(call, rejected, Instant::now());
        (call, !was_due && file.next_due().is_some(), written)
    }

    /// Records that a caller is given the listing of a socket; further listings within a second are only
    /// counted. Gives whether there is a count to write now and was none before.
    pub fn list(&self, socket: &SocketName, caller: Option<Caller>) -> (bool, io::Result<()>) {
        let mut file = self.file();
        let was_due = file.next_due().is_some();
        let written = file.list(socket, caller, Instant::now());
        (!was_due && file.next_due().is_some(), written)
    }

    /// Writes the counts whose time has come.
    pub fn settle(&self) -> io::Result<()> {
        self.file().settle(Instant::now())
    }

    /// When the next count is to be written.
    pub fn next_due(&self) -> Option<Instant> {
        self.file().next_due()
    }

    /// Records that the broker leaves.
    pub fn close(&self) -> io::Result<()> {
        let mut file = self.file();
        let counted = file.settle_all();
        counted.and(file.close())?;
        self.settle_disk(&file)
    }

    /// Takes the next number, unless the call has one, and writes the start record that `record` makes of
    /// it, as one step. `record` gives `None` for a call whose start is not recorded.
    pub(in crate::audit) fn begin<R: Record>(
        &self,
        call: Option<CallId>,
        trace: CallTrace,
        record: impl FnOnce(CallId) -> Option<R>,
    ) -> BegunStart {
        let mut file = self.file();
        let call = call.unwrap_or_else(|| file.number());
        let written = file.check_place().and_then(|()| match record(call) {
            Some(record) => file.write_start(call, trace, &record),
            None => {
                file.sink.tell();
                file.expect(call).and_then(|()| file.sink.probe())
            }
        });
        let (line, is_recorded) = (file.lines, written.is_ok());
        drop(file);
        BegunStart { call, is_recorded, written: written.and_then(|()| self.wait_for_disk(line)) }
    }

    /// Writes the start that could not be written at first, of a call that runs all the same.
    pub(super) fn begin_again(&self, call: CallId, trace: CallTrace, record: &impl Record) -> io::Result<()> {
        self.file().write_start(call, trace, record)
    }

    /// Writes the end of a call; `goes_on` are the parts of it that go on.
    pub(in crate::audit) fn end(
        &self,
        call: CallId,
        goes_on: LiveParts,
        record: &impl Record,
    ) -> io::Result<()> {
        let mut file = self.file();
        file.write_end(call, goes_on, record)?;
        let line = file.lines;
        drop(file);
        self.wait_for_disk(line)
    }

    /// Sends the journal the entries that were kept.
    pub fn tell(&self) {
        self.file().sink.tell();
    }

    /// Writes that the captures of an ended call are closed.
    pub(super) fn close_captures(&self, call: CallId, captured: &CapturedBytes) -> io::Result<()> {
        let mut file = self.file();
        file.calls.close_captures(call);
        file.write(&AftermathRecord::captures_closed(call, captured))
    }

    /// Forgets a call that does not run, and whose start is not on record.
    pub(super) fn forget(&self, call: CallId) {
        self.file().forget(call);
    }

    fn wait_for_disk(&self, line: u64) -> io::Result<()> {
        if !self.is_durable.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.commit.reach(line, || {
            let file = self.file();
            (file.file.clone(), file.lines)
        })
    }

    fn file(&self) -> MutexGuard<'_, ManifestFile> {
        // A thread that panicked while it held the lock left an unused number at worst.
        self.file.lock()
    }
}
