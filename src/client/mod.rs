//! The caller's side: words to a request, one exchange with the broker, and why there was none. It prints
//! nothing and chooses no exit code (`sluicify.rs` does both). Start with `exchange.rs`.

#![forbid(unsafe_code)]

mod exchange;
mod unreached;
mod words;

pub use exchange::{CallFailure, call, list};
pub use unreached::{ConnectFailure, PathKind};
pub use words::BadWords;
