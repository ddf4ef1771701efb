//! Reads what a manifest already holds: its highest number, its last record, the calls without an end, the
//! part of a line that a crash left, and the lines that no broker wrote. Of a file that was closed it reads
//! the end, and any other file from front to back, in one buffer. A file with lines that are no records is
//! read twice, since only its end shows which lines are.

mod calls;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use memchr::memrchr;
use sha2::{Digest as _, Sha256};

use crate::audit::chain::{Digest, LineHash};
use crate::audit::read::{ClassifiedLines, LineClassifier, ManifestLines, RecordFacts};
use crate::audit::record::kind::RecordKind;
use crate::limits::CLOSE_BYTES_MAX;

use super::leftovers::UnendedCall;

pub(in crate::audit) use calls::{ForeignTail, ManifestScan, ScanTail};

/// Reads the contents of a manifest. A manifest that was closed, and not touched since, is known by its last
/// line: the calls in all earlier lines are over. `noted` is the hash of the last line, from the mark.
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

/// The contents that the last line of a manifest tells, if it is a `close` with the hash `noted`.
fn of_close(tail: &[u8], noted: Option<Digest>) -> Option<ManifestScan> {
    let lines = tail.strip_suffix(b"\n")?;
    let line = &lines[memrchr(b'\n', lines)? + 1..];
    let (hash, before) = (Digest::of_line(line), Digest::before(line)?);
    if RecordFacts::of(line).kind != Some(RecordKind::Close) || Some(hash) != noted {
        return None;
    }
    let mut history = ManifestScan::default();
    history.take(line, |_| false);
    history.last = Some(ScanTail::from((hash, before)));
    Some(history)
}

/// Reads a whole manifest, and takes nothing from lines that are no records. `is_left` is asked of each call
/// that left something running: there may be many such calls, and most have nothing left by now.
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

/// Reads a manifest in which not every line is a record a second time, when it is known which lines are.
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
        // A start that may have been changed still counts as the beginning of a call: a record that the
        // call's end was not seen hides nothing.
        let is_start = || {
            stood.unvouched == Some(line.at) && RecordFacts::of(line.bytes).kind == Some(RecordKind::Start)
        };
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
    history.unite();
    Ok(history)
}
