//! The caller's side: words to a request, one exchange with the broker, and why there was none. It prints nothing
//! and chooses no exit code (`cli/caller.rs` does both). Start with `exchange.rs`.

#![forbid(unsafe_code)]

mod exchange;
mod unreached;
mod words;

pub use exchange::{Failure, call, list};
pub use unreached::{Kind, Unreached};
pub use words::BadWords;
