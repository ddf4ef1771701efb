//! Streams through which a call's bytes pass where its rule captures or hides them: `relay.rs` has the
//! process that moves them, `interpose.rs` puts pipes in the place of the caller's descriptors, `transfer.rs`
//! is the state of one stream, `fds.rs` its descriptors, `io.rs` what the one asks of the other.

pub(super) mod fds;
pub(super) mod interpose;
pub(super) mod io;
pub(super) mod relay;
pub(super) mod transfer;
