//! sluice: the outbound gate for sandboxed processes.
//!
//! A caller in a sandbox asks over a unix socket for a command to be run outside. The broker matches the request
//! against declarative rules, runs it with the caller's own stdio, and keeps the record. `src/README.md` is the map;
//! `broker/call/walk.rs` is the walk of one call and the file to read first.

pub mod limits;

pub mod ids;

pub mod text;

pub mod sys;

pub mod trust;

pub mod wire;

pub mod rules;

pub mod refusal;

pub mod cgroup;

pub mod sd;

pub mod audit;

pub mod spawn;

pub mod broker;

pub mod client;

pub mod cli;
