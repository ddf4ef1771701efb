//! All files of a manifest: read one after the other, and put in order by the chain.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::limits::JOURNAL_LATE_MAX_MS;

use super::super::chain::Digest;
use super::super::read::{Head, Kind, Lines, ReadError, Recorded, Source};
use super::chain::Scan;
use super::misfit::Misfit;
use super::numbers::Numbers;
use super::report::{FileReport, Remark, Report};
use super::witness::{Testimony, Witness};

/// Why no answer can be had.
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
        /// What the call gave.
        source: io::Error,
    },
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

/// How the journal is asked: for a user's entries from this time on, in milliseconds since 1970. An error says why it
/// was not.
pub type Ask<'a> = &'a dyn Fn(u32, u64) -> Result<Witness, String>;

/// Verifies the files of one manifest, given in any order. The journal is read first: what it has by then stands in
/// the files, so that a broker that writes meanwhile is not taken for one whose lines were cut off.
pub fn verify(paths: &[PathBuf], ask: Ask<'_>) -> Result<Report, VerifyError> {
    let mut files = paths.iter().map(|path| File::open(path)).collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(|file| file.ts);
    let since = files.iter().map(|file| file.ts).min().unwrap_or_default();
    let witness = files.first().map_or(Err(String::new()), |file| ask(file.owner, since));
    let mut numbers = Numbers::default();
    let mut scans = Vec::new();
    for file in files {
        scans.push(file.scan(&mut numbers, witness.as_ref().ok())?);
    }
    if scans.iter().all(|(_, scan)| scan.records == 0 && scan.misfit.is_none()) {
        return Err(VerifyError::Empty);
    }
    let mut remarks = link(&mut scans, witness.as_ref().ok());
    if let Ok(witness) = &witness {
        remarks.extend(find_strangers(&mut scans, witness));
    }
    remarks.extend(recount(&numbers));
    remarks.extend(compare(&scans, witness.err()));
    let files = scans.into_iter().map(|(path, scan)| report(path, scan)).collect();
    Ok(Report { files, calls: numbers.count(), remarks })
}

fn report(path: PathBuf, scan: Scan) -> FileReport {
    let Scan { records, confirmed, torn_lines, misfit, .. } = scan;
    FileReport { path, records, confirmed, torn: torn_lines, misfit }
}

/// A file and when it begins.
#[derive(Debug)]
struct File {
    source: Source,
    owner: u32,
    /// The time of its first record; the end of time where there is none.
    ts: u64,
}

impl File {
    fn open(path: &Path) -> Result<Self, VerifyError> {
        let source = Source::open(path).map_err(VerifyError::Read)?;
        let io = |error| VerifyError::Io { path: path.to_owned(), source: error };
        let owner = source.owner().map_err(io)?;
        let first = Lines::new(source.bytes().map_err(io)?).read_line().map(|line| {
            line.and_then(|line| {
                let head = Head::of(line.bytes).map(|head| head.ts);
                head.or_else(|| Recorded::of(line.bytes).map(|record| record.ts))
            })
        });
        // What cannot be unpacked is told of when its lines are read.
        Ok(Self { source, owner, ts: first.ok().flatten().unwrap_or(u64::MAX) })
    }

    fn scan(self, numbers: &mut Numbers, witness: Option<&Witness>) -> Result<(PathBuf, Scan), VerifyError> {
        let path = self.source.path().to_owned();
        let io = |error| VerifyError::Io { path: path.clone(), source: error };
        let mut lines = Lines::new(self.source.bytes().map_err(io)?);
        let mut scan = Scan::default();
        let mut number = 0;
        loop {
            match lines.read_line() {
                Ok(Some(line)) => {
                    number = line.number;
                    scan.add(line, numbers, witness);
                }
                Ok(None) => break,
                Err(error) if self.source.plain().is_none() && error.raw_os_error().is_none() => {
                    scan.note(number + 1, Misfit::Damaged(error.to_string()));
                    break;
                }
                Err(error) => return Err(io(error)),
            }
        }
        scan.end();
        Ok((path, scan))
    }
}

/// Holds the ends of files against the beginnings of others.
fn link(scans: &mut [(PathBuf, Scan)], witness: Option<&Witness>) -> Vec<Remark> {
    let ends: Vec<_> = scans.iter().map(|(_, scan)| scan.last()).collect();
    let firsts: Vec<_> = scans.iter().map(|(_, scan)| scan.first).collect();
    let mut remarks = Vec::new();
    let mut has_beginning = false;
    for (index, (path, scan)) in scans.iter_mut().enumerate() {
        let Some(first) = firsts[index] else { continue };
        // A file that was copied and then cut goes on from the copy, in the middle.
        if scan.is_headless && !ends.contains(&Some(first)) {
            scan.note(1, Misfit::HeadMissing);
        }
        if firsts[..index].contains(&Some(first)) && first != Digest::NONE {
            scan.note(1, Misfit::Copy);
        } else if first == Digest::NONE || !ends.contains(&Some(first)) {
            let again = if first == Digest::NONE { Misfit::SecondBeginning } else { Misfit::Unlinked };
            if std::mem::replace(&mut has_beginning, true) {
                scan.note(1, again);
            } else if first != Digest::NONE {
                remarks.push(Remark::EarlierElsewhere(path.clone()));
            }
        }
        if let Some(witness) = witness.filter(|_| !firsts.contains(&ends[index])) {
            remarks.extend(look_past(path, scan, witness));
        }
    }
    remarks
}

/// What the journal has after the last line of a file that no other file goes on from.
fn look_past(path: &Path, scan: &mut Scan, witness: &Witness) -> Option<Remark> {
    let last = scan.last()?;
    let next = witness.after(last).first()?;
    if next.kind == Kind::Open && next.begins_file {
        return Some(Remark::LaterElsewhere(path.to_owned()));
    }
    let records = witness.run_after(last);
    scan.note(scan.lines(), Misfit::Cut { records, kind: next.kind, call: next.call });
    None
}

/// What brokers wrote to this manifest, by the journal's word, and that is in none of the files. Where it is
/// of the time of a file, that is another one than was written then.
fn find_strangers(scans: &mut [(PathBuf, Scan)], witness: &Witness) -> Vec<Remark> {
    let firsts: Vec<_> = scans.iter().filter_map(|(_, scan)| scan.first).collect();
    let lasts: Vec<_> = scans.iter().filter_map(|(_, scan)| scan.last()).collect();
    let strangers = witness.strangers(&firsts, &lasts);
    let (mut others, mut elsewhere, mut by_others) = (0, 0, 0);
    for (_, scan) in scans {
        let Some((first, last)) = scan.times else { continue };
        // The journal has an entry a moment after its record was made: each that may be of this time, and of
        // a file that is known to it only what is of no neighbour's.
        let late = JOURNAL_LATE_MAX_MS;
        let time = if scan.confirmed == 0 { first..=last + late } else { first + late..=last };
        let is_of_its_time = |entry: &&&Testimony| time.contains(&entry.ts);
        let is_of_elsewhere = scan.confirmed > 0 && scan.elsewhere == scan.confirmed;
        let records = match is_of_elsewhere {
            true => strangers.len(),
            false => strangers.iter().filter(is_of_its_time).count(),
        };
        if records > 0 && scan.misfit.is_none() {
            scan.note(1, Misfit::OtherRecords { records: records as u64 });
        } else if scan.confirmed == 0 {
            others = strangers.len() as u64;
        }
        (elsewhere, by_others) = (elsewhere + scan.elsewhere, by_others + scan.by_others);
    }
    let remarks = [
        (others, Remark::OtherRecords { records: others }),
        (elsewhere, Remark::OtherPlace { records: elsewhere }),
        (by_others, Remark::OtherProcess { records: by_others }),
    ];
    remarks.into_iter().filter(|(count, _)| *count > 0).map(|(_, remark)| remark).collect()
}

fn recount(numbers: &Numbers) -> impl Iterator<Item = Remark> {
    let open = Some(numbers.open_calls()).filter(|calls| !calls.is_empty()).map(Remark::OpenCalls);
    let bare = Some(numbers.bare_ends()).filter(|calls| !calls.is_empty()).map(Remark::BareEnds);
    open.into_iter().chain(bare)
}

/// What the journal does not have. What it cannot say is not held against a manifest: it forgets, and may be off.
fn compare(scans: &[(PathBuf, Scan)], not_asked: Option<String>) -> Option<Remark> {
    if let Some(why) = not_asked {
        return Some(Remark::NoJournal(why));
    }
    let of: u64 = scans.iter().map(|(_, scan)| scan.records).sum();
    let missing = of - scans.iter().map(|(_, scan)| scan.confirmed).sum::<u64>();
    (missing > 0).then_some(Remark::NotInJournal { missing, of })
}
