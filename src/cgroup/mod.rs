//! Control groups, version 2, through their files: `group.rs` reads a cgroup, signals its processes and waits
//! for their end; `limits.rs` writes the limits of a rule into a call's group, where no systemd manager does
//! that.

#![forbid(unsafe_code)]

mod group;
mod limits;

pub use group::{Cgroup, CgroupFile, CgroupUsage, OomWatch};
pub use limits::{LimitError, hand_on, limit};
