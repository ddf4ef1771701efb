//! Somebody who connected and was not answered yet.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

use crate::audit::Caller;
use crate::ids::{CallId, ClaimedWord};
use crate::sys::{self, Sender};
use crate::wire::{Explanation, Reply, Status};

use super::connection::Connection;

/// A connection whose request was not answered yet.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) connection: Connection,
    /// The process that connected, in the kernel's words.
    pub(super) connector: Option<Sender>,
    pub(super) caller: Option<Caller>,
    pub(super) argv: Vec<ClaimedWord>,
    /// The call's number, where something had to be named by it already.
    pub(super) call: Option<CallId>,
}

impl ClientRequest {
    pub(super) fn new(connection: Connection) -> Self {
        let connector = sys::connector(connection.as_fd()).ok();
        Self { connection, connector, caller: None, argv: Vec::new(), call: None }
    }

    /// Whether its request is there, or its end: most callers send as soon as they have connected.
    pub(super) fn has_spoken(&self) -> bool {
        self.speaks_until(Instant::now())
    }

    /// The same, at this time at the latest.
    pub(super) fn speaks_until(&self, until: Instant) -> bool {
        self.shows(PollFlags::POLLIN, until).unwrap_or(false)
    }

    /// Whether the caller has closed its end.
    pub(super) fn is_over(&self) -> bool {
        self.shows(PollFlags::empty(), Instant::now()).unwrap_or(true)
    }

    fn shows(&self, events: PollFlags, until: Instant) -> io::Result<bool> {
        sys::poll_until(&mut [PollFd::new(self.connection.as_fd(), events)], Some(until))
    }

    /// The answer. A caller that does not take it has left.
    pub(super) fn reply(&self, reply: &Reply) {
        self.connection.answer(&reply.encode());
    }

    /// The answer to a call without an exit status, and in a message of its own which call it was and why. A
    /// client that reads one message never sees the second.
    pub(super) fn reply_why(&self, status: Status, call: Option<CallId>, why: &str) {
        self.reply(&Reply::Status(status));
        let explanation = Explanation::new(call.map(CallId::get), why);
        self.connection.answer(&explanation.encode());
    }
}
