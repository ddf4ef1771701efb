//! One call from its request to its answer. `walk.rs` is the order of a call that has a place: `prepare.rs`
//! makes it ready, with `stdio.rs` (the way of the caller's descriptors) and `captures.rs` (the files that
//! its output goes to). `handler.rs` is the work of a thread around that, `request.rs` what comes before it,
//! `reply.rs` what is answered.

mod captures;
mod context;
pub(super) mod handler;
mod prepare;
pub(super) mod reply;
pub(super) mod request;
mod stdio;
mod walk;
