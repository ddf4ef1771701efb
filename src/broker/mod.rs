//! The broker: sockets, rules, audit, and a thread for each running call. `call/walk.rs` has the steps of one
//! call, `accept/event_loop.rs` the loop that accepts connections; `admission.rs` decides which calls run and
//! which wait.

#![forbid(unsafe_code)]

mod accept;
mod adapters;
mod admission;
mod admitted;
mod call;
mod candidate;
mod client_request;
mod closing;
mod closing_queue;
mod config;
mod confiner;
mod connection;
mod deadline;
mod deferred_entry;
mod denials;
mod disk;
mod door_setup;
mod doors;
mod events;
mod fd_budget;
mod inspect;
mod kernel_support;
mod mounts;
mod notice;
mod nursery_supervisor;
mod paths;
mod reload;
mod ruleset;
mod scope_setup;
mod serve;
mod service_status;
mod setup;
mod signals;
mod socket_watch;
mod sockets;
mod state;
mod status_board;
mod unserved;

pub use config::{RulesLocation, ServeConfig, ServeError};
pub use disk::Disk;
pub use inspect::{InspectedRules, inspect, program_of, read_rules};
pub use kernel_support::{find_kernel_support, prepare_confinement};
pub use notice::{LoadError, Notice, SayNotice};
pub use ruleset::manifest_of;
pub use serve::serve;
pub use sockets::ListenError;
