//! Finds calls in a manifest and in its rotated files: `filter.rs` decides which calls are asked for,
//! `seek.rs` finds where the last of them begin, `matcher.rs` picks their records from there on, and
//! `follow.rs` reads the lines that are written meanwhile. Most lines are sorted out by their first bytes,
//! without parsing.

mod blocks;
mod filter;
mod follow;
mod matcher;
mod seek;

pub use filter::{CallQuery, LineFilter, RuleQuery};
pub use follow::ManifestFollower;
pub use matcher::{CallMatcher, FoundLine, LineConsumer};
pub use seek::{CallCount, CallHistory, ReadPosition, UnreadPart};
