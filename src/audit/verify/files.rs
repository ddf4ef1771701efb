//! Verifies all files of a manifest: reads them one after the other, and puts them in order by the chain.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::limits::JOURNAL_LATE_MAX_MS;

use super::chain::FileScan;
use super::finding::ChainFinding;
use super::journal_index::{IndexedEntry, JournalIndex};
use super::numbers::CallNumbers;
use super::report::{FileReport, VerifyRemark, VerifyReport};
use crate::audit::chain::Digest;
use crate::audit::read::{ManifestLines, ManifestSource, ParsedRecord, ReadError, RecordHead};
use crate::audit::record::kind::RecordKind;

/// Why a manifest cannot be verified.
#[derive(Debug)]
pub enum VerifyError {
    /// A file cannot be read.
    Read(ReadError),
    /// No file has a record.
    Empty,
    /// A system call failed.
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the call.
        source: io::Error,
    },
}

impl VerifyError {
    /// The error of a failed system call on the file at `path`.
    fn at(path: &Path) -> impl Fn(io::Error) -> Self + Copy + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Empty => f.write_str("there is no record to verify"),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for VerifyError {}

/// A function that asks the journal for a user's entries from this time on, in milliseconds since 1970. An
/// error says why the journal was not asked.
pub type AskJournal<'a> = &'a dyn Fn(u32, u64) -> Result<JournalIndex, String>;

/// Verifies the files of one manifest, given in any order. The journal is read first: the records that it
/// has by then stand in the files. Otherwise a broker that writes meanwhile would look like one whose lines
/// were cut off.
pub fn verify(paths: &[PathBuf], ask: AskJournal<'_>) -> Result<VerifyReport, VerifyError> {
    let mut files = paths.iter().map(|path| DatedFile::open(path)).collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(|file| file.ts);
    let since = files.iter().map(|file| file.ts).min().unwrap_or_default();
    let journal_index = files.first().map_or(Err(String::new()), |file| ask(file.owner, since));
    let mut numbers = CallNumbers::default();
    let mut scans = Vec::new();
    for file in files {
        scans.push(file.scan(&mut numbers, journal_index.as_ref().ok())?);
    }
    if scans.iter().all(|(_, scan)| scan.records == 0 && scan.finding.is_none()) {
        return Err(VerifyError::Empty);
    }
    let mut remarks = link(&mut scans, journal_index.as_ref().ok());
    if let Ok(journal_index) = &journal_index {
        remarks.extend(find_strangers(&mut scans, journal_index));
    }
    remarks.extend(recount(&numbers));
    remarks.extend(compare(&scans, journal_index.err()));
    let files = scans.into_iter().map(|(path, scan)| report(path, scan)).collect();
    Ok(VerifyReport { files, calls: numbers.count(), remarks })
}

fn report(path: PathBuf, scan: FileScan) -> FileReport {
    let FileScan { records, confirmed, torn_lines, finding, .. } = scan;
    FileReport { path, records, confirmed, torn: torn_lines, finding }
}

/// A file, and the time at which it begins.
#[derive(Debug)]
struct DatedFile {
    source: ManifestSource,
    owner: u32,
    /// The time of its first record; the end of time where there is none.
    ts: u64,
}

impl DatedFile {
    fn open(path: &Path) -> Result<Self, VerifyError> {
        let source = ManifestSource::open(path).map_err(VerifyError::Read)?;
        let io = VerifyError::at(path);
        let owner = source.owner().map_err(io)?;
        let first = ManifestLines::new(source.bytes().map_err(io)?).read_line().map(|line| {
            line.and_then(|line| {
                let head = RecordHead::of(line.bytes).map(|head| head.ts);
                head.or_else(|| ParsedRecord::of(line.bytes).map(|record| record.ts))
            })
        });
        // An error of unpacking is reported when the lines are read.
        Ok(Self { source, owner, ts: first.ok().flatten().unwrap_or(u64::MAX) })
    }

    fn scan(
        self,
        numbers: &mut CallNumbers,
        journal_index: Option<&JournalIndex>,
    ) -> Result<(PathBuf, FileScan), VerifyError> {
        let path = self.source.path().to_owned();
        let io = VerifyError::at(&path);
        let mut lines = ManifestLines::new(self.source.bytes().map_err(io)?);
        let mut scan = FileScan::default();
        let mut number = 0;
        loop {
            match lines.read_line() {
                Ok(Some(line)) => {
                    number = line.number;
                    scan.add(line, numbers, journal_index);
                }
                Ok(None) => break,
                Err(error) if self.source.plain().is_none() && error.raw_os_error().is_none() => {
                    scan.note(number + 1, ChainFinding::Damaged(error.to_string()));
                    break;
                }
                Err(error) => return Err(io(error)),
            }
        }
        scan.end();
        Ok((path, scan))
    }
}

/// Compares the beginning of each file with the ends of all files.
fn link(scans: &mut [(PathBuf, FileScan)], journal_index: Option<&JournalIndex>) -> Vec<VerifyRemark> {
    let ends: Vec<_> = scans.iter().map(|(_, scan)| scan.last()).collect();
    let firsts: Vec<_> = scans.iter().map(|(_, scan)| scan.first).collect();
    let mut remarks = Vec::new();
    let mut has_beginning = false;
    for (index, (path, scan)) in scans.iter_mut().enumerate() {
        let Some(first) = firsts[index] else { continue };
        // A file that was copied and then cut (`copytruncate`) goes on after the end of its copy, without an
        // `open`.
        if scan.is_headless && !ends.contains(&Some(first)) {
            scan.note(1, ChainFinding::HeadMissing);
        }
        if firsts[..index].contains(&Some(first)) && first != Digest::NONE {
            scan.note(1, ChainFinding::Copy);
        } else if first == Digest::NONE || !ends.contains(&Some(first)) {
            let again =
                if first == Digest::NONE { ChainFinding::SecondBeginning } else { ChainFinding::Unlinked };
            if std::mem::replace(&mut has_beginning, true) {
                scan.note(1, again);
            } else if first != Digest::NONE {
                remarks.push(VerifyRemark::EarlierElsewhere(path.clone()));
            }
        }
        if let Some(journal_index) = journal_index.filter(|_| !firsts.contains(&ends[index])) {
            remarks.extend(look_past(path, scan, journal_index));
        }
    }
    remarks
}

/// Looks in the journal for records after the last line of a file that no other file follows.
fn look_past(path: &Path, scan: &mut FileScan, journal_index: &JournalIndex) -> Option<VerifyRemark> {
    let last = scan.last()?;
    let next = journal_index.after(last).first()?;
    if next.kind == RecordKind::Open && next.begins_file {
        return Some(VerifyRemark::LaterElsewhere(path.to_owned()));
    }
    let records = journal_index.run_after(last);
    scan.note(scan.lines(), ChainFinding::Cut { records, kind: next.kind, call: next.call });
    None
}

/// Finds records that brokers wrote to this manifest, as the journal says, and that are in none of the
/// files. If such records are of the time of a file, that file is another one than was written then.
fn find_strangers(scans: &mut [(PathBuf, FileScan)], journal_index: &JournalIndex) -> Vec<VerifyRemark> {
    let firsts: Vec<_> = scans.iter().filter_map(|(_, scan)| scan.first).collect();
    let lasts: Vec<_> = scans.iter().filter_map(|(_, scan)| scan.last()).collect();
    let strangers = journal_index.strangers(&firsts, &lasts);
    let (mut others, mut elsewhere, mut by_others) = (0, 0, 0);
    for (_, scan) in scans {
        let Some((first, last)) = scan.times else { continue };
        // The journal gets an entry a moment after its record was made. Where the journal knows no record of
        // the file, all entries count that may be of its time; otherwise, only entries that cannot be of a
        // file before or after it.
        let late = JOURNAL_LATE_MAX_MS;
        let time = if scan.confirmed == 0 { first..=last + late } else { first + late..=last };
        let is_of_its_time = |entry: &&&IndexedEntry| time.contains(&entry.ts);
        let is_of_elsewhere = scan.confirmed > 0 && scan.elsewhere == scan.confirmed;
        let records = match is_of_elsewhere {
            true => strangers.len(),
            false => strangers.iter().filter(is_of_its_time).count(),
        };
        if records > 0 && scan.finding.is_none() {
            scan.note(1, ChainFinding::OtherRecords { records: records as u64 });
        } else if scan.confirmed == 0 {
            others = strangers.len() as u64;
        }
        (elsewhere, by_others) = (elsewhere + scan.elsewhere, by_others + scan.by_others);
    }
    let remarks = [
        (others, VerifyRemark::OtherRecords { records: others }),
        (elsewhere, VerifyRemark::OtherPlace { records: elsewhere }),
        (by_others, VerifyRemark::OtherProcess { records: by_others }),
    ];
    remarks.into_iter().filter(|(count, _)| *count > 0).map(|(_, remark)| remark).collect()
}

fn recount(numbers: &CallNumbers) -> impl Iterator<Item = VerifyRemark> {
    let open = Some(numbers.open_calls()).filter(|calls| !calls.is_empty()).map(VerifyRemark::OpenCalls);
    let bare = Some(numbers.bare_ends()).filter(|calls| !calls.is_empty()).map(VerifyRemark::BareEnds);
    open.into_iter().chain(bare)
}

/// Counts the records that the journal lacks. They are no fault of a manifest: the journal forgets, and may
/// be off.
fn compare(scans: &[(PathBuf, FileScan)], not_asked: Option<String>) -> Option<VerifyRemark> {
    if let Some(why) = not_asked {
        return Some(VerifyRemark::NoJournal(why));
    }
    let of: u64 = scans.iter().map(|(_, scan)| scan.records).sum();
    let missing = of - scans.iter().map(|(_, scan)| scan.confirmed).sum::<u64>();
    (missing > 0).then_some(VerifyRemark::NotInJournal { missing, of })
}
