//! The first byte that the broker sends a launcher: what the launcher is to be.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::os::fd::BorrowedFd;

use crate::limits::REQUEST_FDS;
use crate::sys;
use crate::sys::in_child::{self, ChildFd};

/// A byte that a launcher was sent, and the descriptors that came with it.
pub(super) struct SentByte {
    pub(super) kind: u8,
    pub(super) descriptors: [Option<ChildFd>; REQUEST_FDS],
}

/// The next byte that the broker sends; `None` when the broker hung up.
pub(super) fn await_sent(stream: BorrowedFd<'_>) -> Option<SentByte> {
    let mut kind = [0];
    in_child::await_readable(stream).ok()?;
    let (1, descriptors) = sys::receive_few::<REQUEST_FDS>(stream, &mut kind).ok()? else { return None };
    Some(SentByte { kind: kind[0], descriptors })
}

/// The exit code of a launcher that did not become a command.
pub(super) const FAILED: u8 = 1;
