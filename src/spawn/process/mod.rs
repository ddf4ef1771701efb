//! The processes that a call needs, and how they are made. `nursery.rs` is the process that makes them, as
//! children of the thread in `parent_thread.rs`; `pool.rs`, `launcher.rs` and `answer.rs` are the broker's
//! side; `anchor.rs` is the process that keeps a scope between calls; `adapter.rs` is a launcher that serves
//! requests of version 2, and `adapted.rs` the broker's side of it; `child.rs` is a launcher's life up to its
//! exec; `plan.rs` and `received_plan.rs` are the message that it gets, with the secrets of `secret.rs`,
//! `failure.rs` the one that it sends. `privileges.rs` checks the rights with which a broker may serve.

pub(super) mod adapted;
pub(super) mod adapter;
pub(super) mod anchor;
pub(super) mod answer;
pub(super) mod child;
mod confined;
pub(super) mod failure;
pub(super) mod launcher;
mod namespace;
pub(super) mod nursery;
pub(super) mod parent_thread;
pub(super) mod plan;
pub(super) mod pool;
pub(super) mod privileges;
pub(super) mod received_plan;
pub(super) mod secret;
pub(super) mod sent;
