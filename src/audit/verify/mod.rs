//! Whether a manifest is what its broker wrote: the chain within and across its files, the numbers, and the journal's
//! copy of both. Reads; judges; prints nothing. `chain.rs` is the rule for one line, `report.rs` what comes out.

mod chain;
mod files;
mod misfit;
mod numbers;
mod report;
#[cfg(test)]
mod tests;
mod witness;

pub use files::{AskJournal, VerifyError, verify};
pub use misfit::{ChainFinding, LinePlace};
pub use report::{FileReport, VerifyRemark, VerifyReport};
pub use witness::{IndexedEntry, JournalIndex, JournalProcess, SenderProgram};
