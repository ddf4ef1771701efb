//! The caller's side: encodes words as a request, makes one exchange with the broker, and finds out why an
//! exchange failed. It prints nothing and chooses no exit code (`sluicify.rs` does both). Start with
//! `exchange.rs`.

#![forbid(unsafe_code)]

mod exchange;
mod unreached;
mod words;

pub use exchange::{CallFailure, call, list};
pub use unreached::{ConnectFailure, PathKind};
pub use words::BadWords;
