//! systemd's protocols: what the service manager is told (`notify.rs`), what the journal is given (`journal.rs`) and
//! what it has (`journalctl.rs`), and scopes: `bus.rs` speaks to a manager, over `link.rs`, `scope.rs` says what it is asked for,
//! `cgroup.rs` looks into what it made. `delegation.rs` is the group that a manager gave away, `controls.rs` what a
//! manager would have written there.
//! Knows nothing of rules in force or calls.

#![forbid(unsafe_code)]

mod bus;
mod cgroup;
mod controls;
mod datagram;
mod delegation;
mod journal;
mod journalctl;
mod link;
mod notify;
mod scope;

pub use bus::{BusAddress, BusError, ManagerBus, ManagerReply, delegates};
pub use cgroup::{Cgroup, CgroupUsage, OomWatch};
pub use controls::{LimitError, limit};
pub use delegation::{CallsCgroup, Delegation, DelegationError};
pub use journal::{JOURNAL_SOCKET, JournalEntry, JournalSocket, Priority};
pub use journalctl::{EntryText, JournalScope, JournalctlError, read_journal};
pub use notify::Notifier;
pub use scope::{NewScope, ScopeName, described, slice_of};
