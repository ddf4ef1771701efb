//! What the tests stand on: a gate of their own, which is one instance of the units with rules of its own,
//! and programs run to their end. Waits have an event or a deadline, as in the end-to-end tests, whose own
//! tools for that are used here. Start with `gate.rs`.

mod by_hand;
mod clone_into;
mod drop_in;
mod elsewhere;
mod escape;
mod gate;
mod group;
mod journal;
mod manager;
#[path = "../../../it/harness/manifest.rs"]
#[allow(dead_code, reason = "the end-to-end tests use more of it")]
pub(crate) mod manifest;
mod monitor;
#[path = "../../../it/harness/process.rs"]
#[allow(dead_code, reason = "the end-to-end tests use more of it")]
mod process;
mod program;
mod running;
#[path = "../../../it/harness/skip.rs"]
#[allow(dead_code, reason = "the end-to-end tests use more of it")]
mod skip;
#[path = "../../../it/harness/wait.rs"]
mod wait;

pub(crate) use by_hand::ByHand;
pub(crate) use clone_into::clone_into;
pub(crate) use drop_in::Removed;
pub(crate) use elsewhere::{in_a_unit, is_inside_manager, with_own_manager};
pub(crate) use escape::{GONE_MAX, escaped, gone};
pub(crate) use gate::Gate;
pub(crate) use group::{directory, group};
pub(crate) use journal::Journal;
pub(crate) use manager::{Manager, home, release};
pub(crate) use monitor::Monitor;
pub(crate) use process::Pid;
pub(crate) use program::{Ended, STOPPING, run, sluice};
pub(crate) use running::Running;
pub(crate) use skip::skip;
pub(crate) use wait::{SOON, within};
