//! The warm set: launchers that are kept for the next calls, and how many there should be. A few usually;
//! more after calls that found none; fewer when it is quiet again; and, with a scope each, none for a socket
//! that has had no call for long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{
    LAUNCHERS_PARKED, LAUNCHERS_PARKED_MAX, LAUNCHERS_QUIET, SCOPES_PARKED, SCOPES_PARKED_MAX, SCOPES_QUIET,
    SCOPES_SLEEP,
};

/// How many launchers are kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(in crate::spawn) struct KeepPolicy {
    usual: usize,
    most: usize,
    /// For how long after a call that found no launcher more than `usual` launchers are kept.
    quiet: Duration,
    /// For how long after the last call launchers are kept at all; `None`: always.
    sleep: Option<Duration>,
}

impl KeepPolicy {
    /// Launchers for one socket, each in a scope or a group.
    pub(super) const SCOPED: Self = Self {
        usual: SCOPES_PARKED,
        most: SCOPES_PARKED_MAX,
        quiet: SCOPES_QUIET,
        sleep: Some(SCOPES_SLEEP),
    };
    /// Launchers without a scope, for calls of any socket.
    pub(in crate::spawn) const BARE: Self =
        Self { usual: LAUNCHERS_PARKED, most: LAUNCHERS_PARKED_MAX, quiet: LAUNCHERS_QUIET, sleep: None };
}

/// The launchers that are kept, and the calls that wait for one.
#[derive(Debug)]
pub(in crate::spawn) struct WarmSet<T> {
    pub(in crate::spawn) ready: VecDeque<T>,
    /// Calls that wait.
    pub(in crate::spawn) waiting: usize,
    policy: KeepPolicy,
    /// How many launchers to keep.
    target: usize,
    used: Instant,
    /// When a call last found no launcher.
    short: Instant,
}

impl<T> WarmSet<T> {
    /// An empty set, as if a call had come at `now`.
    pub(in crate::spawn) fn new(policy: KeepPolicy, now: Instant) -> Self {
        Self { ready: VecDeque::new(), waiting: 0, policy, target: policy.usual, used: now, short: now }
    }

    /// How many launchers are wanted at this time.
    pub(in crate::spawn) fn target(&mut self, now: Instant) -> usize {
        if self.policy.sleep.is_some_and(|sleep| now >= self.used + sleep) {
            self.target = 0;
        } else if now >= self.short + self.policy.quiet {
            self.target = self.target.min(self.policy.usual);
        }
        self.target
    }

    /// When fewer launchers are wanted, if no call comes until then.
    pub(in crate::spawn) fn due(&self) -> Option<Instant> {
        match self.target {
            0 => None,
            target if target > self.policy.usual => Some(self.short + self.policy.quiet),
            _ => self.policy.sleep.map(|sleep| self.used + sleep),
        }
    }

    /// Whether fewer than half are left: then more are made at once, not when the call is over.
    pub(super) fn is_low(&self) -> bool {
        2 * self.ready.len() < self.target
    }

    /// A launcher that is alive. Where there is none, more are kept from now on.
    pub(in crate::spawn) fn take(&mut self, now: Instant, is_alive: impl Fn(&T) -> bool) -> Option<T> {
        self.used = now;
        self.target = self.target.max(self.policy.usual);
        while let Some(launcher) = self.ready.pop_front() {
            if is_alive(&launcher) {
                return Some(launcher);
            }
        }
        self.target = (self.target * 2).min(self.policy.most);
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
        let mut warm = WarmSet::new(KeepPolicy::SCOPED, now);
        let take = |warm: &mut WarmSet<()>| warm.take(now, |()| true);
        assert_eq!(warm.target(now), SCOPES_PARKED);
        warm.ready.push_back(());
        assert!(!warm.is_low() && take(&mut warm).is_some() && warm.is_low());
        assert!(take(&mut warm).is_none() && take(&mut warm).is_none());
        assert_eq!(warm.target(now), 4 * SCOPES_PARKED);
        assert!((0..9).all(|_| take(&mut warm).is_none()));
        assert_eq!(warm.target(now), SCOPES_PARKED_MAX);
        assert_eq!(warm.due(), Some(now + SCOPES_QUIET));
        assert_eq!(warm.target(now + SCOPES_QUIET), SCOPES_PARKED);
        assert_eq!(warm.due(), Some(now + SCOPES_SLEEP));
        assert_eq!(warm.target(now + SCOPES_SLEEP), 0);
        assert_eq!(warm.due(), None);
    }

    #[test]
    fn bare_launchers_are_kept_for_who_sleeps() {
        let now = Instant::now();
        let mut warm: WarmSet<()> = WarmSet::new(KeepPolicy::BARE, now);
        assert_eq!(warm.due(), None);
        assert!(warm.take(now, |()| true).is_none());
        assert_eq!(warm.due(), Some(now + LAUNCHERS_QUIET));
        assert_eq!(warm.target(now + LAUNCHERS_QUIET), LAUNCHERS_PARKED);
        assert_eq!(warm.due(), None);
    }
}
