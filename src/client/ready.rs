//! A request of version 2 that is ready to be sent on a connection.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::wire::v2::PipedRequest;

use super::connection::SendPhase;
use super::failure::CallFailure;
use super::pipes::{ControlPipe, ReplyPipe};
use super::words::BadWords;

/// The sender of a request: the connection, the bytes, the descriptors, and who is told of the progress.
type RequestSender =
    fn(BorrowedFd<'_>, &[u8], &[BorrowedFd<'_>], &mut dyn FnMut(SendPhase)) -> io::Result<()>;

/// The bytes of a request, the command's descriptors, and two pipes with their other ends.
pub(super) struct ReadyRequest<'a> {
    message: Vec<u8>,
    /// `None` for the listing.
    stdio: Option<[BorrowedFd<'a>; 3]>,
    reply: (ReplyPipe, OwnedFd),
    /// `None` for the listing.
    control: Option<(ControlPipe, OwnedFd)>,
}

impl<'a> ReadyRequest<'a> {
    /// Makes the pipes.
    pub(super) fn new(
        request: &PipedRequest,
        stdio: Option<[BorrowedFd<'a>; 3]>,
    ) -> Result<Self, CallFailure> {
        let message = request.encode().ok_or(CallFailure::Words(BadWords::Large))?;
        let reply = ReplyPipe::new().map_err(CallFailure::Unsent)?;
        let control = stdio.map(|_| ControlPipe::new()).transpose().map_err(CallFailure::Unsent)?;
        Ok(Self { message, stdio, reply, control })
    }

    /// Sends the request with the other ends of the pipes, of which no copy is kept here.
    pub(super) fn ask_on(
        self,
        broker: BorrowedFd<'_>,
        phase: &mut dyn FnMut(SendPhase),
        send: RequestSender,
    ) -> Result<(ReplyPipe, Option<ControlPipe>), CallFailure> {
        let Self { message, stdio, reply: (reply, far_reply), control } = self;
        let far_control = control.iter().map(|(_, far)| far.as_fd());
        let stdio = stdio.into_iter().flatten();
        let fds: Vec<_> = stdio.chain([far_reply.as_fd()]).chain(far_control).collect();
        send(broker, &message, &fds, phase).map_err(CallFailure::Unsent)?;
        Ok((reply, control.map(|(control, _)| control)))
    }
}
