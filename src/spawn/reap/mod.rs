//! Finds out which process belongs to which call, where no scope of systemd's says so, and reaps processes:
//! `reaper.rs` for the broker's own children, `call_reaper.rs` for a process that reaps one call's processes,
//! `proc_tree.rs` for the process tree in `/proc`, `background.rs` for processes that calls with `background
//! = keep` left running.

pub(super) mod background;
pub(super) mod call_reaper;
pub(super) mod proc_tree;
pub(super) mod reaper;
