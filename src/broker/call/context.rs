//! The context that every step of a call uses, and the refusal by which a step ends the call.

use std::cell::Cell;

use crate::broker::client_request::ClientRequest;
use crate::broker::state::{Broker, ServedSocket};
use crate::refusal::Refusal;
use crate::spawn::Launcher;

/// The broker, the socket and the request of a call.
#[derive(Clone, Copy)]
pub(super) struct CallContext<'c> {
    pub(super) broker: &'c Broker,
    pub(super) socket: &'c ServedSocket,
    pub(super) client: &'c ClientRequest,
    /// How far the call has come, for the answer after a panic.
    pub(super) stage: &'c Cell<CallStage>,
}

/// How far a call has come; it decides how a panic is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum CallStage {
    /// It can be refused.
    Asked,
    /// Its start is on record: it can only end.
    Started,
    /// Its caller has the answer.
    Answered,
}

/// A call that is refused after its admission.
#[derive(Debug)]
pub(super) struct RefusedCall {
    pub(super) refusal: Refusal,
    /// The process that was made for it. It is dismissed after the answer.
    pub(super) launcher: Option<Launcher>,
}

impl From<Refusal> for RefusedCall {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, launcher: None }
    }
}
