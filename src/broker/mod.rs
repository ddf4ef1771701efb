//! The broker: sockets, rules, audit, and a thread for each running call. `call.rs` is the walk of one call and the
//! only file that knows its order; `lobby.rs` is the loop that accepts; `gate.rs` says who runs and who waits.

#![forbid(unsafe_code)]

mod admitted;
mod arrange;
mod attendant;
mod call;
mod captures;
mod closing;
mod config;
mod connection;
mod crowd;
mod deadline;
mod disk;
mod door;
mod entrance;
mod gate;
mod inspect;
mod intake;
mod keeper;
mod lane;
mod listen;
mod lobby;
mod mounts;
mod notice;
mod paths;
mod reload;
mod ruleset;
mod sentry;
mod serve;
mod signals;
mod state;
mod status;
mod token;
mod turns;
mod unserved;
mod untold;
mod visit;
mod workers;

pub use config::{RulesLocation, ServeConfig, ServeError};
pub use disk::Disk;
pub use inspect::{InspectedRules, inspect, program_of, read_rules};
pub use listen::ListenError;
pub use notice::{LoadError, Notice};
pub use ruleset::manifest_of;
pub use serve::serve;
pub use state::SayNotice;
