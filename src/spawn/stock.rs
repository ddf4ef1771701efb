//! The launchers that are parked for one socket, and how many there should be: a few while it is used, more after calls
//! that found none, none when it sleeps.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{SCOPES_PARKED, SCOPES_PARKED_MAX, SCOPES_QUIET, SCOPES_SLEEP};

/// What is parked for one socket.
#[derive(Debug)]
pub(super) struct Stock<T> {
    pub(super) ready: VecDeque<T>,
    /// Calls that wait.
    pub(super) waiting: usize,
    /// How many to keep.
    target: usize,
    used: Instant,
    /// When a call last found none.
    short: Instant,
}

impl<T> Stock<T> {
    /// Nothing yet, for a socket that is used now.
    pub(super) fn new(now: Instant) -> Self {
        Self { ready: VecDeque::new(), waiting: 0, target: SCOPES_PARKED, used: now, short: now }
    }

    /// How many are wanted at this time.
    pub(super) fn target(&mut self, now: Instant) -> usize {
        if now >= self.used + SCOPES_SLEEP {
            self.target = 0;
        } else if now >= self.short + SCOPES_QUIET {
            self.target = self.target.min(SCOPES_PARKED);
        }
        self.target
    }

    /// When fewer are wanted, if nothing happens until then.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.target {
            0 => None,
            target if target > SCOPES_PARKED => Some(self.short + SCOPES_QUIET),
            _ => Some(self.used + SCOPES_SLEEP),
        }
    }

    /// Whether fewer than half are left: others are to be made at once, not when the call is over.
    pub(super) fn is_low(&self) -> bool {
        2 * self.ready.len() < self.target
    }

    /// A launcher that is alive; where there is none, more are kept from now on.
    pub(super) fn take(&mut self, now: Instant, is_alive: impl Fn(&T) -> bool) -> Option<T> {
        self.used = now;
        self.target = self.target.max(SCOPES_PARKED);
        while let Some(launcher) = self.ready.pop_front() {
            if is_alive(&launcher) {
                return Some(launcher);
            }
        }
        self.target = (self.target * 2).min(SCOPES_PARKED_MAX);
        self.short = now;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_has_more_kept_and_quiet_fewer_and_sleep_none() {
        let now = Instant::now();
        let mut stock = Stock::new(now);
        let take = |stock: &mut Stock<()>| stock.take(now, |()| true);
        assert_eq!(stock.target(now), SCOPES_PARKED);
        stock.ready.push_back(());
        assert!(!stock.is_low() && take(&mut stock).is_some() && stock.is_low());
        assert!(take(&mut stock).is_none() && take(&mut stock).is_none());
        assert_eq!(stock.target(now), 4 * SCOPES_PARKED);
        assert!((0..9).all(|_| take(&mut stock).is_none()));
        assert_eq!(stock.target(now), SCOPES_PARKED_MAX);
        assert_eq!(stock.due(), Some(now + SCOPES_QUIET));
        assert_eq!(stock.target(now + SCOPES_QUIET), SCOPES_PARKED);
        assert_eq!(stock.due(), Some(now + SCOPES_SLEEP));
        assert_eq!(stock.target(now + SCOPES_SLEEP), 0);
        assert_eq!(stock.due(), None);
    }
}
