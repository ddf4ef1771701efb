//! Where to begin: the place of the last calls that are asked for, found from the end on, so that a long
//! history costs nothing when only its end is asked for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::audit::write::mark::noted;
use crate::limits::RECORD_LINE_BYTES_MAX;

use super::blocks::{BackwardLines, each_line, split};
use super::filter::LineFilter;
use super::matcher::{CallMatcher, LineConsumer};
use crate::audit::chain::Digest;
use crate::audit::read::{
    ClassifiedLines, LineClassifier, ManifestLines, ManifestSource, ReadError, RecordHead,
};

/// How many calls are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallCount {
    /// Every call.
    All,
    /// The last.
    Last(usize),
}

/// A part of the files that cannot be shown.
#[derive(Debug)]
pub enum UnreadPart {
    /// A file, or what comes after its beginning, cannot be read.
    Unread(ReadError),
    /// Lines that are no records.
    Foreign {
        /// The file.
        path: PathBuf,
        /// The first of them, from 1.
        line: u64,
        /// Places with one or several of them.
        places: usize,
    },
}

/// The files of a manifest, and the place in them to begin at.
#[derive(Debug)]
pub struct CallHistory {
    /// The oldest first.
    files: Vec<FilePart>,
    begin: u64,
    /// Calls that are asked for, from there on.
    calls: usize,
    unshown: Vec<UnreadPart>,
}

/// One file, and which of its lines are records, from some line on.
#[derive(Debug)]
struct FilePart {
    source: ManifestSource,
    standing: LineClassifier,
    stood: ClassifiedLines,
    /// The end of the lines that were looked at.
    end: u64,
}

impl CallHistory {
    /// Looks for the last `count` calls in these files, of which the oldest comes first. Goes back until they
    /// are found, or until the records are older than what is asked for.
    pub fn find(paths: &[PathBuf], filter: &LineFilter, count: CallCount) -> Self {
        let mut history = Self { files: Vec::new(), begin: 0, calls: 0, unshown: Vec::new() };
        // What a file ends with, by the word of the mark, or of the file that was begun after it.
        let mut anchor = paths.last().and_then(|path| noted(path));
        for (index, path) in paths.iter().enumerate().rev() {
            let source = match ManifestSource::open(path) {
                Ok(source) => source,
                // Rotation may have taken it just now, or has not made it yet.
                Err(error) if error.is_missing() && (index + 1 < paths.len() || index > 0) => continue,
                Err(error) => {
                    history.unshown.push(UnreadPart::Unread(error));
                    continue;
                }
            };
            let wanted = match count {
                CallCount::All => usize::MAX,
                CallCount::Last(count) => count - history.calls,
            };
            let first = first_prev(&source);
            match FilePart::look(source, filter, wanted, anchor) {
                Ok((part, seen, unshown)) => {
                    history.unshown.extend(unshown);
                    history.calls += seen.calls;
                    history.begin = seen.begin;
                    history.files.insert(0, part);
                    if seen.is_enough {
                        break;
                    }
                }
                Err(error) => history.unshown.push(UnreadPart::Unread(ReadError::io(path, error))),
            }
            anchor = first;
        }
        history
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The parts that cannot be shown, the newest first.
    pub fn unshown(&mut self) -> Vec<UnreadPart> {
        std::mem::take(&mut self.unshown)
    }

    /// Hands each record of the calls to `take`. Gives the newest file, and how far it was read.
    pub fn read(
        self,
        matcher: &mut CallMatcher,
        take: &mut LineConsumer<'_>,
    ) -> io::Result<Option<ReadPosition>> {
        let mut begin = self.begin;
        let mut newest = None;
        for FilePart { source, standing, stood, end } in self.files {
            let mut pick = |at, line: &[u8]| {
                let is_record = at < end && !stood.is_foreign(at);
                match is_record.then(|| matcher.take(line)).flatten() {
                    Some((head, found)) => take(head, found, line),
                    None => Ok(()),
                }
            };
            match source.plain() {
                Some(file) => drop(each_line(OpenedAt { file, at: begin }, begin, pick)?),
                None => drop(each_line(source.bytes()?.take(end), 0, |at, line| {
                    if at < begin { Ok(()) } else { pick(at, line) }
                })?),
            }
            begin = 0;
            newest = Some(ReadPosition { source, at: end, standing });
        }
        Ok(newest)
    }
}

/// How far a file was read.
#[derive(Debug)]
pub struct ReadPosition {
    pub(super) source: ManifestSource,
    pub(super) at: u64,
    pub(super) standing: LineClassifier,
}

impl FilePart {
    /// A file, the place in it to begin at, and what cannot be shown of it. Lines are held against the chain
    /// from there on; where one does not fit, or nothing says that they are the end of this file, all of them
    /// are.
    fn look(
        source: ManifestSource,
        filter: &LineFilter,
        wanted: usize,
        anchor: Option<Digest>,
    ) -> io::Result<(Self, FileFindings, Option<UnreadPart>)> {
        let seen = look(&source, filter, wanted, &|_| false)?;
        let begin = if source.plain().is_some() { seen.begin } else { 0 };
        let (mut scan, mut seen) = (ChainScan::of(&source, begin, anchor)?, seen);
        // Lines from there on may be clean by themselves and lead nowhere.
        let is_sure = scan.stood.is_clean() && (scan.stood.last.is_none() || scan.stood.has_anchor);
        if begin > 0 && !is_sure {
            scan = ChainScan::of(&source, 0, anchor)?;
        }
        let mut unshown = None;
        if let Some(foreign) = scan.stood.foreign.first() {
            let (path, places) = (source.path().to_owned(), scan.stood.foreign.len());
            unshown = Some(UnreadPart::Foreign { path, line: foreign.line, places });
            seen = look(&source, filter, wanted, &|at| scan.stood.is_foreign(at))?;
        }
        if let Some(error) = scan.failed {
            unshown = Some(UnreadPart::Unread(ReadError::io(source.path(), error)));
        }
        let ChainScan { standing, stood, end, .. } = scan;
        Ok((Self { source, standing, stood, end }, seen, unshown))
    }
}

/// A file's lines held against the chain.
struct ChainScan {
    standing: LineClassifier,
    stood: ClassifiedLines,
    end: u64,
    /// Why what is packed ends before its end.
    failed: Option<io::Error>,
}

impl ChainScan {
    /// From the line at this place on.
    fn of(source: &ManifestSource, from: u64, anchor: Option<Digest>) -> io::Result<Self> {
        let bytes: Box<dyn io::Read + '_> = match source.plain() {
            Some(file) => Box::new(OpenedAt { file, at: from }),
            None => source.bytes()?,
        };
        let mut lines = ManifestLines::from(bytes, from);
        let mut standing =
            if from == 0 { LineClassifier::new(anchor) } else { LineClassifier::within(anchor) };
        let (mut end, mut failed) = (from, None);
        loop {
            match lines.read_line() {
                // A line that is being written.
                Ok(Some(line))
                    if !line.ended && !line.continues && line.bytes.len() < RECORD_LINE_BYTES_MAX =>
                {
                    break;
                }
                Ok(Some(line)) => {
                    standing.add(&line);
                    end = line.at + line.bytes.len() as u64 + u64::from(line.ended);
                }
                Ok(None) => break,
                Err(error) if source.plain().is_none() => {
                    failed = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let stood = standing.clone().finish();
        Ok(Self { standing, stood, end, failed })
    }
}

/// The `prev` of a file's first line.
fn first_prev(source: &ManifestSource) -> Option<Digest> {
    let mut lines = ManifestLines::new(source.bytes().ok()?);
    Digest::before(lines.read_line().ok()??.bytes)
}

/// A plain file from a place on.
pub(super) struct OpenedAt<'a> {
    pub(super) file: &'a File,
    pub(super) at: u64,
}

impl io::Read for OpenedAt<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read_at(into, self.at)?;
        self.at += bytes as u64;
        Ok(bytes)
    }
}

/// The place and the number of calls that were found in one file.
#[derive(Debug)]
struct FileFindings {
    /// The place of the first call that is wanted, or of the first line that was looked at.
    begin: u64,
    calls: usize,
    /// Nothing before that place is wanted.
    is_enough: bool,
}

/// Whether the line at this place is foreign.
type ForeignTest<'a> = &'a dyn Fn(u64) -> bool;

fn look(
    source: &ManifestSource,
    filter: &LineFilter,
    wanted: usize,
    is_foreign: ForeignTest<'_>,
) -> io::Result<FileFindings> {
    if wanted == usize::MAX && filter.since().is_none() {
        return Ok(FileFindings { begin: 0, calls: 0, is_enough: false });
    }
    match source.plain() {
        Some(file) => look_back(file, filter, wanted, is_foreign),
        None => look_through(source, filter, wanted, is_foreign),
    }
}

/// A plain file, block by block from its end.
fn look_back(
    file: &File,
    filter: &LineFilter,
    wanted: usize,
    is_foreign: ForeignTest<'_>,
) -> io::Result<FileFindings> {
    let mut blocks = BackwardLines::new(file)?;
    let mut seen = FileFindings { begin: u64::MAX, calls: 0, is_enough: wanted == 0 };
    while let Some((at, lines)) = blocks.next_lines()? {
        // Where nothing is asked for, reading begins behind the last line.
        seen.begin = seen.begin.min(at + lines.len() as u64);
        if seen.is_enough {
            break;
        }
        seen.is_enough = filter.since().zip(first_ts(lines)).is_some_and(|(since, ts)| ts < since);
        if wanted == usize::MAX {
            seen.begin = at;
            continue;
        }
        let mut places = places(lines, at, filter)?;
        places.retain(|place| !is_foreign(*place));
        let over = (seen.calls + places.len()).saturating_sub(wanted);
        seen.is_enough |= seen.calls + places.len() >= wanted;
        seen.begin = places.get(over).copied().unwrap_or(seen.begin);
        seen.calls += places.len() - over;
    }
    Ok(FileFindings { begin: if seen.begin == u64::MAX { 0 } else { seen.begin }, ..seen })
}

/// The time of the first record that has one in front.
fn first_ts(lines: &[u8]) -> Option<u64> {
    lines.split(|&byte| byte == b'\n').find_map(RecordHead::of).map(|head| head.ts)
}

/// The places of the calls that are asked for.
fn places(lines: &[u8], at: u64, filter: &LineFilter) -> io::Result<Vec<u64>> {
    let mut places = Vec::new();
    split(lines, at, &mut |at, line| {
        if RecordHead::of(line).is_some_and(|head| filter.takes(&head, line)) {
            places.push(at);
        }
        Ok(())
    })?;
    Ok(places)
}

/// A packed file, which can only be read from its beginning on.
fn look_through(
    source: &ManifestSource,
    filter: &LineFilter,
    wanted: usize,
    is_foreign: ForeignTest<'_>,
) -> io::Result<FileFindings> {
    let mut places = VecDeque::new();
    let mut first_ts = None;
    let mut total = 0usize;
    // What cannot be unpacked is said when the lines are held against the chain.
    let read = each_line(source.bytes()?, 0, |at, line| {
        let Some(head) = RecordHead::of(line).filter(|_| !is_foreign(at)) else { return Ok(()) };
        first_ts.get_or_insert(head.ts);
        if filter.takes(&head, line) {
            total += 1;
            places.push_back(at);
            if places.len() > wanted {
                places.pop_front();
            }
        }
        Ok(())
    });
    read.or_else(|error| if error.raw_os_error().is_none() { Ok(0) } else { Err(error) })?;
    let is_old = filter.since().zip(first_ts).is_some_and(|(since, ts)| ts < since);
    let begin = places.front().copied().filter(|_| total >= wanted).unwrap_or(0);
    Ok(FileFindings { begin, calls: total.min(wanted), is_enough: total >= wanted || is_old })
}
