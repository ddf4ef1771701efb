//! systemd's protocols, as far as they are datagrams: what the service manager is told (`notify.rs`) and what the
//! journal is given (`journal.rs`). Knows nothing of rules or calls, and never waits longer than a named bound.

#![forbid(unsafe_code)]

mod datagram;
mod journal;
mod notify;

pub use journal::{Entry, JOURNAL_SOCKET, JournalSocket, Priority};
pub use notify::Notifier;
