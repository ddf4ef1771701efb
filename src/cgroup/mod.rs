//! Control groups, version 2, by their files: `group.rs` asks one, signals its processes and waits for their
//! end, `limits.rs` writes the limits that a rule gives a call which no service manager looks after.

#![forbid(unsafe_code)]

mod group;
mod limits;

pub use group::{Cgroup, CgroupUsage, OomWatch};
pub use limits::{LimitError, limit};
