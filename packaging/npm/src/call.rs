//! One call on a thread of its own, which waits for the broker and for signals. Connecting may wait for long,
//! while a broker's backlog is full, so neither node's loop nor its few helper threads can do it.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use napi::bindgen_prelude::Result as Thrown;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use sluice::client::{BrokerAddress, CallFailure, PendingRequest, ReadyEnds};
use sluice::sluicify::{
    AskedCall, AskedPlace, CallResult, CallStep, CallerOutcome, ENDING_SIGNALS, LeavableCall, SignalStep,
    ended, failed,
};
use sluice::sys;

use crate::asking::{Asking, thrown};
use crate::place::CallPlace;
use crate::signals::SentSignals;
use crate::streams::CommandStdio;

/// The stack of a thread, which holds an answer and messages.
pub(crate) const STACK_BYTES: usize = 512 * 1024;

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
            Ok(request) => RunningCall { thread: self, call: LeavableCall::new(request) },
            Err(failure) => return failed(&asked, &failure).map(|(outcome, _)| outcome),
        };
        self.signals.set_heard(true);
        let result = running.attend();
        let call = running.call.request().number();
        match result {
            // By `sluicify`, nothing else is known of a call whose client was killed.
            CallResult::Ended(_) if running.is_killed() => Ok(left(Signal::SIGKILL, call)),
            CallResult::Ended(end) => ended(&asked, end, call).map(|(outcome, _)| outcome),
            CallResult::Left(signal) => Ok(left(signal, call)),
            CallResult::Failed(failure) => failed(&asked, &failure).map(|(outcome, _)| outcome),
        }
    }
}

/// A call under way.
struct RunningCall<'a> {
    thread: &'a CallThread,
    call: LeavableCall<Arc<OwnedFd>>,
}

impl RunningCall<'_> {
    fn attend(&mut self) -> CallResult {
        let mut ready = ReadyEnds::NONE;
        loop {
            let news = match self.call.step(ready) {
                CallStep::Over(result) => return result,
                CallStep::Started(call) => Some(format!("{{\"started\":{call}}}")),
                CallStep::Queued(limit) => Some(format!("{{\"queued\":{limit}}}")),
                CallStep::Waits => None,
            };
            if let Some(news) = news {
                self.thread.stdio.take();
                self.thread.asking.tell(news);
                ready = ReadyEnds::NONE;
                continue;
            }
            if let Some(signal) = self.pass_signals().or_else(|| self.call.overdue()) {
                return CallResult::Left(signal);
            }
            ready = match self.wait() {
                Ok(ready) => ready,
                Err(_) => return CallResult::Failed(CallFailure::Unanswered),
            };
        }
    }

    /// Passes on the signals that were sent. Gives one for which the call is left.
    fn pass_signals(&mut self) -> Option<Signal> {
        for signal in self.thread.signals.take() {
            match self.call.take(signal) {
                SignalStep::Leave => return Some(signal),
                SignalStep::HungUp => {}
                SignalStep::Forward => drop(self.call.request().forward(signal)),
            }
        }
        None
    }

    fn is_killed(&self) -> bool {
        self.call.hung_up_for() == Some(Signal::SIGKILL)
    }

    /// Waits for the broker or a signal.
    fn wait(&self) -> io::Result<ReadyEnds> {
        let (ends, signals) = (self.call.request().ends(), self.thread.signals.as_fd());
        // One that is missing is stood in for by another: poll(2) takes a descriptor twice.
        let mut looked_at = [ends.reply, ends.connection, Some(signals)]
            .map(|fd| PollFd::new(fd.unwrap_or(signals), PollFlags::POLLIN));
        sys::poll_until(&mut looked_at, self.call.until())?;
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
