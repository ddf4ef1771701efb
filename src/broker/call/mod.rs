//! One call from its request to its answer. `walk.rs` is the order of a call, `handler.rs` what a thread does around
//! it, `intake.rs` the way of the caller's descriptors, `captures.rs` the files that its output goes to.

pub(super) mod captures;
pub(super) mod handler;
pub(super) mod intake;
pub(super) mod walk;
