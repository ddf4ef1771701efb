//! Which process belongs to which call, and its end, where no scope of systemd's says so: `call_reaper.rs`
//! for the broker's own children, `call_reaper.rs` for a process that reaps one call's, `proc_tree.rs` for
//! what `/proc` tells, `background.rs` for what calls with `background = keep` left running.

pub(super) mod background;
pub(super) mod call_reaper;
pub(super) mod proc_tree;
pub(super) mod reaper;
