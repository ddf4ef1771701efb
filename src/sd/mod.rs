//! systemd's protocols: notices to the service manager (`notify.rs`), entries for the journal (`journal.rs`)
//! and reading them back (`journalctl.rs`), and scopes: `bus.rs` speaks to a manager over `transport.rs`, and
//! `scope.rs` has the properties of a scope. `delegation.rs` uses the cgroup that a manager delegated to the
//! broker. Knows nothing of rules in force or calls.

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
pub use journalctl::{EntryText, JournalScope, JournalctlError, read_audit_log, read_journal};
pub use notify::Notifier;
pub use scope::{NewScope, ScopeName, described, ready_text, slice_of};
