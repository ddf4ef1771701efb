//! Checks the chain within one file, line by line. `../read/classify.rs` decides which lines are records;
//! here, the lines around a fault show what kind of fault it is. The first line that does not fit is
//! reported.

use super::finding::ChainFinding;
use super::journal_index::{Confirmation, JournalIndex, JournalProcess};
use super::numbers::CallNumbers;
use crate::audit::chain::Digest;
use crate::audit::read::{LineClassifier, LineRelation, ManifestLine, ParsedRecord};
use crate::audit::record::kind::RecordKind;

/// The lines of one file, counted, and the first one that does not fit.
#[derive(Debug, Default)]
pub(super) struct FileScan {
    standing: LineClassifier,
    /// A line that does not follow the line before it, until the next line shows why.
    held: Option<HeldLine>,
    /// The first line without a `prev` since the last record, and the number of such lines since.
    bare: Option<(u64, u64)>,
    last: Option<Digest>,
    lines: u64,
    pub(super) first: Option<Digest>,
    /// The file does not begin as a broker begins a file.
    pub(super) is_headless: bool,
    pub(super) records: u64,
    pub(super) torn_lines: u64,
    /// Records that the journal has from the broker, and how many of them it has from a manifest in another
    /// place.
    pub(super) confirmed: u64,
    pub(super) elsewhere: u64,
    /// Records that the journal has from other processes.
    pub(super) by_others: u64,
    /// The times of the first record and the last, in milliseconds since 1970.
    pub(super) times: Option<(u64, u64)>,
    /// The process of the broker that wrote the next records.
    broker: Option<JournalProcess>,
    pub(super) finding: Option<(u64, ChainFinding)>,
}

/// A line that does not follow the line before it.
#[derive(Debug)]
struct HeldLine {
    number: u64,
    /// Its `prev`.
    prev: Digest,
    /// The hash of the line before.
    before: Digest,
    hash: Digest,
}

impl FileScan {
    /// The hash of the last record: the `prev` of the next file's first line.
    pub(super) fn last(&self) -> Option<Digest> {
        self.last
    }

    /// The number of its lines.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Takes in a line, and its call number if it has one.
    pub(super) fn add(
        &mut self,
        line: ManifestLine<'_>,
        numbers: &mut CallNumbers,
        journal_index: Option<&JournalIndex>,
    ) {
        self.lines = line.number;
        let torn = self.standing.torn_lines();
        let relation = self.standing.add(&line);
        if !line.ended {
            return self.end_torn(line);
        }
        if line.continues {
            return;
        }
        match Digest::before(line.bytes)
            .zip(self.standing.last_hash())
            .filter(|_| relation != LineRelation::Bare)
        {
            Some((prev, hash)) => {
                self.settle_bare(self.standing.torn_lines() > torn);
                if relation == LineRelation::AfterClose {
                    self.note(line.number, ChainFinding::AfterClose);
                }
                let before = self.last.replace(hash);
                self.add_whole(WholeLine { line, prev, hash, before }, numbers, journal_index);
            }
            None => {
                self.settle(None);
                self.bare = Some(self.bare.map_or((line.number, 1), |(first, count)| (first, count + 1)));
            }
        }
    }

    /// Judges the lines that are still open at the end of the file.
    pub(super) fn end(&mut self) {
        self.settle(None);
        self.settle_bare(false);
        let stood = std::mem::take(&mut self.standing).finish();
        self.torn_lines = stood.torn_lines;
        if let Some(foreign) = stood.foreign.first().filter(|_| self.finding.is_none()) {
            self.note(foreign.line, ChainFinding::NotRecord);
        }
    }

    /// Judges the lines without a `prev` before a record, which can vouch only for the last of them.
    fn settle_bare(&mut self, is_vouched: bool) {
        if let Some((first, count)) = self.bare.take()
            && (count > 1 || !is_vouched)
        {
            self.note(first, ChainFinding::NotRecord);
        }
    }

    /// Notes a finding, where no earlier line has one.
    pub(super) fn note(&mut self, number: u64, finding: ChainFinding) {
        if self.finding.as_ref().is_none_or(|(first, _)| number < *first) {
            self.finding = Some((number, finding));
        }
    }

    fn end_torn(&mut self, line: ManifestLine<'_>) {
        let bytes = line.bytes.len() as u64;
        self.settle(None);
        if self.standing.is_torn() || Digest::before(line.bytes).is_some() {
            self.note(line.number, ChainFinding::Unfinished { bytes });
        } else {
            self.note(line.number, ChainFinding::NotRecord);
        }
    }

    fn add_whole(
        &mut self,
        whole: WholeLine<'_>,
        numbers: &mut CallNumbers,
        journal_index: Option<&JournalIndex>,
    ) {
        let WholeLine { line, prev, hash, before } = whole;
        self.records += 1;
        self.settle(Some((prev, hash)));
        match before {
            Some(before) if before != prev => self.break_at(line.number, prev, before, hash, journal_index),
            Some(_) => {}
            None => self.first = Some(prev),
        }
        let record = ParsedRecord::of(line.bytes);
        if let Some(record) = &record {
            self.learn(record);
        }
        self.ask(line.number, prev, hash, journal_index);
        let Some(record) = record else { return self.note(line.number, ChainFinding::NotRecord) };
        self.judge(&record, &line, before.is_none());
        if let Err(finding) = numbers.add(&record)
            && self.held.is_none()
        {
            self.note(line.number, finding);
        }
    }

    /// Judges a line that does not follow the line before it.
    fn break_at(
        &mut self,
        number: u64,
        prev: Digest,
        before: Digest,
        hash: Digest,
        journal_index: Option<&JournalIndex>,
    ) {
        if hash == before {
            return self.note(number, ChainFinding::Doubled);
        }
        if let Some(entry) = journal_index.and_then(|journal_index| journal_index.denies(before, hash)) {
            return self.note(number - 1, ChainFinding::Missing { kind: entry.kind, call: entry.call });
        }
        self.held = Some(HeldLine { number, prev, before, hash });
    }

    /// Decides why the line that is held does not fit, by the `prev` and the hash of the next line.
    fn settle(&mut self, next: Option<(Digest, Digest)>) {
        let Some(held) = self.held.take() else { return };
        let (number, finding) = match next {
            Some((prev, hash)) if prev == held.before && hash == held.prev => {
                (held.number, ChainFinding::Swapped)
            }
            Some((prev, _)) if prev == held.before => (held.number, ChainFinding::Stray),
            Some((prev, _)) if prev != held.hash => (held.number, ChainFinding::Changed),
            Some(_) | None => (held.number - 1, ChainFinding::ChangedOrMissing),
        };
        self.note(number, finding);
    }

    fn ask(&mut self, number: u64, prev: Digest, hash: Digest, journal_index: Option<&JournalIndex>) {
        let Some(journal_index) = journal_index else { return };
        match journal_index.confirms(prev, hash, self.broker) {
            Confirmation::Here => self.confirmed += 1,
            Confirmation::Elsewhere => {
                (self.confirmed, self.elsewhere) = (self.confirmed + 1, self.elsewhere + 1)
            }
            Confirmation::ByOther => self.by_others += 1,
            Confirmation::No => {}
        }
        if let Some(entry) = journal_index.denies(prev, hash)
            && self.held.is_none()
        {
            self.note(number, ChainFinding::Denied { kind: entry.kind, call: entry.call });
        }
    }

    /// Takes from a record its time, and from an `open` the process of the broker that writes from here on.
    fn learn(&mut self, record: &ParsedRecord) {
        let first = self.times.map_or(record.ts, |(first, _)| first);
        self.times = Some((first, record.ts));
        if record.kind == RecordKind::Open {
            let boot = record.boot.as_deref().and_then(|boot| u128::from_str_radix(boot, 16).ok());
            self.broker = record.broker.zip(boot).map(|(pid, boot)| JournalProcess { pid, boot });
        }
    }

    /// Checks that a record stands where it was written.
    fn judge(&mut self, record: &ParsedRecord, line: &ManifestLine<'_>, is_first: bool) {
        if record.kind == RecordKind::Open && record.at != line.at {
            self.note(line.number, ChainFinding::Moved { was: record.at, is: line.at });
        }
        if record.missing.is_some() {
            self.note(line.number, ChainFinding::FoundCut);
        }
        self.is_headless |= is_first && record.kind != RecordKind::Open;
    }
}

/// A whole line, and the hash of the whole line before it in the file.
#[derive(Debug)]
struct WholeLine<'a> {
    line: ManifestLine<'a>,
    prev: Digest,
    hash: Digest,
    before: Option<Digest>,
}
