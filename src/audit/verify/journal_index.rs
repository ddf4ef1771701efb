//! What the journal says of a manifest: for each record its hash and that of the line before it, and which
//! process sent it. Who can rewrite the manifest cannot rewrite that. An entry that another program sent
//! proves nothing.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use crate::audit::chain::Digest;
use crate::audit::record::kind::RecordKind;
use crate::ids::CallId;

/// A process, by the journal's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JournalProcess {
    /// Its number.
    pub pid: i64,
    /// The host's boot, as a number.
    pub boot: u128,
}

/// The program of a process that sent an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderProgram {
    /// A broker's.
    Broker,
    /// Another one.
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
    /// Whether it is the first of its file.
    pub begins_file: bool,
    /// When the journal took it, in milliseconds since 1970.
    pub ts: u64,
    /// The process that sent it.
    pub process: Option<JournalProcess>,
    /// The program of that process.
    pub program: SenderProgram,
    /// Whether it says that it is of the manifest that is verified.
    pub is_here: bool,
}

/// Every entry that may be of the manifest, in memory: some hundred bytes each.
#[derive(Debug)]
pub struct JournalIndex {
    entries: Vec<IndexedEntry>,
    /// Which of them are of a line that was read.
    seen: Vec<Cell<bool>>,
    /// Entries that a broker did not send.
    others: HashSet<(Digest, Digest)>,
}

/// The journal's word on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// Its broker sent it.
    Here,
    /// Its broker sent it, as of a manifest in another place.
    Elsewhere,
    /// Another process sent it.
    ByOther,
    /// Nothing.
    No,
}

impl JournalIndex {
    /// From the entries, in any order. Those count that a broker sent; of a process whose program is not
    /// known, where another entry of it says that it is one.
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

    /// The entries that follow the line with this hash: more than one where somebody wrote another history.
    pub(super) fn after(&self, prev: Digest) -> &[IndexedEntry] {
        &self.entries[self.range(prev)]
    }

    fn range(&self, prev: Digest) -> std::ops::Range<usize> {
        let begin = self.entries.partition_point(|entry| entry.prev < prev);
        let end = self.entries.partition_point(|entry| entry.prev <= prev);
        begin..end
    }

    /// What is said of this line having followed that, written by this process as far as it is known.
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

    /// Another record than the line with this hash that followed the one before it. The first lines of all
    /// chains follow the same, nothing.
    pub(super) fn denies(&self, prev: Digest, hash: Digest) -> Option<IndexedEntry> {
        let after = if prev == Digest::NONE { &[] } else { self.after(prev) };
        after.iter().find(|entry| entry.hash != hash).copied()
    }

    /// How many records followed, one after the other.
    pub(super) fn run_after(&self, hash: Digest) -> u64 {
        let (mut hash, mut count) = (hash, 0);
        // A hash cannot come before itself, but who forges entries can say so.
        while let Some(entry) = self.after(hash).first()
            && count < self.entries.len() as u64
        {
            (hash, count) = (entry.hash, count + 1);
        }
        count
    }

    /// How many records brokers wrote to this manifest that are in no file that was read, and that come
    /// neither before the first nor after the last line of one. `firsts` is what files follow, `lasts` is
    /// what they end with.
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
