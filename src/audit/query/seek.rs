//! Where to begin: the place of the last calls that are asked for, found from the end on, so that a long history costs
//! nothing when only its end is asked for.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::super::read::{Head, ReadError, Source};
use super::blocks::{Backward, each_line, split};
use super::filter::Filter;
use super::matcher::{Matcher, Take};

/// How many calls are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// All.
    All,
    /// The last.
    Last(usize),
}

/// Why older calls than those that were found are not looked at.
#[derive(Debug)]
pub struct Skipped(pub ReadError);

/// The files of a manifest, and the place in them to begin at.
#[derive(Debug)]
pub struct History {
    /// The oldest first.
    files: Vec<Source>,
    begin: u64,
    /// Calls that are asked for, from there on.
    calls: usize,
}

impl History {
    /// Looks for the last `count` calls in these files, of which the oldest comes first. Goes back until they are
    /// found, or until the records are older than what is asked for.
    pub fn find(paths: &[PathBuf], filter: &Filter, count: Count) -> io::Result<(Self, Option<Skipped>)> {
        let mut history = Self { files: Vec::new(), begin: 0, calls: 0 };
        for (index, path) in paths.iter().enumerate().rev() {
            let source = match Source::open(path) {
                Ok(source) => source,
                // Rotation may have taken it just now, or has not made it yet.
                Err(error) if error.is_missing() && (index + 1 < paths.len() || index > 0) => continue,
                Err(error) => return Ok((history, Some(Skipped(error)))),
            };
            let wanted = match count {
                Count::All => usize::MAX,
                Count::Last(count) => count - history.calls,
            };
            let seen = look(&source, filter, wanted)?;
            history.calls += seen.calls;
            history.begin = seen.begin;
            history.files.insert(0, source);
            if seen.is_enough {
                break;
            }
        }
        Ok((history, None))
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Hands each record of the calls to `take`. Gives the newest file, and how far it was read.
    pub fn read(self, matcher: &mut Matcher, take: &mut Take<'_>) -> io::Result<Option<(Source, u64)>> {
        let mut begin = self.begin;
        let mut newest = None;
        for source in self.files {
            let mut pick = |_, line: &[u8]| match matcher.take(line) {
                Some((head, found)) => take(head, found, line),
                None => Ok(()),
            };
            let end = match source.plain() {
                Some(file) => each_line(At { file, at: begin }, begin, pick)?,
                None => each_line(
                    source.bytes()?,
                    0,
                    |at, line| if at < begin { Ok(()) } else { pick(at, line) },
                )?,
            };
            begin = 0;
            newest = Some((source, end));
        }
        Ok(newest)
    }
}

/// A plain file from a place on.
pub(super) struct At<'a> {
    pub(super) file: &'a File,
    pub(super) at: u64,
}

impl io::Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read_at(into, self.at)?;
        self.at += bytes as u64;
        Ok(bytes)
    }
}

/// What was found in one file.
#[derive(Debug)]
struct Seen {
    /// The place of the first call that is wanted, or of the first line that was looked at.
    begin: u64,
    calls: usize,
    /// Nothing before that place is wanted.
    is_enough: bool,
}

fn look(source: &Source, filter: &Filter, wanted: usize) -> io::Result<Seen> {
    if wanted == usize::MAX && filter.since().is_none() {
        return Ok(Seen { begin: 0, calls: 0, is_enough: false });
    }
    match source.plain() {
        Some(file) => look_back(file, filter, wanted),
        None => look_through(source, filter, wanted),
    }
}

/// A plain file, block by block from its end.
fn look_back(file: &File, filter: &Filter, wanted: usize) -> io::Result<Seen> {
    let mut blocks = Backward::new(file)?;
    let mut seen = Seen { begin: u64::MAX, calls: 0, is_enough: wanted == 0 };
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
        let places = places(lines, at, filter)?;
        let over = (seen.calls + places.len()).saturating_sub(wanted);
        seen.is_enough |= seen.calls + places.len() >= wanted;
        seen.begin = places.get(over).copied().unwrap_or(seen.begin);
        seen.calls += places.len() - over;
    }
    Ok(Seen { begin: if seen.begin == u64::MAX { 0 } else { seen.begin }, ..seen })
}

/// The time of the first record that has one in front.
fn first_ts(lines: &[u8]) -> Option<u64> {
    lines.split(|&byte| byte == b'\n').find_map(Head::of).map(|head| head.ts)
}

/// The places of the calls that are asked for.
fn places(lines: &[u8], at: u64, filter: &Filter) -> io::Result<Vec<u64>> {
    let mut places = Vec::new();
    split(lines, at, &mut |at, line| {
        if Head::of(line).is_some_and(|head| filter.takes(&head, line)) {
            places.push(at);
        }
        Ok(())
    })?;
    Ok(places)
}

/// A packed file, which can only be read from its beginning on.
fn look_through(source: &Source, filter: &Filter, wanted: usize) -> io::Result<Seen> {
    let mut places = VecDeque::new();
    let mut first_ts = None;
    let mut total = 0usize;
    each_line(source.bytes()?, 0, |at, line| {
        let Some(head) = Head::of(line) else { return Ok(()) };
        first_ts.get_or_insert(head.ts);
        if filter.takes(&head, line) {
            total += 1;
            places.push_back(at);
            if places.len() > wanted {
                places.pop_front();
            }
        }
        Ok(())
    })?;
    let is_old = filter.since().zip(first_ts).is_some_and(|(since, ts)| ts < since);
    let begin = places.front().copied().filter(|_| total >= wanted).unwrap_or(0);
    Ok(Seen { begin, calls: total.min(wanted), is_enough: total >= wanted || is_old })
}
