//! Finds the place to begin at: the last calls that are asked for, searched from the end backwards, so that
//! a long history costs nothing when only its end is asked for.

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
    /// The last calls, as many as this.
    Last(usize),
}

/// A part of the files that cannot be shown.
#[derive(Debug)]
pub enum UnreadPart {
    /// A file, or the part of it behind its beginning, cannot be read.
    Unread(ReadError),
    /// Lines that are no records.
    Foreign {
        /// The file.
        path: PathBuf,
        /// The number of the first such line, from 1.
        line: u64,
        /// The number of places with one or several such lines.
        places: usize,
    },
}

/// The files of a manifest, and the place in them to begin at.
#[derive(Debug)]
pub struct CallHistory {
    /// The oldest first.
    files: Vec<FilePart>,
    begin: u64,
    /// The number of calls that are asked for, from there on.
    calls: usize,
    unshown: Vec<UnreadPart>,
}

/// One file from some line on, and which of its lines are records.
#[derive(Debug)]
struct FilePart {
    source: ManifestSource,
    standing: LineClassifier,
    stood: ClassifiedLines,
    /// The end of the last line that was looked at.
    end: u64,
}

impl CallHistory {
    /// Looks for the last `count` calls in these files, given from the oldest to the newest. Goes back until
    /// they are found, or until the records are older than the query asks for.
    pub fn find(paths: &[PathBuf], filter: &LineFilter, count: CallCount) -> Self {
        let mut history = Self { files: Vec::new(), begin: 0, calls: 0, unshown: Vec::new() };
        // The hash of the file's last line, from the mark beside the manifest, or from the file that was
        // begun after it.
        let mut anchor = paths.last().and_then(|path| noted(path));
        for (index, path) in paths.iter().enumerate().rev() {
            let source = match ManifestSource::open(path) {
                Ok(source) => source,
                // Rotation may just have moved the file away, or may not have made it yet.
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

/// A file, and how far it was read.
#[derive(Debug)]
pub struct ReadPosition {
    pub(super) source: ManifestSource,
    pub(super) at: u64,
    pub(super) standing: LineClassifier,
}

impl FilePart {
    /// Gives a file, the place in it to begin at, and the part of it that cannot be shown. Only the lines
    /// from that place on are held against the chain; if one of them does not fit, or if nothing shows that
    /// they are the end of this file, all lines are.
    fn look(
        source: ManifestSource,
        filter: &LineFilter,
        wanted: usize,
        anchor: Option<Digest>,
    ) -> io::Result<(Self, FileFindings, Option<UnreadPart>)> {
        let seen = look(&source, filter, wanted, &|_| false)?;
        let begin = if source.plain().is_some() { seen.begin } else { 0 };
        let (mut scan, mut seen) = (ChainScan::of(&source, begin, anchor)?, seen);
        // A run of lines from there on may fit together and still not lead to the line that the mark names.
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
    /// The error that ended the reading of a packed file before its end.
    failed: Option<io::Error>,
}

impl ChainScan {
    /// Holds the lines from this place on against the chain.
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
                // The broker is just writing this line.
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

/// A plain file, read from this place on.
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
    /// The place of the first call that is wanted, or the first place that was looked at.
    begin: u64,
    calls: usize,
    /// No call before that place is wanted.
    is_enough: bool,
}

/// A function that tells whether the line at a place is foreign.
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

/// Searches a plain file, block by block from its end.
fn look_back(
    file: &File,
    filter: &LineFilter,
    wanted: usize,
    is_foreign: ForeignTest<'_>,
) -> io::Result<FileFindings> {
    let mut blocks = BackwardLines::new(file)?;
    let mut seen = FileFindings { begin: u64::MAX, calls: 0, is_enough: wanted == 0 };
    while let Some((at, lines)) = blocks.next_lines()? {
        // Where no call is asked for, reading begins behind the last line.
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

/// The time of the first of these lines that has a record's head.
fn first_ts(lines: &[u8]) -> Option<u64> {
    lines.split(|&byte| byte == b'\n').find_map(RecordHead::of).map(|head| head.ts)
}

/// The places of the calls in these lines that are asked for.
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

/// Searches a packed file, which can only be read from its beginning on.
fn look_through(
    source: &ManifestSource,
    filter: &LineFilter,
    wanted: usize,
    is_foreign: ForeignTest<'_>,
) -> io::Result<FileFindings> {
    let mut places = VecDeque::new();
    let mut first_ts = None;
    let mut total = 0usize;
    // An error of unpacking is reported when the lines are held against the chain.
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
