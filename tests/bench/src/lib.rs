//! What the benchmark is made of: the ways to run a command, the brokers it measures, how many samples become
//! one row, and rows the table. It measures from outside, through the socket and `/proc`; only `decision`
//! links the rules, and only `manager` speaks to systemd. Start with `run.rs`.

pub mod broker;
pub mod budget;
pub mod caller;
pub mod calls;
pub mod capture;
pub mod confined;
pub mod cpu;
pub mod crowd;
pub mod decision;
pub mod details;
pub mod figures;
pub mod first;
pub mod groups;
pub mod history;
pub mod instructions;
pub mod manager;
pub mod memory;
pub mod piped;
pub mod programs;
pub mod queries;
pub mod report;
pub mod run;
pub mod sample;
pub mod scale;
pub mod spawn;
pub mod start;
pub mod subject;
pub mod sync;
pub mod table;
