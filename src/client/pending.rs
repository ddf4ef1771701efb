//! A request under way: asked in version 2, and in version 1 where the broker speaks no other. It is driven
//! by its user, who waits at its descriptors, and never waits itself but to connect and to send. A request
//! that is dropped closes its pipes, and the broker ends the call.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;

use crate::limits::{EXPLANATION_WAIT, LISTING_REPLY_BYTES_MAX, REPLY_BYTES};
use crate::sys;
use crate::wire::v2::{CallEnd, EndFlags, Frame, ListFormat, PipedRequest};
use crate::wire::{Explanation, Malformed, Reply, Request, Status};

use super::connection::{
    BrokerAddress, SendPhase, SharedConnection, reach, reach_at_once, refused, send, send_as_is, unanswered,
};
use super::failure::CallFailure;
use super::lane::{OpenLane, is_given_up};
use super::pipes::{ControlPipe, ReplyPipe, ReplyStep};
use super::pump::StreamPumps;
use super::ready::ReadyRequest;
use super::words::{self, BadWords};

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEvent {
    /// The call waits for its place, because so many calls run.
    Queued {
        /// Calls that may run at once.
        limit: u32,
    },
    /// The command begins, as the call of this number in the records.
    Started {
        /// The number.
        call: u64,
    },
    /// The call is over. In version 1 only the status is known.
    Ended(CallEnd),
    /// The listing, as text that is not escaped for a terminal yet, or as JSON.
    Listing(String),
}

/// Which descriptors of a request can be read, as poll(2) or its like says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyEnds {
    /// The reply pipe.
    pub reply: bool,
    /// The connection.
    pub connection: bool,
}

impl ReadyEnds {
    /// None that is known: what was read already is looked through.
    pub const NONE: Self = Self { reply: false, connection: false };
    /// All that there may be: each is looked at.
    pub const ALL: Self = Self { reply: true, connection: true };
}

/// The descriptors of a request at which its user has to wait for reading.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnds<'a> {
    /// The reply pipe; `None` in version 1.
    pub reply: Option<BorrowedFd<'a>>,
    /// The connection; `None` where others share it, and once nothing more comes on it.
    pub connection: Option<BorrowedFd<'a>>,
}

/// What is needed to ask a request again.
#[derive(Debug)]
struct AskedRequest<F> {
    request: PipedRequest,
    /// The command's descriptors; `None` for the listing.
    stdio: Option<[F; 3]>,
}

/// What a look at a connection found.
#[derive(Debug, PartialEq, Eq)]
enum ConnectionNews {
    Nothing,
    /// Nothing more comes there.
    Over,
    /// The request was asked again, on another connection.
    AskedAgain,
}

/// The connection of a request.
#[derive(Debug)]
enum RequestConnection {
    Own(OwnedFd),
    Shared(SharedConnection),
    /// A copy of the descriptor that a lane's request was written to; `None` after a hangup.
    Lane(Option<OwnedFd>),
}

/// The descriptors by which the broker answers.
#[derive(Debug)]
enum AnswerPath {
    Version2 { reply: ReplyPipe, control: Option<ControlPipe> },
    Version1,
}

/// A request under way. `F` is what the command's stdin, stdout and stderr are kept as, until the broker has
/// answered for the first time.
#[derive(Debug)]
pub struct PendingRequest<F> {
    address: BrokerAddress,
    /// `None` once a broker has answered, which is when the request is not asked again.
    asked: Option<AskedRequest<F>>,
    connection: RequestConnection,
    path: AnswerPath,
    call: Option<u64>,
    is_asked_again: bool,
    is_connection_over: bool,
    /// What moves the caller's bytes through a FIFO door.
    pumps: Option<StreamPumps>,
}

impl<F: AsFd> PendingRequest<F> {
    /// Has the broker run `words` (program first, not empty) with these descriptors.
    pub fn call(address: BrokerAddress, words: &[OsString], stdio: [F; 3]) -> Result<Self, CallFailure> {
        Self::call_told(address, words, stdio, &mut |_| ())
    }

    /// Like [`Self::call`], and tells `phase` how far the sending is.
    pub fn call_told(
        address: BrokerAddress,
        words: &[OsString],
        stdio: [F; 3],
        phase: &mut dyn FnMut(SendPhase),
    ) -> Result<Self, CallFailure> {
        let request = PipedRequest::Call(words::claim(words).map_err(CallFailure::Words)?);
        Self::ask(address, AskedRequest { request, stdio: Some(stdio) }, phase)
    }

    /// Asks the broker for its listing.
    pub fn list(address: BrokerAddress, format: ListFormat) -> Result<Self, CallFailure> {
        Self::ask(address, AskedRequest { request: PipedRequest::List(format), stdio: None }, &mut |_| ())
    }

    fn ask(
        address: BrokerAddress,
        asked: AskedRequest<F>,
        phase: &mut dyn FnMut(SendPhase),
    ) -> Result<Self, CallFailure> {
        let (opened, is_asked_again) = match open_and_ask(&address, &asked, phase) {
            // A broker that stops closes connections whose request it has not taken: asking the next broker,
            // once, is safe.
            Err(failure) if failure.is_gone() && !matches!(address, BrokerAddress::Open(_)) => {
                (open_and_ask(&address, &asked, phase)?, true)
            }
            opened => (opened?, false),
        };
        let SentRequest { connection, path, pumps } = opened;
        let (asked, is_connection_over) = (Some(asked), false);
        Ok(Self { address, asked, connection, path, call: None, is_asked_again, is_connection_over, pumps })
    }

    /// The descriptors to wait at. They may be others after each call of [`Self::advance`].
    pub fn ends(&self) -> RequestEnds<'_> {
        let reply = match &self.path {
            AnswerPath::Version2 { reply, .. } => Some(reply.as_fd()),
            AnswerPath::Version1 => None,
        };
        let connection = match &self.connection {
            RequestConnection::Own(broker) if !self.is_connection_over => Some(broker.as_fd()),
            RequestConnection::Lane(Some(request)) if self.asked.is_some() && !self.is_connection_over => {
                Some(request.as_fd())
            }
            RequestConnection::Own(_) | RequestConnection::Shared(_) | RequestConnection::Lane(_) => None,
        };
        RequestEnds { reply, connection }
    }

    /// The next event, by what can be read without waiting; `None` while there is none. After
    /// [`RequestEvent::Ended`], [`RequestEvent::Listing`] or an error nothing more comes.
    /// It waits to connect and to send where the request is asked again, in version 1 or of the next broker,
    /// and up to [`EXPLANATION_WAIT`] for what explains a refusal in version 1, or the end of a reply pipe.
    pub fn advance(&mut self, ready: ReadyEnds) -> Result<Option<RequestEvent>, CallFailure> {
        let AnswerPath::Version2 { reply, .. } = &mut self.path else {
            return if ready.connection { self.read_version_1() } else { Ok(None) };
        };
        let step = if ready.reply {
            reply.step()
        } else {
            reply.buffered().map(|frame| frame.map_or(ReplyStep::Pending, ReplyStep::Frame))
        };
        match step.map_err(CallFailure::Unreadable)? {
            ReplyStep::Frame(frame) => self.hear(frame).map(Some),
            ReplyStep::Ended => self.explain_end(),
            ReplyStep::Pending if ready.connection => match &self.connection {
                RequestConnection::Lane(request) => {
                    let is_over = request.as_ref().is_some_and(|request| is_given_up(request.as_fd()));
                    if is_over { self.leave_lane() } else { Ok(None) }
                }
                RequestConnection::Own(_) | RequestConnection::Shared(_) => {
                    self.look_at_connection().map(|_| None)
                }
            },
            ReplyStep::Pending => Ok(None),
        }
    }

    /// Asks the broker to send `signal` to the command's process group, and gives whether it will hear of it:
    /// not in version 1, and not of a call that is over.
    pub fn forward(&self, signal: Signal) -> bool {
        match &self.path {
            AnswerPath::Version2 { control: Some(control), .. } => control.forward(signal).is_ok(),
            AnswerPath::Version2 { control: None, .. } | AnswerPath::Version1 => false,
        }
    }

    /// Hangs up, which ends the call unless its rule keeps it, and stays for its end. Gives false where
    /// nothing but dropping the request does so: in version 1, and after a hangup.
    pub fn hang_up(&mut self) -> bool {
        let AnswerPath::Version2 { control, .. } = &mut self.path else { return false };
        if let RequestConnection::Lane(request) = &mut self.connection {
            *request = None;
        }
        control.take().is_some()
    }

    /// Whether the request is asked in version 1, in which no signal can be forwarded.
    pub fn is_version_1(&self) -> bool {
        matches!(self.path, AnswerPath::Version1)
    }

    /// The call's number in the records, once it has begun.
    pub fn number(&self) -> Option<u64> {
        self.call
    }

    /// Whether no broker has taken the request from the connection yet, as far as the kernel says.
    pub fn is_untaken(&self) -> bool {
        let is_lane = matches!(self.connection, RequestConnection::Lane(_));
        let connection = self.connection.as_fd().filter(|_| self.asked.is_some() && !is_lane);
        connection.is_some_and(|broker| sys::is_unread(broker).unwrap_or_default())
    }

    /// Waits until one of [`Self::ends`] can be read, or the deadline has passed, and says which can be.
    pub fn wait(&self, deadline: Option<Instant>) -> io::Result<ReadyEnds> {
        let ends = self.ends();
        let mut looked_at: Vec<_> = [ends.reply, ends.connection]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        sys::poll_until(&mut looked_at, deadline)?;
        let mut ready = looked_at.iter().map(|fd| fd.any() == Some(true));
        let reply = ends.reply.is_some() && ready.next() == Some(true);
        Ok(ReadyEnds { reply, connection: ready.next() == Some(true) })
    }

    /// Waits for the end, and drops what comes before it. `None` where the deadline passed.
    pub fn wait_for_end(&mut self, deadline: Option<Instant>) -> Result<Option<RequestEvent>, CallFailure> {
        let mut ready = ReadyEnds::NONE;
        loop {
            match self.advance(ready)? {
                Some(end @ (RequestEvent::Ended(_) | RequestEvent::Listing(_))) => return Ok(Some(end)),
                Some(RequestEvent::Queued { .. } | RequestEvent::Started { .. }) => {
                    ready = ReadyEnds::NONE;
                    continue;
                }
                None => {}
            }
            ready = self.wait(deadline).map_err(|_| CallFailure::Unanswered)?;
            if ready == ReadyEnds::NONE {
                return Ok(None);
            }
        }
    }

    fn hear(&mut self, frame: Frame) -> Result<RequestEvent, CallFailure> {
        self.asked = None;
        match frame {
            Frame::Queued { limit } => Ok(RequestEvent::Queued { limit }),
            Frame::Started { call } => {
                self.call = Some(call);
                Ok(RequestEvent::Started { call })
            }
            Frame::Done(end) => {
                self.pumps.take().into_iter().for_each(StreamPumps::finish);
                Ok(RequestEvent::Ended(end))
            }
            Frame::Listing(text) => Ok(RequestEvent::Listing(text)),
            Frame::Refused { status, reason } => {
                let (number, reason) = numbered(&reason);
                Err(CallFailure::Refused(status, Some(Explanation::new(number.or(self.call), reason))))
            }
        }
    }

    /// The reply pipe ended without a last frame: the connection may say why, and a broker may have closed
    /// the pipe before it did.
    fn explain_end(&mut self) -> Result<Option<RequestEvent>, CallFailure> {
        if self.call.is_some() {
            return Err(CallFailure::Unanswered);
        }
        if let RequestConnection::Shared(broker) = &self.connection {
            return Err(explain_shared(broker.as_fd()));
        }
        let Some(connection) = self.connection.as_fd() else { return Err(CallFailure::Unanswered) };
        let deadline = Instant::now().checked_add(EXPLANATION_WAIT);
        let mut connection = [PollFd::new(connection, PollFlags::POLLIN)];
        sys::poll_until(&mut connection, deadline).map_err(|_| CallFailure::Unanswered)?;
        match self.look_at_connection()? {
            ConnectionNews::AskedAgain => Ok(None),
            ConnectionNews::Nothing | ConnectionNews::Over => Err(CallFailure::Unanswered),
        }
    }

    /// Receives what the broker sent on this request's own connection: an answer of version 1, or the end.
    fn look_at_connection(&mut self) -> Result<ConnectionNews, CallFailure> {
        let RequestConnection::Own(broker) = &self.connection else { return Ok(ConnectionNews::Nothing) };
        let mut buffer = [0; REPLY_BYTES + 1];
        match sys::receive_now(broker.as_fd(), &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ConnectionNews::Nothing),
            Ok(0) => {
                self.is_connection_over = true;
                Ok(ConnectionNews::Over)
            }
            Ok(length) => {
                let message = buffer.get(..length).unwrap_or_default();
                match Reply::decode(message).map_err(CallFailure::Unreadable)? {
                    Reply::Status(Status::PROTO) if self.asked.is_some() => self.ask_in_version_1(),
                    Reply::Status(status) => Err(refused(status, broker.as_fd())),
                    Reply::Listing(text) => Err(CallFailure::Unreadable(Malformed::Trailing(text.len()))),
                }
            }
            Err(error) => self.ask_next(unanswered(error)),
        }
    }

    /// Nobody reads the lane's request any more. The broker may have its reply all the same, and no use for
    /// more, as where it was asked for the listing; read(2) tells that from a lane that was given up.
    fn leave_lane(&mut self) -> Result<Option<RequestEvent>, CallFailure> {
        self.is_connection_over = true;
        let AnswerPath::Version2 { reply, .. } = &mut self.path else { return Ok(None) };
        match reply.step().map_err(CallFailure::Unreadable)? {
            ReplyStep::Frame(frame) => self.hear(frame).map(Some),
            ReplyStep::Pending => Ok(None),
            ReplyStep::Ended => Err(CallFailure::Unsent(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Asks the next broker once, where this one closed the connection with the request unread.
    fn ask_next(&mut self, failure: CallFailure) -> Result<ConnectionNews, CallFailure> {
        self.is_connection_over = true;
        let Some(asked) = self.asked.as_ref().filter(|_| failure.is_gone() && !self.is_asked_again) else {
            return Err(failure);
        };
        let SentRequest { connection, path, .. } = open_and_ask(&self.address, asked, &mut |_| ())?;
        (self.connection, self.path) = (connection, path);
        (self.is_asked_again, self.is_connection_over) = (true, false);
        Ok(ConnectionNews::AskedAgain)
    }

    /// Asks on a new connection in version 1.
    fn ask_in_version_1(&mut self) -> Result<ConnectionNews, CallFailure> {
        let (BrokerAddress::Path(path), Some(asked)) = (&self.address, &self.asked) else {
            return Err(CallFailure::Version1Only);
        };
        let request = match &asked.request {
            PipedRequest::Call(words) => Request::Call(words.clone()),
            PipedRequest::List(ListFormat::Text) => Request::List,
            PipedRequest::List(ListFormat::Json) => return Err(CallFailure::Version1Only),
        };
        let request = request.encode().ok_or(CallFailure::Words(BadWords::Large))?;
        let fds: Vec<_> = asked.stdio.iter().flatten().map(AsFd::as_fd).collect();
        let broker = reach(path).map_err(CallFailure::Unreached)?;
        send(broker.as_fd(), &request, &fds, &mut |_| ()).map_err(CallFailure::Unsent)?;
        (self.connection, self.path) = (RequestConnection::Own(broker), AnswerPath::Version1);
        (self.is_asked_again, self.is_connection_over) = (true, false);
        Ok(ConnectionNews::AskedAgain)
    }

    fn read_version_1(&mut self) -> Result<Option<RequestEvent>, CallFailure> {
        let RequestConnection::Own(broker) = &self.connection else { return Ok(None) };
        let broker = broker.as_fd();
        let mut buffer = vec![0; LISTING_REPLY_BYTES_MAX + 1];
        let length = match sys::receive_now(broker, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Ok(0) => return Err(CallFailure::Unanswered),
            received => received.map_err(unanswered)?,
        };
        let reply = Reply::decode(buffer.get(..length).unwrap_or_default());
        let is_list = self.asked.as_ref().is_some_and(|asked| asked.stdio.is_none());
        match reply.map_err(CallFailure::Unreadable)? {
            Reply::Listing(text) if is_list => Ok(Some(RequestEvent::Listing(text))),
            Reply::Listing(text) => Err(CallFailure::Unreadable(Malformed::Trailing(text.len()))),
            Reply::Status(status) if !(0..=255).contains(&status.get()) => Err(refused(status, broker)),
            Reply::Status(_) if is_list => Err(CallFailure::Unreadable(Malformed::Truncated)),
            Reply::Status(status) => {
                let (signal, flags) = (None, EndFlags::default());
                Ok(Some(RequestEvent::Ended(CallEnd { status, signal, flags, microseconds: 0 })))
            }
        }
    }
}

impl RequestConnection {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Own(broker) => Some(broker.as_fd()),
            Self::Shared(broker) => Some(broker.as_fd()),
            Self::Lane(request) => request.as_ref().map(AsFd::as_fd),
        }
    }
}

/// The number that stands at the beginning of a refusal's reason, and the reason after it.
fn numbered(reason: &str) -> (Option<u64>, &str) {
    let number = reason.strip_prefix("call ").and_then(|rest| rest.split_once(": "));
    let number = number.and_then(|(number, rest)| Some((Some(number.parse().ok()?), rest)));
    number.unwrap_or((None, reason))
}

/// The failure of a request on a shared connection whose reply pipe ended without a frame. What was answered
/// there is looked at and left, because it may be for another process.
fn explain_shared(broker: BorrowedFd<'_>) -> CallFailure {
    let mut buffer = [0; REPLY_BYTES + 1];
    let length = sys::peek_now(broker, &mut buffer).unwrap_or_default();
    match Reply::decode(buffer.get(..length).unwrap_or_default()) {
        Ok(Reply::Status(Status::PROTO)) => CallFailure::Version1Only,
        Ok(Reply::Status(status)) => CallFailure::Refused(status, None),
        Ok(Reply::Listing(_)) | Err(_) => CallFailure::Unanswered,
    }
}

/// A request that was sent: the ways on which its answer comes.
struct SentRequest {
    connection: RequestConnection,
    path: AnswerPath,
    pumps: Option<StreamPumps>,
}

/// Opens a connection or a lane, or takes the connection that is open, and sends the request in version 2.
fn open_and_ask<F: AsFd>(
    address: &BrokerAddress,
    asked: &AskedRequest<F>,
    phase: &mut dyn FnMut(SendPhase),
) -> Result<SentRequest, CallFailure> {
    // Made before there is a connection: a broker that finds no request on a new one goes back to sleep, and
    // is woken twice.
    let stdio = asked.stdio.as_ref().map(|stdio| stdio.each_ref().map(AsFd::as_fd));
    let ready = || ReadyRequest::new(&asked.request, stdio);
    let (connection, (reply, control)) = match address {
        BrokerAddress::Path(path) => {
            let ready = ready()?;
            let broker = reach_at_once(path, phase).map_err(CallFailure::Unreached)?;
            let pipes = ready.ask_on(broker.as_fd(), phase, send)?;
            (RequestConnection::Own(broker), pipes)
        }
        BrokerAddress::Open(broker) => {
            let pipes = ready()?.ask_on(broker.as_fd(), phase, send_as_is)?;
            (RequestConnection::Shared(broker.clone()), pipes)
        }
        BrokerAddress::Fifo(door) => return ask_through(door, asked, phase),
    };
    let path = AnswerPath::Version2 { reply, control };
    Ok(SentRequest { connection, path, pumps: None })
}

/// Sends the request through a lane of a FIFO door.
fn ask_through<F: AsFd>(
    door: &Path,
    asked: &AskedRequest<F>,
    phase: &mut dyn FnMut(SendPhase),
) -> Result<SentRequest, CallFailure> {
    let request = asked.request.encode().ok_or(CallFailure::Words(BadWords::Large))?;
    let lane = OpenLane::open(door).map_err(CallFailure::Unreached)?;
    phase(SendPhase::Sending);
    lane.ask(&request).map_err(CallFailure::Unsent)?;
    let OpenLane { request, stdin, stdout, stderr, reply } = lane;
    let copy = request.try_clone().map_err(CallFailure::Unsent)?;
    let path = AnswerPath::Version2 { reply: ReplyPipe::of(reply), control: Some(ControlPipe::of(request)) };
    let own = asked.stdio.as_ref().map(|stdio| stdio.each_ref().map(AsFd::as_fd));
    let pumps = own.map(|own| StreamPumps::begin(own, stdin, [stdout, stderr])).transpose();
    // Where the threads cannot be made, dropping the lane ends the call.
    let pumps = pumps.map_err(CallFailure::Unsent)?;
    Ok(SentRequest { connection: RequestConnection::Lane(Some(copy)), path, pumps })
}

#[cfg(test)]
mod tests;
