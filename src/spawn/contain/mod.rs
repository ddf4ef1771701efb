//! A cgroup for each call's processes: a transient scope of a systemd manager (`scope_maker.rs` and
//! `manager.rs`), or a group below the cgroup that was delegated to the broker (`delegated.rs`). Calls use
//! `scope_pool.rs`; `warm.rs` decides how many launchers are kept ahead of need.

pub(super) mod delegated;
pub(super) mod manager;
pub(super) mod members;
pub(super) mod queue;
pub(super) mod scope;
pub(super) mod scope_maker;
pub(super) mod scope_pool;
pub(super) mod shared;
pub(super) mod warm;
