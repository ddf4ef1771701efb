//! Whether a manifest is what its broker wrote: the chain within and across its files, the numbers, and the
//! journal's copy of both. Reads; judges; prints nothing. `chain.rs` is the rule for one line, `report.rs`
//! what comes out.

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
