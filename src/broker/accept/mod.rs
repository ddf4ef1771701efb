//! The way in: `incoming.rs` watches the listening sockets and the connections of `pending.rs` at one epoll,
//! at which the threads of `thread_pool.rs` wait. `call_work.rs` is what a thread does with an event: it
//! accepts, answers, or leaves the connection to a later event. `event_loop.rs` is the main thread's loop,
//! which keeps time, limits and signals, and starts threads.

pub(super) mod call_work;
pub(super) mod event_loop;
pub(super) mod idle;
pub(super) mod incoming;
pub(super) mod pending;
pub(super) mod thread_pool;
pub(super) mod token;
