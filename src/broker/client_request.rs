//! One request on a connection: its sender, its words, its number, and its answer.

use std::cell::Cell;

use crate::audit::Caller;
use crate::ids::{CallId, ClaimedWord};
use crate::wire::{Explanation, Reply, Status};

use super::connection::Connection;

/// A request that was not answered yet.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) connection: Connection,
    /// The sender of the message, once it was looked at.
    pub(super) caller: Option<Caller>,
    pub(super) argv: Vec<ClaimedWord>,
    /// The call's number, where something had to be named by it before its first record.
    pub(super) call: Cell<Option<CallId>>,
}

impl ClientRequest {
    /// The request that waits on a connection, not looked at yet.
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, caller: None, argv: Vec::new(), call: Cell::new(None) }
    }

    /// The sender of the message; where no message was looked at, the process that connected.
    pub(super) fn known_caller(&self) -> Option<Caller> {
        let connector = || self.connection.connector().map(|connector| Caller::new(connector, None));
        self.caller.clone().or_else(connector)
    }

    /// Sends the answer. An error is ignored: the caller has left then.
    pub(super) fn reply(&self, reply: &Reply) {
        self.connection.answer(&reply.encode());
    }

    /// Sends the answer to a call without an exit status, and in a message of its own the call's number and
    /// the reason. A client that reads one message never sees the second.
    pub(super) fn reply_why(&self, status: Status, call: Option<CallId>, why: &str) {
        self.reply(&Reply::Status(status));
        let explanation = Explanation::new(call.map(CallId::get), why);
        self.connection.answer(&explanation.encode());
    }
}
