//! One call on a thread of its own, which waits for the broker and for signals. Connecting may wait for long,
//! while a broker's backlog is full, so neither node's loop nor its few helper threads can do it.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use napi::bindgen_prelude::Result as Thrown;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use sluice::client::{BrokerAddress, CallFailure, PendingRequest, ReadyEnds, RequestEvent};
use sluice::limits::LEAVE_WAIT;
use sluice::sluicify::{AskedCall, AskedPlace, CallerOutcome, ended, failed};
use sluice::sys;
use sluice::wire::Malformed;
use sluice::wire::v2::CallEnd;

use crate::asking::{Asking, thrown};
use crate::place::CallPlace;
use crate::signals::SentSignals;
use crate::streams::CommandStdio;

/// The stack of a thread, which holds an answer and messages.
pub(crate) const STACK_BYTES: usize = 512 * 1024;

/// The signals by which people and programs end a process.
const ENDING_SIGNALS: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGKILL];

/// Those that hang the call up, as with `sluicify`.
const LEAVING_SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL];

/// What a thread needs for its call.
pub(crate) struct CallThread {
    place: Arc<CallPlace>,
    words: Vec<OsString>,
    /// `None` once a broker has answered: the command's streams end with the command.
    stdio: RefCell<Option<CommandStdio>>,
    asking: Arc<Asking>,
    signals: Arc<SentSignals>,
}

impl CallThread {
    pub(crate) fn new(
        place: Arc<CallPlace>,
        words: Vec<OsString>,
        stdio: CommandStdio,
        asking: Arc<Asking>,
        signals: Arc<SentSignals>,
    ) -> Self {
        Self { place, words, stdio: RefCell::new(Some(stdio)), asking, signals }
    }

    /// Makes the thread. Errors: `EAGAIN` (too many of them).
    pub(crate) fn start(self) -> Thrown<()> {
        let thread = thread::Builder::new().name("sluice-call".into()).stack_size(STACK_BYTES);
        thread.spawn(move || self.run()).map(drop).map_err(thrown)
    }

    fn run(self) {
        let words = &self.words[..];
        let outcome = self.place.ask(|place, address| self.ask_at(place, address, words));
        let outcome = outcome.unwrap_or_else(CallerOutcome::unreached);
        self.stdio.take();
        self.asking.finish(outcome.line());
    }

    /// The outcome of the call at one place. Errors: nothing could be asked there.
    fn ask_at(
        &self,
        place: &AskedPlace,
        address: BrokerAddress,
        words: &[OsString],
    ) -> Result<CallerOutcome, String> {
        let asked = AskedCall { place, words };
        let Some(stdio) = self.stdio.borrow().clone() else {
            return Ok(CallerOutcome::unreached("the broker went away".to_owned()));
        };
        self.signals.set_heard(false);
        if let Some(signal) = self.signals.find(&ENDING_SIGNALS) {
            return Ok(left(signal, None));
        }
        let mut running = match PendingRequest::call(address, words, stdio) {
            Ok(request) => {
                RunningCall { thread: self, request, is_queued: false, ending: None, leaving: None }
            }
            Err(failure) => return failed(&asked, &failure).map(|(outcome, _)| outcome),
        };
        self.signals.set_heard(true);
        let result = running.attend();
        let call = running.request.number();
        match result {
            // By `sluicify`, nothing else is known of a call whose client was killed.
            CallResult::Ended(_) if running.is_killed() => Ok(left(Signal::SIGKILL, call)),
            CallResult::Ended(end) => ended(&asked, end, call).map(|(outcome, _)| outcome),
            CallResult::Left(signal) => Ok(left(signal, call)),
            CallResult::Failed(failure) => failed(&asked, &failure).map(|(outcome, _)| outcome),
        }
    }
}

/// How a call ended for its thread.
enum CallResult {
    /// Its end, by the broker's word.
    Ended(CallEnd),
    /// It was left, because of this signal.
    Left(Signal),
    /// There is no end.
    Failed(CallFailure),
}

/// A call under way.
struct RunningCall<'a> {
    thread: &'a CallThread,
    request: PendingRequest<Arc<OwnedFd>>,
    /// Whether the call waits for its place.
    is_queued: bool,
    /// A signal that was forwarded and ends a process, as long as it is not known whether the command has
    /// begun: where the call then has to wait for its place, there is no command that could end of it.
    ending: Option<Signal>,
    /// The signal for which the call was hung up, and how long its end is waited for.
    leaving: Option<(Signal, Instant)>,
}

impl RunningCall<'_> {
    fn attend(&mut self) -> CallResult {
        let mut ready = ReadyEnds::NONE;
        loop {
            match self.request.advance(ready) {
                Ok(Some(event)) => {
                    if let Some(end) = self.hear(event) {
                        return end;
                    }
                    ready = ReadyEnds::NONE;
                    continue;
                }
                Ok(None) => {}
                Err(failure) => return self.fail(failure),
            }
            if let Some(signal) = self.pass_signals().or_else(|| self.overdue()) {
                return CallResult::Left(signal);
            }
            ready = match self.wait() {
                Ok(ready) => ready,
                Err(_) => return CallResult::Failed(CallFailure::Unanswered),
            };
        }
    }

    fn hear(&mut self, event: RequestEvent) -> Option<CallResult> {
        self.thread.stdio.take();
        match event {
            RequestEvent::Started { call } => {
                (self.is_queued, self.ending) = (false, None);
                self.thread.asking.tell(format!("{{\"started\":{call}}}"));
                None
            }
            RequestEvent::Queued { limit } => {
                self.is_queued = true;
                self.thread.asking.tell(format!("{{\"queued\":{limit}}}"));
                self.ending.map(CallResult::Left)
            }
            RequestEvent::Ended(end) => Some(CallResult::Ended(end)),
            RequestEvent::Listing(text) => {
                Some(CallResult::Failed(CallFailure::Unreadable(Malformed::Trailing(text.len()))))
            }
        }
    }

    /// What a failure comes to. A call that had not begun when it was hung up is refused for that.
    fn fail(&self, failure: CallFailure) -> CallResult {
        let left = self.leaving.filter(|_| self.request.number().is_none());
        match (left, failure) {
            (Some((signal, _)), CallFailure::Refused(..)) => CallResult::Left(signal),
            (_, failure) => CallResult::Failed(failure),
        }
    }

    /// Passes on the signals that were sent. Gives one for which the call is left at once.
    fn pass_signals(&mut self) -> Option<Signal> {
        for signal in self.thread.signals.take() {
            let is_ending = ENDING_SIGNALS.contains(&signal);
            if is_ending && (self.leaving.is_some() || self.has_no_command()) {
                return Some(signal);
            }
            if is_ending && self.request.number().is_none() {
                self.ending = Some(signal);
            }
            if !LEAVING_SIGNALS.contains(&signal) {
                self.request.forward(signal);
            } else if self.request.hang_up() {
                self.leaving = Some((signal, Instant::now() + LEAVE_WAIT));
            } else {
                return Some(signal);
            }
        }
        None
    }

    /// Whether nobody has taken the request, or the call waits for its place.
    fn has_no_command(&self) -> bool {
        self.request.number().is_none() && (self.is_queued || self.request.is_untaken())
    }

    /// The signal for which the call was hung up, where its end has not come in time.
    fn overdue(&self) -> Option<Signal> {
        self.leaving.filter(|(_, until)| *until <= Instant::now()).map(|(signal, _)| signal)
    }

    fn is_killed(&self) -> bool {
        self.leaving.is_some_and(|(signal, _)| signal == Signal::SIGKILL)
    }

    /// Waits for the broker or a signal.
    fn wait(&self) -> io::Result<ReadyEnds> {
        let (ends, signals) = (self.request.ends(), self.thread.signals.as_fd());
        // One that is missing is stood in for by another: poll(2) takes a descriptor twice.
        let mut looked_at = [ends.reply, ends.connection, Some(signals)]
            .map(|fd| PollFd::new(fd.unwrap_or(signals), PollFlags::POLLIN));
        sys::poll_until(&mut looked_at, self.leaving.map(|(_, until)| until))?;
        let [reply, connection, _] = looked_at.map(|fd| fd.any() == Some(true));
        Ok(ReadyEnds {
            reply: reply && ends.reply.is_some(),
            connection: connection && ends.connection.is_some(),
        })
    }
}

/// The outcome of a call that its caller left.
fn left(signal: Signal, call: Option<u64>) -> CallerOutcome {
    let number = signal as i32;
    let code = u8::try_from(128 + number).unwrap_or(u8::MAX);
    CallerOutcome { signal: Some(number), call, ..CallerOutcome::error(code, format!("left for {signal}")) }
}
