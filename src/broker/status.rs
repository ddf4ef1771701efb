//! How things stand, for the service manager: rules, running calls, the last refusal, a reload that failed. Threads
//! note on the [`Board`] that something changed; the accept loop's [`Herald`] says it, now and then and not each time.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::audit::Rejected;
use crate::limits::{STATUS_CHARS_MAX, STATUS_INTERVAL};
use crate::rules::ScopeMode;
use crate::rules::escape::visible;
use crate::sd::Notifier;
use crate::spawn::Instead;

use super::notice::Notice;
use super::state::Broker;

/// What threads leave for the status line.
#[derive(Debug)]
pub(super) struct Board {
    /// Whether anybody is told at all.
    followed: bool,
    changed: AtomicBool,
    refused: Mutex<Option<String>>,
}

impl Board {
    /// An empty board.
    pub(super) fn new(notifier: &Notifier) -> Self {
        Self { followed: notifier.is_heard(), changed: AtomicBool::new(false), refused: Mutex::default() }
    }

    /// Calls came or went. Gives whether the accept loop has to be told.
    pub(super) fn change(&self) -> bool {
        self.followed && !self.changed.swap(true, Ordering::SeqCst)
    }

    /// Somebody was refused. Gives whether the accept loop has to be told.
    pub(super) fn refuse(&self, rejected: &Rejected) -> bool {
        if self.followed {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(rejected.summary());
        }
        self.change()
    }

    fn last_refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Speaks to the service manager, for the accept loop.
#[derive(Debug)]
pub(super) struct Herald {
    notifier: Arc<Notifier>,
    /// The manager knows this.
    said: String,
    /// When the next status may be said.
    next_status: Instant,
    ping_interval: Option<Duration>,
    next_ping: Instant,
}

impl Herald {
    /// One that has not said anything yet.
    pub(super) fn new(notifier: Arc<Notifier>) -> Self {
        let (now, ping_interval) = (Instant::now(), notifier.ping_interval());
        Self { notifier, said: String::new(), next_status: now, ping_interval, next_ping: now }
    }

    /// Callers are answered from now on, or again after a reload.
    pub(super) fn ready(&mut self, broker: &Broker) {
        self.said = describe(broker);
        heed(broker, self.notifier.ready(&self.said));
    }

    /// The rules are being read again.
    pub(super) fn reloading(&self, broker: &Broker) {
        heed(broker, self.notifier.reloading());
    }

    /// The broker ends.
    pub(super) fn stopping(&mut self, broker: &Broker) {
        self.said = describe(broker);
        heed(broker, self.notifier.stopping(&self.said));
    }

    /// When there is something to say next.
    pub(super) fn due(&self, board: &Board) -> Option<Instant> {
        let status = board.changed.load(Ordering::SeqCst).then_some(self.next_status);
        status.into_iter().chain(self.ping_interval.map(|_| self.next_ping)).min()
    }

    /// Says what is due.
    pub(super) fn speak(&mut self, broker: &Broker) {
        let now = Instant::now();
        if let Some(interval) = self.ping_interval.filter(|_| self.next_ping <= now) {
            // One that does not get through is followed by another before the manager's time is up.
            self.notifier.ping().ok();
            self.next_ping = now + interval;
        }
        if self.next_status <= now && broker.board.changed.swap(false, Ordering::SeqCst) {
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

/// Without a word of these the manager may end the broker, so the operator is told.
fn heed(broker: &Broker, told: io::Result<()>) {
    if let Err(source) = told {
        (broker.say)(&Notice::NoManager(&source));
    }
}

fn describe(broker: &Broker) -> String {
    let rulesets = &broker.rulesets;
    let rules: usize = rulesets.iter().map(|ruleset| ruleset.policy().rules().len()).sum();
    let running: u32 = broker.sockets.iter().map(|socket| socket.gate.running()).sum();
    let stopping = if broker.events.is_stopping() { "stopping, " } else { "" };
    let mut parts = vec![format!("{stopping}{rules} rules, {running} calls running")];
    let faults = rulesets.iter().filter_map(|ruleset| ruleset.fault());
    parts.extend(faults.map(|fault| format!("reload failed, the old rules stay: {fault}")));
    if rulesets.iter().any(|ruleset| ruleset.policy().scope() == ScopeMode::Auto) {
        parts.extend(broker.scopes.instead().map(|instead| {
            let place =
                if instead == Instead::Group { "in groups of the broker's own cgroup" } else { "without" };
            format!("no scopes, calls run {place}")
        }));
    }
    parts.extend(broker.board.last_refused().map(|refused| format!("last refused: {refused}")));
    one_line(&parts.join("; "))
}

/// Text as a status line: short, and nothing in it acts on a terminal.
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
