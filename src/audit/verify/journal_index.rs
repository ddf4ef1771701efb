//! The journal's entries on a manifest: for each record its hash, the hash of the line before it, and the
//! process that sent the entry. A user who can rewrite the manifest cannot rewrite these. An entry that
//! another program sent proves nothing.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use crate::audit::chain::Digest;
use crate::audit::record::kind::RecordKind;
use crate::ids::CallId;

/// A process, as the journal names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JournalProcess {
    /// Its process id.
    pub pid: i64,
    /// The host's boot, as a number.
    pub boot: u128,
}

/// The program of a process that sent an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderProgram {
    /// The program of a broker.
    Broker,
    /// Another program.
    Other,
    /// The process had ended before the journal looked.
    Unknown,
}

/// One entry of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedEntry {
    /// The hash of the line before the record.
    pub prev: Digest,
    /// The hash of its line.
    pub hash: Digest,
    /// Its call.
    pub call: Option<CallId>,
    /// Its kind.
    pub kind: RecordKind,
    /// Whether its record is the first of its file.
    pub begins_file: bool,
    /// When the journal took it, in milliseconds since 1970.
    pub ts: u64,
    /// The process that sent it.
    pub process: Option<JournalProcess>,
    /// The program of that process.
    pub program: SenderProgram,
    /// Whether it names the manifest that is verified.
    pub is_here: bool,
}

/// Every entry that may be of the manifest, in memory: some hundred bytes each.
#[derive(Debug)]
pub struct JournalIndex {
    entries: Vec<IndexedEntry>,
    /// Whether each of them is of a line that was read.
    seen: Vec<Cell<bool>>,
    /// The hashes in entries that no broker sent.
    others: HashSet<(Digest, Digest)>,
}

/// The journal's evidence for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// The broker that wrote the line sent an entry for it.
    Here,
    /// That broker sent an entry for it, from a manifest in another place.
    Elsewhere,
    /// Another process sent an entry for it.
    ByOther,
    /// There is no entry for it.
    No,
}

impl JournalIndex {
    /// Makes the index from the entries, in any order. Entries that a broker sent count. So do entries of a
    /// process whose program is not known, if another entry of that process shows that it is a broker.
    pub fn new(entries: Vec<IndexedEntry>) -> Self {
        let of = |program| entries.iter().filter(move |entry| entry.program == program);
        let brokers: HashSet<_> = of(SenderProgram::Broker).filter_map(|entry| entry.process).collect();
        let is_broker = |entry: &IndexedEntry| match entry.program {
            SenderProgram::Broker => true,
            SenderProgram::Other => false,
            SenderProgram::Unknown => entry.process.is_some_and(|process| brokers.contains(&process)),
        };
        let (mut entries, others): (Vec<_>, Vec<_>) = entries.iter().copied().partition(is_broker);
        entries.sort_unstable_by_key(|entry| (entry.prev, entry.hash));
        let others = others.into_iter().map(|entry| (entry.prev, entry.hash)).collect();
        let seen = vec![Cell::new(false); entries.len()];
        Self { entries, seen, others }
    }

    /// The entries that follow the line with this hash: several where another history was written.
    pub(super) fn after(&self, prev: Digest) -> &[IndexedEntry] {
        &self.entries[self.range(prev)]
    }

    fn range(&self, prev: Digest) -> std::ops::Range<usize> {
        let begin = self.entries.partition_point(|entry| entry.prev < prev);
        let end = self.entries.partition_point(|entry| entry.prev <= prev);
        begin..end
    }

    /// The evidence that the line `hash` followed the line `prev`, and that `broker` wrote it, where that is
    /// known.
    pub(super) fn confirms(
        &self,
        prev: Digest,
        hash: Digest,
        broker: Option<JournalProcess>,
    ) -> Confirmation {
        let mut confirmed =
            if self.others.contains(&(prev, hash)) { Confirmation::ByOther } else { Confirmation::No };
        for index in self.range(prev) {
            let entry = &self.entries[index];
            if entry.hash != hash {
                continue;
            }
            self.seen[index].set(true);
            if broker.is_some() && entry.process != broker {
                confirmed = Confirmation::ByOther;
            } else if entry.is_here {
                return Confirmation::Here;
            } else {
                confirmed = Confirmation::Elsewhere;
            }
        }
        confirmed
    }

    /// Another record that followed the line `prev`, in place of the line `hash`. There is none where `prev`
    /// is no line: the first lines of all chains have that.
    pub(super) fn denies(&self, prev: Digest, hash: Digest) -> Option<IndexedEntry> {
        let after = if prev == Digest::NONE { &[] } else { self.after(prev) };
        after.iter().find(|entry| entry.hash != hash).copied()
    }

    /// The number of records that followed this line, one after the other.
    pub(super) fn run_after(&self, hash: Digest) -> u64 {
        let (mut hash, mut count) = (hash, 0);
        // A hash cannot come before itself, but forged entries can say so: the count bounds the loop.
        while let Some(entry) = self.after(hash).first()
            && count < self.entries.len() as u64
        {
            (hash, count) = (entry.hash, count + 1);
        }
        count
    }

    /// The records that brokers wrote to this manifest, that are in no file that was read, and that come
    /// neither before the first nor after the last line of such a file. `firsts` are the hashes that files
    /// begin after, `lasts` the hashes that they end with.
    pub(super) fn strangers(&self, firsts: &[Digest], lasts: &[Digest]) -> Vec<&IndexedEntry> {
        let unseen =
            || self.entries.iter().zip(&self.seen).filter(|(entry, seen)| entry.is_here && !seen.get());
        if unseen().next().is_none() {
            return Vec::new();
        }
        let by_hash: HashMap<_, _> = self.entries.iter().map(|entry| (entry.hash, entry.prev)).collect();
        let mut akin = HashSet::new();
        for first in firsts {
            let mut at = *first;
            while let Some(prev) = by_hash.get(&at).filter(|_| akin.insert(at)) {
                at = *prev;
            }
        }
        let mut ahead: Vec<_> = lasts.to_vec();
        while let Some(last) = ahead.pop() {
            ahead.extend(self.after(last).iter().map(|entry| entry.hash).filter(|hash| akin.insert(*hash)));
        }
        unseen().map(|(entry, _)| entry).filter(|entry| !akin.contains(&entry.hash)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_go_in_a_circle_are_counted_once() {
        let digest = |byte: u8| Digest::of_line(&[byte]);
        let entry = |prev, hash| IndexedEntry {
            prev: digest(prev),
            hash: digest(hash),
            call: None,
            kind: RecordKind::Lost,
            begins_file: false,
            ts: 0,
            process: None,
            program: SenderProgram::Broker,
            is_here: true,
        };
        let journal_index = JournalIndex::new(vec![entry(2, 1), entry(1, 2)]);
        assert_eq!(journal_index.run_after(digest(1)), 2);
        assert_eq!(journal_index.run_after(digest(3)), 0);
    }
}
