//! The reasons why a request has no answer, or none with an exit status. The variants tell whether the
//! command can have run.

use std::io;

use crate::wire::{Explanation, Malformed, Status};

use super::unreached::ConnectFailure;
use super::words::BadWords;

/// The reason why there is no exit status of a command, or no listing.
#[derive(Debug)]
pub enum CallFailure {
    /// The words are not a request. Nothing was sent.
    Words(BadWords),
    /// There is no connection. Nothing was sent.
    Unreached(ConnectFailure),
    /// The broker went away, or the kernel did not send the request, before the broker took it. Nothing ran.
    Unsent(io::Error),
    /// The broker speaks version 1 alone, and the request needs version 2: the listing as JSON, or any
    /// request on a connection that this process did not open. Nothing ran.
    Version1Only,
    /// The connection, or the reply pipe, ended without an answer. The command may have run.
    Unanswered,
    /// The answer is not in a broker's format. The command may have run.
    Unreadable(Malformed),
    /// A status of the broker's own, or one that is not known here; and the broker's explanation, if it gave
    /// one.
    Refused(Status, Option<Explanation>),
}

impl CallFailure {
    /// Whether another broker may be asked for the same call: nothing can have run, and this one has gone.
    pub fn is_gone(&self) -> bool {
        let is_gone = |kind| matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        matches!(self, Self::Unsent(error) if is_gone(error.kind()))
    }
}
