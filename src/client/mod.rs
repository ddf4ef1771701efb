//! The caller's side: a request in version 2, with the fall-back to version 1 (`pending.rs`), the exchange of
//! version 1 alone (`exchange.rs`), and why a request failed. It prints nothing and chooses no exit code
//! (`sluicify.rs` does both). Start with `pending.rs`.

#![forbid(unsafe_code)]

mod connection;
mod exchange;
mod failure;
mod lane;
mod pending;
mod pipes;
mod pump;
mod ready;
mod unreached;
mod words;

pub use connection::{BrokerAddress, SendPhase, SharedConnection};
pub use exchange::{call, list};
pub use failure::CallFailure;
pub use pending::{PendingRequest, ReadyEnds, RequestEnds, RequestEvent};
pub use pipes::{ControlPipe, ReplyPipe, ReplyStep};
pub use unreached::{ConnectFailure, PathKind};
pub use words::BadWords;
