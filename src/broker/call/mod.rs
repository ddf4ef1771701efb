//! One call, from its request to its answer. `request.rs` reads and decides a request. `walk.rs` has the
//! steps of a call that has a place: `prepare.rs` makes it ready, with `stdio.rs` (the way of the caller's
//! descriptors) and `captures.rs` (the files that its output goes to). `reply.rs` has the answers.
//! `handler.rs` is the work of a thread around all of them.

mod adapted;
mod captures;
mod context;
mod credentials;
pub(super) mod handler;
mod prepare;
pub(super) mod reply;
pub(super) mod request;
mod stdio;
mod walk;
