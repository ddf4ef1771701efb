//! The processes that a call needs, and how they are made: `nursery.rs` is the process that makes them, as
//! children of `parent_thread.rs`'s thread; `pool.rs` and `launcher.rs` are the broker's side, `child.rs` the
//! launcher's own life up to its exec, `plan.rs` and `received_plan.rs` what it is told, `failure.rs` what it
//! reports. `privileges.rs` says with which rights a broker may serve.

pub(super) mod child;
pub(super) mod failure;
pub(super) mod launcher;
pub(super) mod nursery;
pub(super) mod parent_thread;
pub(super) mod plan;
pub(super) mod pool;
pub(super) mod privileges;
pub(super) mod received_plan;
