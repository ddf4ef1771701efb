//! Checks that a manifest is as its broker wrote it: the chain within and across its files, the numbers, and
//! the journal's copy of both. Reads and judges; prints nothing. `chain.rs` checks one line, `report.rs` has
//! the results.

mod chain;
mod files;
mod finding;
mod journal_index;
mod numbers;
mod report;
#[cfg(test)]
mod tests;

pub use files::{AskJournal, VerifyError, verify};
pub use finding::{ChainFinding, LinePlace};
pub use journal_index::{IndexedEntry, JournalIndex, JournalProcess, SenderProgram};
pub use report::{FileReport, VerifyRemark, VerifyReport};
