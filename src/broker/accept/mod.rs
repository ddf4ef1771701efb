//! Accepting connections and giving each a thread. `event_loop.rs` is the main thread's loop, over
//! `listeners.rs` and the connections of `pending.rs`; `direct.rs` lets an idle thread accept before it.
//! `thread_pool.rs` has the threads, and `job.rs` their jobs.

pub(super) mod direct;
pub(super) mod event_loop;
pub(super) mod job;
pub(super) mod listeners;
pub(super) mod pending;
pub(super) mod thread_pool;
pub(super) mod token;
