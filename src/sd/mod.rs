//! systemd's protocols: what the service manager is told (`notify.rs`), what the journal is given
//! (`journal.rs`) and what it has (`journalctl.rs`), and scopes: `bus.rs` speaks to a manager, over
//! `transport.rs`, and `scope.rs` says what it is asked for. `delegation.rs` is the group that a manager gave
//! away. Knows nothing of rules in force or calls.

#![forbid(unsafe_code)]

mod bus;
mod datagram;
mod delegation;
mod journal;
mod journalctl;
mod notify;
mod scope;
mod transport;

pub use bus::{BusAddress, BusError, ManagerBus, ManagerReply, delegates};
pub use delegation::{CallsCgroup, Delegation, DelegationError};
pub use journal::{JOURNAL_SOCKET, JournalEntry, JournalSocket, Priority};
pub use journalctl::{EntryText, JournalScope, JournalctlError, read_journal};
pub use notify::Notifier;
pub use scope::{NewScope, ScopeName, described, slice_of};
