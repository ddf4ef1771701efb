//! One request on a connection: its sender, its words, its number, and its answer.

use std::cell::Cell;

use crate::audit::Caller;
use crate::ids::{CallId, ClaimedWord};
use crate::wire::v2::{CallEnd, Frame};
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
    /// Whether the caller was told the number of its call.
    is_told: Cell<bool>,
    /// Whether the caller was told that its call waits.
    told_wait: bool,
}

impl ClientRequest {
    /// The request that waits on a connection, not looked at yet.
    pub(super) fn new(connection: Connection) -> Self {
        let (call, is_told) = (Cell::new(None), Cell::new(false));
        Self { connection, caller: None, argv: Vec::new(), call, is_told, told_wait: false }
    }

    /// The sender of the message; where no message was looked at, the process that connected.
    pub(super) fn known_caller(&self) -> Option<Caller> {
        let connector = || self.connection.connector().map(|connector| Caller::new(connector, None));
        self.caller.clone().or_else(connector)
    }

    /// Sends the listing. An error is ignored, as with every answer: the caller has left then.
    pub(super) fn answer_listing(&self, text: String) {
        if self.connection.is_line() {
            self.connection.send_frames(&Frame::Listing(text).encode());
        } else {
            self.connection.answer(&Reply::Listing(text).encode());
        }
    }

    /// Sends the answer to a call that ended with an exit status, or after a timeout.
    pub(super) fn answer_end(&self, call: CallId, end: CallEnd, why: Option<&str>) {
        match why {
            _ if self.connection.is_line() => {
                let mut frames = self.started_frame(call);
                frames.extend(Frame::Done(end).encode());
                self.connection.send_frames(&frames);
            }
            Some(why) => self.answer_why(end.status, Some(call), why),
            None => self.connection.answer(&Reply::Status(end.status).encode()),
        }
    }

    /// Sends the answer to a call whose command may have run, and of whose end nothing is known.
    pub(super) fn answer_unseen(&self, status: Status) {
        if self.connection.is_line() {
            self.connection.send_frames(&Frame::Done(CallEnd::unseen(status)).encode());
        } else {
            self.connection.answer(&Reply::Status(status).encode());
        }
    }

    /// Sends the answer to a call without an exit status: the call's number and the reason. In version 1 they
    /// come in a message of their own, which a client that reads one message never sees.
    pub(super) fn answer_why(&self, status: Status, call: Option<CallId>, why: &str) {
        if self.connection.is_line() {
            let mut reason = call.map(|call| format!("call {call}: ")).unwrap_or_default();
            reason.push_str(why);
            return self.connection.send_frames(&Frame::Refused { status, reason }.encode());
        }
        self.connection.answer(&Reply::Status(status).encode());
        let explanation = Explanation::new(call.map(CallId::get), why);
        self.connection.answer(&explanation.encode());
    }

    /// Tells a caller of version 2 the number of its call, once.
    pub(super) fn tell_started(&self, call: CallId) {
        if self.connection.is_line() {
            self.connection.send_frames(&self.started_frame(call));
        }
    }

    /// The frame with the call's number, unless it was sent.
    fn started_frame(&self, call: CallId) -> Vec<u8> {
        let is_told = self.is_told.replace(true);
        if is_told { Vec::new() } else { Frame::Started { call: call.get() }.encode() }
    }

    /// Tells a caller of version 2, once, that its call waits for its place.
    pub(super) fn tell_wait(&mut self, limit: u32) {
        if self.connection.is_line() && !std::mem::replace(&mut self.told_wait, true) {
            self.connection.send_frame_now(&Frame::Queued { limit }.encode());
        }
    }
}
