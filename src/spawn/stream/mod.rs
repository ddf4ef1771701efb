//! Streams: a call's bytes pass through them where its rule captures streams or hides terminals. `relay.rs`
//! has the process that moves the bytes, `interpose.rs` puts pipes in the place of the caller's descriptors,
//! `transfer.rs` is the state of one stream, `fds.rs` its descriptors, `io.rs` the interface between the two.

pub(super) mod fds;
pub(super) mod interpose;
pub(super) mod io;
pub(super) mod relay;
pub(super) mod transfer;
