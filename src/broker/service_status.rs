//! The status line for the service manager: rules, running calls, the last refusal, a reload that failed.
//! Threads note on the [`StatusBoard`] that something changed; the main thread's [`ServiceStatus`] sends a
//! line now and then.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::{NOTIFY_BACKLOG_MAX, NOTIFY_RETRY, STATUS_CHARS_MAX, STATUS_INTERVAL};
use crate::rules::ScopeMode;
use crate::sd::Notifier;
use crate::spawn::ScopeFallback;
use crate::text::visible;

use super::notice::{Notice, count};
use super::state::Broker;
use super::status_board::StatusBoard;

/// The messages to the service manager, sent and still to be sent.
#[derive(Debug)]
pub(super) struct ServiceStatus {
    notifier: Arc<Notifier>,
    /// The status line that the manager has.
    said: String,
    /// The time from which the next status line may be sent.
    next_status: Instant,
    ping_interval: Option<Duration>,
    next_ping: Instant,
    /// Messages for which the manager's queue has had no room yet, in order: the main thread does not wait
    /// for room.
    owed: VecDeque<StatusTurn>,
    next_try: Instant,
}

/// A change in the broker's life that the manager acts on.
#[derive(Clone, Copy, Debug)]
enum StatusTurn {
    Ready,
    Reloading,
    Stopping,
}

impl ServiceStatus {
    /// A status of which the manager was not told anything yet.
    pub(super) fn new(notifier: Arc<Notifier>) -> Self {
        let (now, ping_interval) = (Instant::now(), notifier.ping_interval());
        let owed = VecDeque::new();
        Self {
            notifier,
            said: String::new(),
            next_status: now,
            ping_interval,
            next_ping: now,
            owed,
            next_try: now,
        }
    }

    /// Tells that requests are answered from now on, or again after a reload.
    pub(super) fn ready(&mut self, broker: &Broker) {
        self.tell(broker, StatusTurn::Ready);
    }

    /// Tells that the rules are being read again.
    pub(super) fn reloading(&mut self, broker: &Broker) {
        self.tell(broker, StatusTurn::Reloading);
    }

    /// Tells that the broker stops.
    pub(super) fn stopping(&mut self, broker: &Broker) {
        self.tell(broker, StatusTurn::Stopping);
    }

    fn tell(&mut self, broker: &Broker, turn: StatusTurn) {
        // The manager has to know the last of these messages; of the reloads before it, some may be left out.
        if self.owed.len() == NOTIFY_BACKLOG_MAX {
            self.owed.pop_front();
        }
        self.owed.push_back(turn);
        self.pay(broker);
    }

    /// Sends the messages that are owed, as far as the manager's queue has room.
    fn pay(&mut self, broker: &Broker) {
        while let Some(turn) = self.owed.front() {
            let status = describe(broker);
            let told = match turn {
                StatusTurn::Ready => self.notifier.ready(&status),
                StatusTurn::Reloading => self.notifier.reloading(),
                StatusTurn::Stopping => self.notifier.stopping(&status),
            };
            match told {
                Err(source) if source.kind() == io::ErrorKind::WouldBlock => {
                    self.next_try = Instant::now() + NOTIFY_RETRY;
                    return;
                }
                // Without these messages the manager may end the broker, so the operator is told.
                Err(source) => (broker.say)(&Notice::NoManager(&source)),
                Ok(()) if matches!(turn, StatusTurn::Reloading) => {}
                Ok(()) => self.said = status,
            }
            self.owed.pop_front();
        }
    }

    /// The time at which something is to be sent next.
    pub(super) fn due(&self, board: &StatusBoard) -> Option<Instant> {
        let status = board.has_changed().then_some(self.next_status);
        let owed = (!self.owed.is_empty()).then_some(self.next_try);
        status.into_iter().chain(owed).chain(self.ping_interval.map(|_| self.next_ping)).min()
    }

    /// Sends what is due.
    pub(super) fn speak(&mut self, broker: &Broker) {
        let now = Instant::now();
        if let Some(interval) = self.ping_interval.filter(|_| self.next_ping <= now) {
            // A ping that does not get through is followed by another before the manager's time is up.
            self.notifier.ping().ok();
            self.next_ping = now + interval;
        }
        if !self.owed.is_empty() && self.next_try <= now {
            self.pay(broker);
        }
        // A status line must not overtake a message that is owed, which has a line of its own.
        if self.owed.is_empty() && self.next_status <= now && broker.board.take_change() {
            self.next_status = now + STATUS_INTERVAL;
            let status = describe(broker);
            if status == self.said {
                return;
            }
            if self.notifier.status(&status).is_ok() {
                self.said = status;
            } else {
                broker.board.change();
            }
        }
    }
}

fn describe(broker: &Broker) -> String {
    let rulesets = &broker.rulesets;
    let rules: usize = rulesets.iter().map(|ruleset| ruleset.policy().rules().len()).sum();
    let running = broker.sockets.iter().map(|socket| socket.admission.running() as usize).sum();
    let stopping = if broker.events.is_stopping() { "stopping, " } else { "" };
    let mut parts = vec![format!("{stopping}{}, {} running", count(rules, "rule"), count(running, "call"))];
    let faults = rulesets.iter().filter_map(|ruleset| ruleset.fault());
    parts.extend(faults.map(|fault| format!("reload failed, the old rules stay: {fault}")));
    if rulesets.iter().any(|ruleset| ruleset.policy().scope() == ScopeMode::Auto) {
        parts.extend(broker.scopes.instead().map(|instead| match instead {
            ScopeFallback::Group => "calls run in groups of the broker's own cgroup".to_owned(),
            ScopeFallback::Nothing => "no scopes, calls run without".to_owned(),
        }));
    }
    parts.extend(broker.board.last_refused().map(|refused| format!("last refused: {refused}")));
    one_line(&parts.join("; "))
}

/// Text as a status line: short, and without characters that act on a terminal.
pub(super) fn one_line(text: &str) -> String {
    let shown = visible(text.trim_end());
    match shown.char_indices().nth(STATUS_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &shown[..end]),
        None => shown.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_short_line() {
        assert_eq!(one_line("a\u{1b}[31m\nb\n"), "a\\u{1b}[31m\\u{a}b");
        assert_eq!(one_line(&"x".repeat(1000)).len(), STATUS_CHARS_MAX + 3);
    }
}
