//! systemd's protocols. `bus.rs` speaks to a manager, `scope.rs` says what it is asked for, `cgroup.rs` looks into the
//! scope that it made. Nothing here knows of calls or rules in force.

#![forbid(unsafe_code)]

mod bus;
mod cgroup;
mod scope;

pub use bus::{Address, Bus, BusError, Word};
pub use cgroup::{Account, Cgroup};
pub use scope::{NewScope, ScopeName, described, slice_of};
