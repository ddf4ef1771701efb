//! What the journal says of a manifest: for each record its hash and that of the line before it. Who can rewrite the
//! manifest cannot rewrite that.

use super::super::chain::Digest;
use super::super::read::Kind;
use crate::ids::CallId;

/// One entry of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// The hash of the line before the record.
    pub prev: Digest,
    /// The hash of its line.
    pub hash: Digest,
    /// Its call.
    pub call: Option<CallId>,
    /// Its kind.
    pub kind: Kind,
    /// Whether it is the first of its file.
    pub begins_file: bool,
}

/// Every entry that may be of the manifest, in memory: some hundred bytes each.
#[derive(Debug)]
pub struct Witness(Vec<Testimony>);

impl Witness {
    /// From the entries, in any order.
    pub fn new(mut entries: Vec<Testimony>) -> Self {
        entries.sort_unstable_by_key(|entry| (entry.prev, entry.hash));
        Self(entries)
    }

    /// What followed the line with this hash. More than one when somebody wrote another history.
    pub(super) fn after(&self, prev: Digest) -> &[Testimony] {
        let begin = self.0.partition_point(|entry| entry.prev < prev);
        let end = self.0.partition_point(|entry| entry.prev <= prev);
        &self.0[begin..end]
    }

    /// Whether this line followed that.
    pub(super) fn confirms(&self, prev: Digest, hash: Digest) -> bool {
        self.after(prev).iter().any(|entry| entry.hash == hash)
    }

    /// Another record than the line with this hash that followed the one before it. The first lines of all chains
    /// follow the same, nothing.
    pub(super) fn denies(&self, prev: Digest, hash: Digest) -> Option<Testimony> {
        let after = if prev == Digest::NONE { &[] } else { self.after(prev) };
        after.iter().find(|entry| entry.hash != hash).copied()
    }

    /// How many records followed, one after the other.
    pub(super) fn run_after(&self, hash: Digest) -> u64 {
        let (mut hash, mut count) = (hash, 0);
        // A hash cannot come before itself, but who forges entries can say so.
        while let Some(entry) = self.after(hash).first()
            && count < self.0.len() as u64
        {
            (hash, count) = (entry.hash, count + 1);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_go_in_a_circle_are_counted_once() {
        let digest = |byte: u8| Digest::of_line(&[byte]);
        let entry = |prev, hash| Testimony {
            prev: digest(prev),
            hash: digest(hash),
            call: None,
            kind: Kind::Lost,
            begins_file: false,
        };
        let witness = Witness::new(vec![entry(2, 1), entry(1, 2)]);
        assert_eq!(witness.run_after(digest(1)), 2);
        assert_eq!(witness.run_after(digest(3)), 0);
    }
}
