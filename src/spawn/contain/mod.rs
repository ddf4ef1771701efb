//! What a call's processes are alone in: a transient scope of a systemd manager (`scope_maker.rs` and
//! `manager.rs`), or a group below one that was delegated to the broker (`delegated.rs`). `scope_pool.rs` is
//! the calls' side, `warm.rs` says how many are kept ahead of need.

pub(super) mod delegated;
pub(super) mod manager;
pub(super) mod members;
pub(super) mod queue;
pub(super) mod scope;
pub(super) mod scope_maker;
pub(super) mod scope_pool;
pub(super) mod shared;
pub(super) mod warm;
