//! sluice: the outbound gate for sandboxed processes.
//!
//! A caller in a sandbox asks over a unix socket for a command to be run outside. The broker matches the
//! request against declarative rules, runs it with the caller's own stdio, and keeps the record.
//! `src/README.md` is the map; `broker/call/walk.rs` is the walk of one call and the file to read first.
//!
//! The feature `broker`, on by default, is all but the caller's side.

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
