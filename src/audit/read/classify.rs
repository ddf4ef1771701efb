//! Judges by the chain which lines of a manifest are records. This is the one place for that: for the broker
//! that goes on after the lines, for `log` and for `verify`. A record follows the record before it. The part
//! of a record that an interrupted write left is vouched for by the `open` after it. All other lines are
//! foreign, and nothing that they say is believed. No broker writes after its `close`: a record that follows
//! one is foreign unless it is an `open`, and so are the lines that follow that record, up to an `open`.
//!
//! Lines that follow each other are a *run*. A file that nobody changed is one run. Where a line follows
//! none of the lines before it, a new run begins; a line that follows the end of an earlier run shows that
//! the lines in between were put there. Of several runs that are left at the end, two are believed: the
//! first one, which follows the beginning of the file, and the last one, which leads to the file's end, or
//! to the line that the mark beside the manifest names.

#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::de::IgnoredAny;

use crate::audit::chain::Digest;
use crate::audit::record::kind::RecordKind;
use crate::limits::{FOREIGN_PLACES_MAX, RECORD_LINE_BYTES_MAX, RUNS_MAX};

use super::lines::ManifestLine;
use super::record::ParsedRecord;

/// The relation of a line to the lines before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRelation {
    /// It follows the record before it, or is the first.
    Follows,
    /// It follows an earlier record: the lines between the two are foreign.
    Returns,
    /// It says that it follows a line that is not there.
    Elsewhere,
    /// It repeats the last line of a run.
    Repeats,
    /// It follows a `close`, and is no `open`; or it follows such a line.
    AfterClose,
    /// It has no `prev`.
    Bare,
}

impl LineRelation {
    /// Whether the line is a record, as far as can be said before the end of the file is known.
    pub fn is_record(self) -> bool {
        matches!(self, Self::Follows | Self::Returns)
    }
}

/// A place in a file where no record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPlace {
    /// The offsets of its bytes in the file.
    pub at: Range<u64>,
    /// The number of its first line, from 1.
    pub line: u64,
}

/// A torn line: the beginning of a record, without a newline, as an interrupted write leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornLine {
    /// The number of its bytes.
    pub bytes: u64,
    /// The hash of its bytes.
    pub hash: Digest,
}

/// Lines that follow each other.
#[derive(Clone, Debug)]
struct LineRun {
    /// Where its first line begins.
    first: u64,
    /// Where its last line begins, and the number of that line.
    last: (u64, u64),
    /// Where it ends, and the number of the line after it.
    end: (u64, u64),
    /// The hash of its last line, and the `prev` of that line.
    hash: Digest,
    before: Digest,
    has_anchor: bool,
    kind: LineKind,
    /// The hash of the `close` that its first line follows, if that line is no `open`.
    after_close: Option<Digest>,
}

/// The kinds of lines, as far as they decide on the line after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    Open,
    Close,
    Other,
}

impl LineKind {
    /// The kind of a whole line, which begins with [`HEAD`].
    fn of(line: &[u8]) -> Self {
        match &line[HEAD.len()..] {
            [b'o', b'p', b'e', b'n', b'"', ..] => Self::Open,
            [b'c', b'l', b'o', b's', b'e', b'"', ..] => Self::Close,
            _ => Self::Other,
        }
    }
}

/// A line without a `prev`, until the next line vouches for it or does not.
#[derive(Clone, Debug)]
struct UnlinkedLine {
    place: ForeignPlace,
    torn: Option<TornLine>,
    ended: bool,
}

/// The lines of a file, or of the end of one, held against the chain one after the other.
#[derive(Clone, Debug, Default)]
pub struct LineClassifier {
    runs: Vec<LineRun>,
    foreign: Vec<ForeignPlace>,
    bare: Option<UnlinkedLine>,
    anchor: Option<Digest>,
    hash: Option<Digest>,
    is_within: bool,
    is_full: bool,
    torn: u64,
    end: u64,
    ended: bool,
}

impl LineClassifier {
    /// A classifier for a file from its beginning on. `anchor` is the hash of a line that is known to be a
    /// record.
    pub fn new(anchor: Option<Digest>) -> Self {
        Self { anchor, ended: true, ..Self::default() }
    }

    /// A classifier for a file from some line on: the file's beginning does not vouch for lines that follow
    /// only that line.
    pub fn within(anchor: Option<Digest>) -> Self {
        Self { is_within: true, ..Self::new(anchor) }
    }

    /// Takes in the next line.
    pub fn add(&mut self, line: &ManifestLine<'_>) -> LineRelation {
        let at = line.at..line.at + line.bytes.len() as u64 + u64::from(line.ended);
        (self.end, self.ended) = (at.end, line.ended);
        if line.continues {
            self.go_on(at.end);
            return LineRelation::Bare;
        }
        // A piece of a line that is too long for a broker may end like a record.
        let may_be = line.bytes.starts_with(HEAD) && line.bytes.len() < RECORD_LINE_BYTES_MAX;
        let whole = Digest::before(line.bytes).filter(|_| may_be);
        let begins = |prev| self.runs.iter().all(|run| run.hash != prev);
        let whole =
            whole.filter(|prev| !begins(*prev) || serde_json::from_slice::<IgnoredAny>(line.bytes).is_ok());
        let Some(prev) = whole else { return self.add_bare(line, at) };
        let hash = Digest::of_line(line.bytes);
        self.hash = Some(hash);
        let run = LineRun {
            first: at.start,
            last: (at.start, line.number),
            end: (at.end, line.number + 1),
            hash,
            before: prev,
            has_anchor: false,
            kind: LineKind::of(line.bytes),
            after_close: None,
        };
        self.settle_bare(line.bytes, prev);
        self.add_whole(run)
    }

    /// The hash of the last line that has a `prev`.
    pub(in crate::audit) fn last_hash(&self) -> Option<Digest> {
        self.hash
    }

    /// The number of torn lines so far that the record after them vouches for.
    pub(in crate::audit) fn torn_lines(&self) -> u64 {
        self.torn
    }

    /// Whether the last line may be the part of a record that an interrupted write left.
    pub(in crate::audit) fn is_torn(&self) -> bool {
        self.bare.as_ref().is_some_and(|bare| bare.torn.is_some())
    }

    fn add_whole(&mut self, line: LineRun) -> LineRelation {
        let is_anchor = |digest| self.anchor == Some(digest);
        // Where the lines before were not read, the line before may be a `close`, and then this line has no
        // place there.
        let is_first = self.runs.is_empty() && !self.is_within;
        let line = LineRun { has_anchor: is_anchor(line.hash) || is_first && is_anchor(line.before), ..line };
        if self.runs.iter().any(|run| run.hash == line.hash) {
            self.hole(ForeignPlace { at: line.first..line.end.0, line: line.last.1 });
            return LineRelation::Repeats;
        }
        let Some(index) = self.runs.iter().rposition(|run| run.hash == line.before) else {
            let relation = if self.runs.is_empty() { LineRelation::Follows } else { LineRelation::Elsewhere };
            self.begin(line);
            return relation;
        };
        let index = match (line.kind, &self.runs[index]) {
            (LineKind::Open, run) => self.before_close(run).unwrap_or(index),
            (_, run) if run.kind == LineKind::Close && run.after_close.is_none() => {
                let after_close = Some(run.hash);
                self.begin(LineRun { has_anchor: false, after_close, ..line });
                return LineRelation::AfterClose;
            }
            (_, run) if run.after_close.is_some() => {
                self.runs[index] =
                    LineRun { first: run.first, has_anchor: false, after_close: run.after_close, ..line };
                return LineRelation::AfterClose;
            }
            _ => index,
        };
        let is_last = index + 1 == self.runs.len();
        if self.runs[index + 1..].iter().any(|run| run.has_anchor) {
            self.begin(line);
            return LineRelation::Elsewhere;
        }
        if !is_last {
            let end = self.runs[index].end;
            while self.foreign.pop_if(|foreign| foreign.at.start >= end.0).is_some() {}
            self.runs.truncate(index + 1);
            self.hole(ForeignPlace { at: end.0..line.first, line: end.1 });
        }
        let run = &mut self.runs[index];
        let has_anchor = run.has_anchor || line.has_anchor;
        *run = LineRun { first: run.first, has_anchor, ..line };
        if is_last { LineRelation::Follows } else { LineRelation::Returns }
    }

    /// The run that ends with the `close` after which the lines of `run` were put. A broker that took these
    /// lines for records went on after them; its own lines are records.
    fn before_close(&self, run: &LineRun) -> Option<usize> {
        let close = run.after_close?;
        self.runs.iter().position(|run| run.hash == close)
    }

    fn begin(&mut self, run: LineRun) {
        if self.runs.len() == RUNS_MAX {
            // A run that is neither the first nor the last is not believed in any case.
            let index = self.runs.iter().skip(1).position(|run| !run.has_anchor);
            self.runs.remove(1 + index.unwrap_or_default());
        }
        self.runs.push(run);
    }

    fn add_bare(&mut self, line: &ManifestLine<'_>, at: Range<u64>) -> LineRelation {
        self.drop_bare();
        let torn = is_torn(line.bytes)
            .then(|| TornLine { bytes: line.bytes.len() as u64, hash: Digest::of_line(line.bytes) });
        self.bare =
            Some(UnlinkedLine { place: ForeignPlace { at, line: line.number }, torn, ended: line.ended });
        LineRelation::Bare
    }

    /// Takes in a further piece of the last line, which is then too long to be torn.
    fn go_on(&mut self, end: u64) {
        if let Some(bare) = &mut self.bare {
            (bare.place.at.end, bare.torn) = (end, None);
        }
    }

    /// Judges the line without a `prev` before this one: an `open` that names its length and hash vouches
    /// for it.
    fn settle_bare(&mut self, line: &[u8], prev: Digest) {
        let Some(torn) = self.bare.as_ref().and_then(|bare| bare.torn) else { return self.drop_bare() };
        let follows = self.runs.iter().any(|run| run.hash == prev);
        if (follows || self.runs.is_empty()) && vouches(line, torn) {
            self.bare = None;
            self.torn += 1;
        }
        self.drop_bare();
    }

    fn drop_bare(&mut self) {
        if let Some(bare) = self.bare.take() {
            self.hole(bare.place);
        }
    }

    fn hole(&mut self, place: ForeignPlace) {
        if let Some(last) = self.foreign.last_mut().filter(|last| last.at.end == place.at.start) {
            last.at.end = place.at.end;
        } else if self.foreign.len() < FOREIGN_PLACES_MAX {
            self.foreign.push(place);
        } else {
            self.is_full = true;
        }
    }
}

/// The lines of a file, each judged.
#[derive(Debug, PartialEq, Eq)]
pub struct ClassifiedLines {
    /// The places where the file holds no record, from the front on.
    pub foreign: Vec<ForeignPlace>,
    /// The hash and the `prev` of the last record.
    pub last: Option<(Digest, Digest)>,
    /// Whether the mark's line is among the records.
    pub has_anchor: bool,
    /// Where the last record ends.
    pub end: u64,
    /// Where the first record of the last run begins, if the file has an earlier run.
    pub gap: Option<u64>,
    /// Where the last line of the file's first run begins, in the same case. That line is foreign, because
    /// no line after it vouches for it.
    pub unvouched: Option<u64>,
    /// The torn line at the end.
    pub torn: Option<TornLine>,
    /// The number of torn lines that the record after them vouches for.
    pub torn_lines: u64,
    /// Whether its last line has its newline.
    pub is_ended: bool,
    /// Whether there are more places without a record than are counted.
    pub is_full: bool,
}

impl LineClassifier {
    /// Judges the lines, at the end of the file.
    pub fn finish(mut self) -> ClassifiedLines {
        let torn = self.bare.as_ref().filter(|bare| !bare.ended).and_then(|bare| bare.torn);
        if torn.is_some() {
            self.bare = None;
        }
        self.drop_bare();
        let top = self.runs.iter().rposition(|run| run.after_close.is_none()).unwrap_or_default();
        let index = self.runs.iter().rposition(|run| run.has_anchor).unwrap_or(top);
        let Some(last) = self.runs.get(index).cloned() else { return self.stood(None, None, torn) };
        let unvouched = self.runs[0].last.0;
        if index > 0 {
            let first = self.runs[0].clone();
            // No line after it vouches for the last line of a run: it may be the line that was changed.
            let (at, line) = if self.is_within { (first.first, 0) } else { first.last };
            self.cover(ForeignPlace { at: at..last.first, line });
        }
        if index + 1 < self.runs.len() {
            let end = self.end - torn.map_or(0, |torn| torn.bytes);
            self.cover(ForeignPlace { at: last.end.0..end, line: last.end.1 });
        }
        self.stood(Some(&last), (index > 0).then_some(unvouched), torn)
    }

    /// Makes all lines in a place foreign.
    fn cover(&mut self, place: ForeignPlace) {
        self.foreign.retain(|foreign| !place.at.contains(&foreign.at.start));
        self.foreign.push(place);
        self.foreign.sort_unstable_by_key(|foreign| foreign.at.start);
    }

    fn stood(
        self,
        last: Option<&LineRun>,
        unvouched: Option<u64>,
        torn: Option<TornLine>,
    ) -> ClassifiedLines {
        ClassifiedLines {
            foreign: self.foreign,
            last: last.map(|run| (run.hash, run.before)),
            has_anchor: last.is_some_and(|run| run.has_anchor),
            end: last.map_or(0, |run| run.end.0),
            gap: last.filter(|_| unvouched.is_some()).map(|run| run.first),
            unvouched,
            torn,
            torn_lines: self.torn,
            is_ended: self.ended,
            is_full: self.is_full,
        }
    }
}

impl ClassifiedLines {
    /// Whether every line is a record, or torn.
    pub fn is_clean(&self) -> bool {
        self.foreign.is_empty() && !self.is_full
    }

    /// Whether the line that begins at this offset is foreign.
    pub fn is_foreign(&self, at: u64) -> bool {
        let after = self.foreign.partition_point(|foreign| foreign.at.start <= at);
        after > 0 && self.foreign[after - 1].at.contains(&at)
    }
}

/// The bytes that every record begins with.
const HEAD: &[u8] = b"{\"kind\":\"";

/// Whether these bytes can be the part of a record that an interrupted write left: they begin like a record,
/// and lack its end.
fn is_torn(bytes: &[u8]) -> bool {
    let begun = bytes.len().min(HEAD.len());
    let kind = bytes[begun..].split(|&byte| byte == b'"').next().unwrap_or_default();
    let is_known = if bytes.len() > HEAD.len() + kind.len() {
        RecordKind::of(kind).is_some()
    } else {
        RecordKind::begins_with(kind)
    };
    let is_plain = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let lacks_end = serde_json::from_slice::<IgnoredAny>(bytes).is_err_and(|error| error.is_eof());
    !bytes.is_empty() && bytes[..begun] == HEAD[..begun] && is_known && is_plain && lacks_end
}

/// Whether a line is an `open` that names the length and the hash of a torn line.
fn vouches(line: &[u8], torn: TornLine) -> bool {
    let open = ParsedRecord::of(line).filter(|record| record.kind == RecordKind::Open);
    open.is_some_and(|open| {
        let hash = open.torn_sha256.and_then(|hash| Digest::of(hash.as_bytes()));
        open.torn == torn.bytes && hash == Some(torn.hash)
    })
}
