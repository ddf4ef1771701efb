//! What signals do to a call: which ones end it for its caller, and when. For the program, whose signals are
//! the kernel's, and for packages that send a call signals of their own.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::client::{CallFailure, PendingRequest, ReadyEnds, RequestEvent};
use crate::limits::LEAVE_WAIT;
use crate::wire::Malformed;
use crate::wire::v2::CallEnd;

/// How a call ended for its caller.
#[derive(Debug)]
pub enum CallResult {
    /// Its end, by the broker's word.
    Ended(CallEnd),
    /// A signal ends it for its caller: there is no command that could end of it, or the call was hung up and
    /// its end has not come.
    Left(Signal),
    /// There is no end.
    Failed(CallFailure),
}

/// What one step of a call came to.
#[derive(Debug)]
pub enum CallStep {
    /// It waits for its place, because so many calls run.
    Queued(u32),
    /// The command begins, as the call of this number in the records.
    Started(u64),
    /// Nothing more comes.
    Over(CallResult),
    /// Nothing is there.
    Waits,
}

/// What is to be done with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalStep {
    /// The call is left, for this signal.
    Leave,
    /// It was hung up.
    HungUp,
    /// It is the command's, and is not forwarded yet.
    Forward,
}

/// A call under way that its caller may leave.
#[derive(Debug)]
pub struct LeavableCall<F> {
    request: PendingRequest<F>,
    /// Whether the call waits for its place.
    is_queued: bool,
    /// A signal that was forwarded and ends a process, as long as it is not known whether the command has
    /// begun, which the broker tells up to a second later: where the call then has to wait for its place,
    /// there is no command that could end of it.
    ending: Option<Signal>,
    /// The signal for which the call was hung up, and how long its end is waited for.
    leaving: Option<(Signal, Instant)>,
}

impl<F: AsFd> LeavableCall<F> {
    /// The call of a request that was sent.
    pub fn new(request: PendingRequest<F>) -> Self {
        Self { request, is_queued: false, ending: None, leaving: None }
    }

    /// The request.
    pub fn request(&self) -> &PendingRequest<F> {
        &self.request
    }

    /// The next step, as of [`PendingRequest::advance`].
    pub fn step(&mut self, ready: ReadyEnds) -> CallStep {
        if let (true, Some(signal)) = (self.is_queued, self.ending) {
            return CallStep::Over(CallResult::Left(signal));
        }
        match self.request.advance(ready) {
            Ok(Some(RequestEvent::Started { call })) => {
                (self.is_queued, self.ending) = (false, None);
                CallStep::Started(call)
            }
            Ok(Some(RequestEvent::Queued { limit })) => {
                self.is_queued = true;
                CallStep::Queued(limit)
            }
            Ok(Some(RequestEvent::Ended(end))) => CallStep::Over(CallResult::Ended(end)),
            Ok(Some(RequestEvent::Listing(text))) => {
                let failure = CallFailure::Unreadable(Malformed::Trailing(text.len()));
                CallStep::Over(CallResult::Failed(failure))
            }
            Ok(None) => CallStep::Waits,
            Err(failure) => CallStep::Over(self.fail(failure)),
        }
    }

    /// What is to be done with a signal. TERM, HUP and KILL hang the call up, whose end is waited for.
    pub fn take(&mut self, signal: Signal) -> SignalStep {
        if ENDING_SIGNALS.contains(&signal) {
            if self.leaving.is_some() || self.has_no_command() {
                return SignalStep::Leave;
            }
            if self.request.number().is_none() {
                self.ending = Some(signal);
            }
        }
        if !LEAVING_SIGNALS.contains(&signal) {
            return SignalStep::Forward;
        }
        if !self.request.hang_up() {
            return SignalStep::Leave;
        }
        self.leaving = Some((signal, Instant::now() + LEAVE_WAIT));
        SignalStep::HungUp
    }

    /// Until when the end of a call that was hung up is waited for.
    pub fn until(&self) -> Option<Instant> {
        self.leaving.map(|(_, until)| until)
    }

    /// The signal for which the call was hung up.
    pub fn hung_up_for(&self) -> Option<Signal> {
        self.leaving.map(|(signal, _)| signal)
    }

    /// The same, once its end has not come in time.
    pub fn overdue(&self) -> Option<Signal> {
        self.hung_up_for().filter(|_| self.until().is_some_and(|until| until <= Instant::now()))
    }

    /// Whether nobody has taken the request, or the call waits for its place.
    fn has_no_command(&self) -> bool {
        self.request.number().is_none() && (self.is_queued || self.request.is_untaken())
    }

    /// What a failure comes to. A call that had not begun when it was hung up is refused for that.
    fn fail(&self, failure: CallFailure) -> CallResult {
        let left = self.hung_up_for().filter(|_| self.request.number().is_none());
        match (left, failure) {
            (Some(signal), CallFailure::Refused(..)) => CallResult::Left(signal),
            (_, failure) => CallResult::Failed(failure),
        }
    }
}

/// The signals by which people and programs end a process.
pub const ENDING_SIGNALS: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGKILL];

/// Those that end a process whatever it runs: a program's, and a terminal's that was closed. They are a
/// hangup for the broker, which has the whole call end in time, or keeps it, as its rule says.
const LEAVING_SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL];
