//! One call from its request to its end: waits for the broker's frames, passes signals on, and keeps the
//! terminal sane.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;

use crate::client::{BrokerAddress, CallFailure, PendingRequest, ReadyEnds, RequestEvent, SendPhase};
use crate::limits::{LEAVE_WAIT, UNHEARD_WAIT};
use crate::sys;
use crate::wire::Malformed;
use crate::wire::v2::CallEnd;

use super::advice::AskedCall;
use super::signals::CaughtSignals;
use super::terminal::CallerTerminal;

/// How a call ended for its caller.
#[derive(Debug)]
pub(super) enum CallResult {
    /// Its end, by the broker's word.
    Ended(CallEnd),
    /// A signal ends this process: there is no command that could end of it, or it was hung up and its end
    /// has not come.
    Interrupted(Signal),
    /// There is no end.
    Failed(CallFailure),
}

/// A call under way.
#[derive(Debug)]
pub(super) struct RunningCall<'a> {
    asked: &'a AskedCall<'a>,
    request: PendingRequest<BorrowedFd<'static>>,
    /// `None` in version 1, where signals have their usual effect.
    signals: Option<CaughtSignals>,
    terminal: Option<CallerTerminal>,
    /// The time at which it is said that no broker has taken the request; `None` once there is no need.
    unheard: Option<Instant>,
    /// Whether the call waits for its place.
    is_queued: bool,
    /// A signal that was forwarded and would have ended this process, as long as it is not known whether the
    /// command has begun: the broker tells that up to a second later.
    ending: Option<Signal>,
    /// The signal for which the call was hung up, and how long its end is waited for.
    leaving: Option<(Signal, Instant)>,
    /// Whether a signal waits to be read.
    has_signal: bool,
}

impl<'a> RunningCall<'a> {
    /// Sends the request. Before that, and while there is no room for it, signals have their usual effect.
    pub(super) fn begin(asked: &'a AskedCall<'a>, address: BrokerAddress) -> Result<Self, CallFailure> {
        let terminal = CallerTerminal::of_stdin();
        let mut signals = None;
        let mut catch = |phase| match phase {
            SendPhase::Sending => signals = signals.take().or_else(|| CaughtSignals::begin().ok()),
            SendPhase::Waiting => signals = None,
        };
        let request = PendingRequest::call_told(address, asked.words, sys::stdio(), &mut catch)?;
        let unheard = Instant::now().checked_add(UNHEARD_WAIT);
        Ok(Self {
            asked,
            request,
            signals,
            terminal,
            unheard,
            is_queued: false,
            ending: None,
            leaving: None,
            has_signal: false,
        })
    }

    /// Waits for the end. The terminal then has the modes from before, unless the command ended with 0 and
    /// left others on purpose.
    pub(super) fn finish(&mut self) -> CallResult {
        let result = self.attend();
        if !matches!(&result, CallResult::Ended(end) if end.status.get() == 0)
            && let Some(terminal) = &mut self.terminal
        {
            terminal.restore();
        }
        result
    }

    /// The call's number in the records, once it has begun.
    pub(super) fn number(&self) -> Option<u64> {
        self.request.number()
    }

    /// Lets a signal end this process, if it can.
    pub(super) fn let_take_effect(&self, signal: Signal) {
        if let Some(signals) = &self.signals {
            signals.take_effect(signal);
        }
    }

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
            if self.request.is_version_1() {
                self.signals = None;
            }
            if let Some((signal, until)) = self.leaving
                && until <= Instant::now()
            {
                return CallResult::Interrupted(signal);
            }
            if std::mem::take(&mut self.has_signal)
                && let Some(signal) = self.pass_signals()
            {
                return CallResult::Interrupted(signal);
            }
            ready = match self.wait() {
                Ok(ready) => ready,
                Err(_) => return CallResult::Failed(CallFailure::Unanswered),
            };
        }
    }

    /// What a failure comes to. A call that had not begun when it was hung up is refused for that.
    fn fail(&self, failure: CallFailure) -> CallResult {
        let left = self.leaving.filter(|_| self.request.number().is_none());
        match (left, failure) {
            (Some((signal, _)), CallFailure::Refused(..)) => CallResult::Interrupted(signal),
            (_, failure) => CallResult::Failed(failure),
        }
    }

    fn hear(&mut self, event: RequestEvent) -> Option<CallResult> {
        self.unheard = None;
        match event {
            RequestEvent::Started { .. } => {
                (self.is_queued, self.ending) = (false, None);
                None
            }
            RequestEvent::Queued { limit } => {
                self.is_queued = true;
                say(&format!("waiting: {limit} calls run already, and no more may at once"));
                self.ending.map(CallResult::Interrupted)
            }
            RequestEvent::Ended(end) => Some(CallResult::Ended(end)),
            RequestEvent::Listing(text) => {
                Some(CallResult::Failed(CallFailure::Unreadable(Malformed::Trailing(text.len()))))
            }
        }
    }

    /// Waits for the broker or a signal.
    fn wait(&mut self) -> io::Result<ReadyEnds> {
        let ends = self.request.ends();
        let signals = self.signals.as_ref().map(AsFd::as_fd);
        // poll(2) takes no descriptor twice amiss: one that is missing is stood in for by another.
        let Some(some) = ends.reply.or(ends.connection) else { return Ok(ReadyEnds::NONE) };
        let mut looked_at = [ends.reply, ends.connection, signals]
            .map(|fd| PollFd::new(fd.unwrap_or(some), PollFlags::POLLIN));
        let leaves = self.leaving.map(|(_, until)| until);
        if !sys::poll_until(&mut looked_at, self.unheard.into_iter().chain(leaves).min())? {
            self.say_unheard();
            return Ok(ReadyEnds::NONE);
        }
        let [reply, connection, signal] = looked_at.map(|fd| fd.any() == Some(true));
        self.has_signal = signal && signals.is_some();
        Ok(ReadyEnds {
            reply: reply && ends.reply.is_some(),
            connection: connection && ends.connection.is_some(),
        })
    }

    /// Says once that no broker has taken the request.
    fn say_unheard(&mut self) {
        let is_time = self.unheard.is_some_and(|time| time <= Instant::now());
        if is_time && self.request.is_untaken() {
            say(&self.asked.unheard());
        }
        self.unheard = self.unheard.filter(|_| !is_time);
    }

    /// Passes on the signals that came. Gives one that ends this process instead, because there is no command
    /// yet that could end of it: nobody has taken the request, or the call waits for its place; or because
    /// the call was hung up already.
    fn pass_signals(&mut self) -> Option<Signal> {
        while let Some(signal) = self.signals.as_ref().and_then(CaughtSignals::next) {
            if self.leaving.is_some() && ENDING_SIGNALS.contains(&signal) {
                return Some(signal);
            }
            if ENDING_SIGNALS.contains(&signal) && self.request.number().is_none() {
                if self.is_queued || self.request.is_untaken() {
                    return Some(signal);
                }
                self.ending = Some(signal);
            }
            if LEAVING_SIGNALS.contains(&signal) {
                if !self.request.hang_up() {
                    return Some(signal);
                }
                self.leaving = Some((signal, Instant::now() + LEAVE_WAIT));
            } else if signal == Signal::SIGTSTP {
                self.stop();
            } else if signal == Signal::SIGCONT {
                self.go_on();
            } else {
                self.request.forward(signal);
            }
        }
        None
    }

    /// Stops the command, then this process, with the terminal as it was before the command.
    fn stop(&mut self) {
        self.request.forward(Signal::SIGTSTP);
        if let Some(terminal) = &mut self.terminal {
            terminal.restore();
        }
        self.let_take_effect(Signal::SIGTSTP);
    }

    /// Has the command go on, with its own modes of the terminal, whose size may be another one by now.
    fn go_on(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal.resume();
        }
        self.request.forward(Signal::SIGCONT);
        if self.terminal.is_some() {
            self.request.forward(Signal::SIGWINCH);
        }
    }
}

/// The forwarded signals by which people and programs end a process.
const ENDING_SIGNALS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Those that end a process whatever it runs: a program's, and a terminal's that was closed. They are a
/// hangup for the broker, which has the whole call end in time, or keeps it, as its rule says.
const LEAVING_SIGNALS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGHUP];

/// Says `message` in one line on stderr, if it can be written to.
pub(super) fn say(message: &str) {
    io::stderr().write_all(format!("sluicify: {message}\n").as_bytes()).ok();
}
