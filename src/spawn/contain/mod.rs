//! A cgroup for each call's processes. It is a group in a slot (`slot.rs`), which calls use one after the
//! other: a transient scope of a systemd manager (`scope_maker.rs` and `manager.rs`), or a place below the
//! cgroup that was delegated to the broker. Calls use `scope_pool.rs`; `slot_pool.rs` has the way of a slot
//! from one call to the next, `slot_set.rs` decides how many are kept, `change_watch.rs` sees what a command
//! writes into the files of its scope. `warm.rs` decides how many launchers without a scope are kept.

pub(super) mod change_watch;
pub(super) mod manager;
pub(super) mod members;
pub(super) mod nursery_place;
pub(super) mod queue;
pub(super) mod scope;
pub(super) mod scope_maker;
pub(super) mod scope_pool;
pub(super) mod shared;
pub(super) mod slot;
pub(super) mod slot_pool;
pub(super) mod slot_set;
pub(super) mod warm;
