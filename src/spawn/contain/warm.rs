//! The warm set: launchers without a scope that are kept for the next calls, and how many there should be. A
//! few usually; more after calls that found none; fewer when it is quiet again.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{LAUNCHERS_PARKED, LAUNCHERS_PARKED_MAX, LAUNCHERS_QUIET};

/// The launchers that are kept, and the calls that wait for one.
#[derive(Debug)]
pub(in crate::spawn) struct WarmSet<T> {
    pub(in crate::spawn) ready: VecDeque<T>,
    /// Calls that wait.
    pub(in crate::spawn) waiting: usize,
    /// How many launchers to keep.
    target: usize,
    /// When a call last found no launcher.
    short: Instant,
}

impl<T> WarmSet<T> {
    /// An empty set, as if a call had come at `now`.
    pub(in crate::spawn) fn new(now: Instant) -> Self {
        Self { ready: VecDeque::new(), waiting: 0, target: LAUNCHERS_PARKED, short: now }
    }

    /// How many launchers are wanted at this time.
    pub(in crate::spawn) fn target(&mut self, now: Instant) -> usize {
        if now >= self.short + LAUNCHERS_QUIET {
            self.target = self.target.min(LAUNCHERS_PARKED);
        }
        self.target
    }

    /// When fewer launchers are wanted, if no call comes until then.
    pub(in crate::spawn) fn due(&self) -> Option<Instant> {
        (self.target > LAUNCHERS_PARKED).then(|| self.short + LAUNCHERS_QUIET)
    }

    /// A launcher that is alive. Where there is none, more are kept from now on.
    pub(in crate::spawn) fn take(&mut self, now: Instant, is_alive: impl Fn(&T) -> bool) -> Option<T> {
        while let Some(launcher) = self.ready.pop_front() {
            if is_alive(&launcher) {
                return Some(launcher);
            }
        }
        self.target = (self.target * 2).min(LAUNCHERS_PARKED_MAX);
        self.short = now;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_has_more_kept_and_quiet_fewer() {
        let now = Instant::now();
        let mut warm: WarmSet<()> = WarmSet::new(now);
        assert_eq!(warm.due(), None);
        warm.ready.push_back(());
        assert!(warm.take(now, |()| true).is_some() && warm.due().is_none());
        assert!((0..9).all(|_| warm.take(now, |()| true).is_none()));
        assert_eq!(warm.target(now), LAUNCHERS_PARKED_MAX);
        assert_eq!(warm.due(), Some(now + LAUNCHERS_QUIET));
        assert_eq!(warm.target(now + LAUNCHERS_QUIET), LAUNCHERS_PARKED);
        assert_eq!(warm.due(), None);
    }
}
