//! One call from its request to its end: waits for the broker's frames, passes signals on, and keeps the
//! terminal sane.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;

use crate::client::{BrokerAddress, CallFailure, PendingRequest, ReadyEnds, SendPhase};
use crate::limits::UNHEARD_WAIT;
use crate::sys;

use super::advice::AskedCall;
use super::leavable::{CallResult, CallStep, LeavableCall, SignalStep};
use super::signals::CaughtSignals;
use super::terminal::CallerTerminal;

/// A call under way.
#[derive(Debug)]
pub(super) struct RunningCall<'a> {
    asked: &'a AskedCall<'a>,
    call: LeavableCall<BorrowedFd<'static>>,
    /// `None` in version 1, where signals have their usual effect.
    signals: Option<CaughtSignals>,
    terminal: Option<CallerTerminal>,
    /// The time at which it is said that no broker has taken the request; `None` once there is no need.
    unheard: Option<Instant>,
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
        let call = LeavableCall::new(request);
        Ok(Self { asked, call, signals, terminal, unheard, has_signal: false })
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
        self.call.request().number()
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
            match self.call.step(ready) {
                CallStep::Over(result) => return result,
                CallStep::Started(_) => {
                    (self.unheard, ready) = (None, ReadyEnds::NONE);
                    continue;
                }
                CallStep::Queued(limit) => {
                    (self.unheard, ready) = (None, ReadyEnds::NONE);
                    say(&format!("waiting: {limit} calls run already, and no more may at once"));
                    continue;
                }
                CallStep::Waits => {}
            }
            if self.call.request().is_version_1() {
                self.signals = None;
            }
            let has_signal = std::mem::take(&mut self.has_signal);
            let left = self.call.overdue().or_else(|| has_signal.then(|| self.pass_signals()).flatten());
            if let Some(signal) = left {
                return CallResult::Left(signal);
            }
            ready = match self.wait() {
                Ok(ready) => ready,
                Err(_) => return CallResult::Failed(CallFailure::Unanswered),
            };
        }
    }

    /// Waits for the broker or a signal.
    fn wait(&mut self) -> io::Result<ReadyEnds> {
        let ends = self.call.request().ends();
        let signals = self.signals.as_ref().map(AsFd::as_fd);
        // poll(2) takes no descriptor twice amiss: one that is missing is stood in for by another.
        let Some(some) = ends.reply.or(ends.connection) else { return Ok(ReadyEnds::NONE) };
        let mut looked_at = [ends.reply, ends.connection, signals]
            .map(|fd| PollFd::new(fd.unwrap_or(some), PollFlags::POLLIN));
        let until = self.unheard.into_iter().chain(self.call.until()).min();
        if !sys::poll_until(&mut looked_at, until)? {
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
        if is_time && self.call.request().is_untaken() {
            say(&self.asked.unheard());
        }
        self.unheard = self.unheard.filter(|_| !is_time);
    }

    /// Passes on the signals that came. Gives one for which the call is left.
    fn pass_signals(&mut self) -> Option<Signal> {
        while let Some(signal) = self.signals.as_ref().and_then(CaughtSignals::next) {
            match (self.call.take(signal), signal) {
                (SignalStep::Leave, _) => return Some(signal),
                (SignalStep::HungUp, _) => {}
                (SignalStep::Forward, Signal::SIGTSTP) => self.stop(),
                (SignalStep::Forward, Signal::SIGCONT) => self.go_on(),
                (SignalStep::Forward, _) => drop(self.call.request().forward(signal)),
            }
        }
        None
    }

    /// Stops the command, then this process, with the terminal as it was before the command.
    fn stop(&mut self) {
        self.call.request().forward(Signal::SIGTSTP);
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
        self.call.request().forward(Signal::SIGCONT);
        if self.terminal.is_some() {
            self.call.request().forward(Signal::SIGWINCH);
        }
    }
}

/// Says `message` in one line on stderr, if it can be written to.
pub(super) fn say(message: &str) {
    io::stderr().write_all(format!("sluicify: {message}\n").as_bytes()).ok();
}
