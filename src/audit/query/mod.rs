//! Calls out of a manifest and the files that rotation made of it: which are asked for (`filter.rs`), where
//! the last of them begin (`seek.rs`), their records from there on (`matcher.rs`), and what is written
//! meanwhile (`follow.rs`). Lines that are not asked for are told by their first bytes, and are never parsed.

mod blocks;
mod filter;
mod follow;
mod matcher;
mod seek;

pub use filter::{CallQuery, LineFilter, RuleQuery};
pub use follow::ManifestFollower;
pub use matcher::{CallMatcher, FoundLine, LineConsumer};
pub use seek::{CallCount, CallHistory, ReadPosition, UnreadPart};
