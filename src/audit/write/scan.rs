//! What a manifest already holds: its highest number, its last record, the calls without an end, what a crash
//! tore off, and what no broker wrote. Reads the end of a file that was closed, and any other from front to
//! back, in one buffer; once more where a line in it is no record, since which lines are is known at its end.

mod facts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use memchr::memrchr;
use sha2::{Digest as _, Sha256};

use crate::audit::chain::{Digest, LineHash};
use crate::audit::read::{ClassifiedLines, LineClassifier, ManifestLines, TornLine};
use crate::ids::CallId;
use crate::limits::CLOSE_BYTES_MAX;

use super::leftovers::UnendedCall;

use facts::CallFacts;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::audit) struct ManifestScan {
    /// The number of the next request.
    pub(in crate::audit) next: CallId,
    /// The last record, unless there is none.
    pub(in crate::audit) last: Option<ScanTail>,
    /// What a crash or a full disk left of a line at the end.
    pub(in crate::audit) torn: Option<TornLine>,
    /// The last line lacks its newline.
    pub(super) is_open_ended: bool,
    /// What stands after the last record and is none, without what was torn.
    pub(in crate::audit) foreign: Option<ForeignTail>,
    /// Calls that a broker began here and did not end.
    pub(in crate::audit) unfinished: BTreeMap<CallId, UnendedCall>,
    /// Calls that ended, and whose captures did not.
    pub(in crate::audit) capturing: BTreeMap<CallId, UnendedCall>,
    /// Calls that ended, and left something that still runs.
    pub(in crate::audit) keeping: BTreeMap<CallId, UnendedCall>,
    /// The host's boot in which the last broker began.
    pub(in crate::audit) boot: Option<String>,
    /// Calls without an end before lines that follow no record of theirs: an end among those is not believed.
    severed: BTreeMap<CallId, UnendedCall>,
}

/// How the records of a manifest end.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::audit) struct ScanTail {
    /// What the next record's `prev` is.
    pub(in crate::audit) hash: LineHash,
    /// What the last one follows.
    before: LineHash,
}

/// Lines after the last record that no broker wrote.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::audit) struct ForeignTail {
    /// How many.
    pub(in crate::audit) lines: u64,
    /// The hash of all of them, each with a newline.
    pub(in crate::audit) hash: LineHash,
}

impl ScanTail {
    /// Whether the line with this hash is where a manifest that nobody touched has the last one that was noted: at
    /// the end, or before a line that a killed broker had no time to note.
    pub(in crate::audit) fn follows(&self, noted: &LineHash) -> bool {
        self.hash == *noted || self.before == *noted
    }
}

impl From<(Digest, Digest)> for ScanTail {
    fn from((hash, before): (Digest, Digest)) -> Self {
        Self { hash: hash.to_hash(), before: before.to_hash() }
    }
}

/// What a manifest holds. One that was closed, and not touched since, is known by its last line: what an earlier one
/// says is over, however many there are. `noted` is the hash of the last line as its mark knows it.
pub(in crate::audit) fn look_back(
    mut manifest: &File,
    noted: &LineHash,
    is_left: fn(&UnendedCall) -> bool,
) -> io::Result<ManifestScan> {
    let bytes = manifest.metadata()?.len();
    let mut tail = [0; CLOSE_BYTES_MAX];
    let read = manifest.read_at(&mut tail, bytes.saturating_sub(CLOSE_BYTES_MAX as u64))?;
    let noted = Digest::of(noted.as_bytes()).filter(|noted| *noted != Digest::NONE);
    if let Some(history) = of_close(&tail[..read], noted) {
        return Ok(history);
    }
    read_history(&mut manifest, noted, is_left)
}

/// The history that the last line of a manifest's `tail` tells, if it is a `close` with this hash.
fn of_close(tail: &[u8], noted: Option<Digest>) -> Option<ManifestScan> {
    let lines = tail.strip_suffix(b"\n")?;
    let line = &lines[memrchr(b'\n', lines)? + 1..];
    let (hash, before) = (Digest::of_line(line), Digest::before(line)?);
    if CallFacts::read(line).kind != "close" || Some(hash) != noted {
        return None;
    }
    let mut history = ManifestScan::default();
    history.take(line, |_| false);
    history.last = Some(ScanTail::from((hash, before)));
    Some(history)
}

/// Reads a whole manifest. Nothing is taken from lines that are no records. `is_left` is asked of each call
/// that left something running, since the most have nothing left by now, and may be many.
fn read_history(
    manifest: &mut (impl Read + Seek),
    noted: Option<Digest>,
    is_left: fn(&UnendedCall) -> bool,
) -> io::Result<ManifestScan> {
    let mut standing = LineClassifier::new(noted);
    let mut history = ManifestScan::default();
    manifest.seek(SeekFrom::Start(0))?;
    let mut lines = ManifestLines::new(&mut *manifest);
    while let Some(line) = lines.read_line()? {
        if standing.add(&line).is_record() {
            history.take(line.bytes, is_left);
        }
    }
    let stood = standing.finish();
    if stood.is_full {
        return Err(io::Error::new(io::ErrorKind::InvalidData, TOO_MUCH));
    }
    if !stood.is_clean() {
        history = read_again(manifest, &stood, noted, is_left)?;
    }
    history.last = stood.last.map(ScanTail::from);
    (history.torn, history.is_open_ended) = (stood.torn, !stood.is_ended);
    Ok(history)
}

const TOO_MUCH: &str = "lines that no broker wrote stand in more places than are counted; move it away, and a new one \
                        is begun";

/// Reads a manifest in which not every line is a record, now that it is known which are.
fn read_again(
    manifest: &mut (impl Read + Seek),
    stood: &ClassifiedLines,
    noted: Option<Digest>,
    is_left: fn(&UnendedCall) -> bool,
) -> io::Result<ManifestScan> {
    let mut history = ManifestScan::default();
    let (mut after, mut count) = (Sha256::new(), 0);
    manifest.seek(SeekFrom::Start(0))?;
    let mut lines = ManifestLines::new(manifest);
    while let Some(line) = lines.read_line()? {
        let is_foreign = line.continues || stood.is_foreign(line.at);
        if is_foreign && line.at >= stood.end {
            count += u64::from(!line.continues);
            after.update(line.bytes);
            after.update(if line.ended { "\n" } else { "" });
        }
        if stood.gap == Some(line.at) && !stood.has_anchor {
            history.sever();
        }
        // A start that may have been changed is a call that began: to say that its end was not seen hides
        // nothing.
        let is_start = || stood.unvouched == Some(line.at) && CallFacts::read(line.bytes).kind == "start";
        match Digest::before(line.bytes) {
            Some(_) if !is_foreign || is_start() => history.take(line.bytes, is_left),
            Some(_) if noted.is_none() => history.pass_by(line.bytes),
            Some(_) | None => {}
        }
    }
    if count > 0 {
        after.update(if stood.is_ended || stood.torn.is_some() { "" } else { "\n" });
        history.foreign = Some(ForeignTail { lines: count, hash: format!("{:x}", after.finalize()) });
    }
    history.unfinished.append(&mut history.severed);
    Ok(history)
}
