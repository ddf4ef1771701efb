//! What the measuring programs share: the two ways to run a command, the brokers they measure, and how many samples
//! become one row. It measures from outside, through the socket and `/proc`; only `decision` links the rules, and only
//! `manager` speaks to systemd. Start with `bin/roundtrip.rs`.

pub mod args;
pub mod broker;
pub mod budget;
pub mod caller;
pub mod cpu;
pub mod decision;
pub mod history;
pub mod instructions;
pub mod manager;
pub mod memory;
pub mod report;
pub mod sample;
pub mod scale;
pub mod scopes;
pub mod spawn;
pub mod subject;
