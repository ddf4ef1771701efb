//! sluice: runs commands outside of a sandbox for the processes inside it, as far as rules allow them.
//!
//! A caller in a sandbox asks over a unix socket for a command to be run outside. The broker matches the
//! request against declarative rules, runs the command with the caller's own stdio, and records the call.
//! `src/README.md` is the map; `broker/call/walk.rs` has the steps of one call and is the file to read first.
//!
//! Without the feature `broker`, which is on by default, only the caller's side is built.

pub mod limits;

pub mod ids;

pub mod text;

pub mod sys;

#[cfg(feature = "broker")]
pub mod trust;

pub mod wire;

#[cfg(feature = "broker")]
pub mod rules;

#[cfg(feature = "broker")]
pub mod refusal;

#[cfg(feature = "broker")]
pub mod confine;

#[cfg(feature = "broker")]
pub mod cgroup;

#[cfg(feature = "broker")]
pub mod sd;

#[cfg(feature = "broker")]
pub mod audit;

#[cfg(feature = "broker")]
pub mod spawn;

#[cfg(feature = "broker")]
pub mod broker;

pub mod client;

pub mod sluicify;

#[cfg(feature = "broker")]
pub mod cli;
