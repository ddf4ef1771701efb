//! The budget for records of refusals: bytes that come back with time, for each socket and for all sockets
//! together. Knows sizes and times; writes nothing. `dedup.rs` decides what becomes of refusals that exceed
//! the budget.

use std::time::{Duration, Instant};

use crate::limits::{
    REFUSAL_BROKER_BYTES, REFUSAL_BROKER_BYTES_PER_SECOND, REFUSAL_COST_BYTES_MIN, REFUSAL_OWN_BYTES,
    REFUSAL_OWN_BYTES_PER_SECOND, REFUSAL_SOCKET_BYTES, REFUSAL_SOCKET_BYTES_PER_SECOND,
};
use crate::sys::Locked;

/// The budget that all sockets of this process share, as they share the disk and the journal.
static BROKER: Locked<TokenBucket> =
    Locked::new(TokenBucket::full(REFUSAL_BROKER_BYTES, REFUSAL_BROKER_BYTES_PER_SECOND));

/// Bytes that may be written: at most `most`, and `per_second` more with each second.
#[derive(Debug)]
struct TokenBucket {
    left: u64,
    most: u64,
    per_second: u64,
    since: Option<Instant>,
}

impl TokenBucket {
    const fn full(most: u64, per_second: u64) -> Self {
        Self { left: most, most, per_second, since: None }
    }

    fn refill(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let nanos = now.saturating_duration_since(since).as_nanos().min(u128::from(u64::MAX));
        let more = nanos * u128::from(self.per_second) / 1_000_000_000;
        self.left = self.most.min(self.left.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)));
        // The time for a fraction of a byte is not lost between two refills.
        let used = more * 1_000_000_000 / u128::from(self.per_second);
        self.since = Some(since + Duration::from_nanos(u64::try_from(used).unwrap_or(u64::MAX)));
    }

    fn take(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.left;
        if fits {
            self.left -= bytes;
        }
        fits
    }
}

/// The budget of one socket.
#[derive(Debug)]
pub(super) struct RefusalBudget {
    /// Its own bytes, whatever the other sockets do.
    own: TokenBucket,
    /// Further bytes, as long as all sockets together have them.
    shared: TokenBucket,
}

impl Default for RefusalBudget {
    fn default() -> Self {
        Self {
            own: TokenBucket::full(REFUSAL_OWN_BYTES, REFUSAL_OWN_BYTES_PER_SECOND),
            shared: TokenBucket::full(REFUSAL_SOCKET_BYTES, REFUSAL_SOCKET_BYTES_PER_SECOND),
        }
    }
}

impl RefusalBudget {
    /// Takes the cost of a record of so many bytes; `false` where less is left.
    pub(in crate::audit) fn take(&mut self, bytes: u64, now: Instant) -> bool {
        self.take_of(&mut BROKER.lock(), bytes, now)
    }

    fn take_of(&mut self, broker: &mut TokenBucket, bytes: u64, now: Instant) -> bool {
        [&mut self.own, &mut self.shared, broker].into_iter().for_each(|bucket| bucket.refill(now));
        // A small record costs the journal more than its bytes.
        let cost = bytes.max(REFUSAL_COST_BYTES_MIN);
        let is_shared = cost <= self.shared.left && cost <= broker.left;
        self.own.take(cost) || is_shared && self.shared.take(cost) && broker.take(cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many records of this size are taken, one each millisecond from `now` on.
    fn taken(
        budgets: &mut [RefusalBudget],
        broker: &mut TokenBucket,
        bytes: u64,
        now: Instant,
        seconds: u64,
    ) -> Vec<u64> {
        let mut taken = vec![0; budgets.len()];
        for millis in 0..seconds * 1000 {
            let then = now + Duration::from_millis(millis);
            for (budget, count) in budgets.iter_mut().zip(&mut taken) {
                *count += u64::from(budget.take_of(broker, bytes, then));
            }
        }
        taken
    }

    fn broker() -> TokenBucket {
        TokenBucket::full(REFUSAL_BROKER_BYTES, REFUSAL_BROKER_BYTES_PER_SECOND)
    }

    #[test]
    fn what_a_socket_writes_is_bounded_over_time() {
        let now = Instant::now();
        for bytes in [100, 3000, 48 << 10, 64 << 10] {
            let count = taken(&mut [RefusalBudget::default()], &mut broker(), bytes, now, 100)[0];
            let burst = REFUSAL_OWN_BYTES + REFUSAL_SOCKET_BYTES;
            let rate = REFUSAL_OWN_BYTES_PER_SECOND + REFUSAL_SOCKET_BYTES_PER_SECOND;
            let cost = bytes.max(REFUSAL_COST_BYTES_MIN);
            assert!(count * cost <= burst + 100 * rate, "{count} of {bytes}");
            assert!(
                count * cost + 2 * cost >= burst + 99 * rate,
                "{count} of {bytes}: what is there can be used"
            );
        }
    }

    #[test]
    fn many_sockets_are_bounded_together_and_each_keeps_its_own() {
        let (now, mut all) = (Instant::now(), broker());
        let mut budgets: Vec<_> = (0..50).map(|_| RefusalBudget::default()).collect();
        let count = taken(&mut budgets, &mut all, 4096, now, 20);
        let burst = 50 * REFUSAL_OWN_BYTES + REFUSAL_BROKER_BYTES;
        let rate = 50 * REFUSAL_OWN_BYTES_PER_SECOND + REFUSAL_BROKER_BYTES_PER_SECOND;
        assert!(count.iter().sum::<u64>() * 4096 <= burst + 20 * rate, "{count:?}");
        let later = now + Duration::from_secs(20);
        let own = taken(&mut [RefusalBudget::default()], &mut all, 4096, later, 1)[0];
        assert!(own * 4096 >= REFUSAL_OWN_BYTES, "a socket that was calm has its own: {own}");
    }

    #[test]
    fn a_record_of_the_largest_size_fits_a_socket_that_was_calm() {
        assert!(RefusalBudget::default().take_of(
            &mut broker(),
            crate::limits::RECORD_BYTES_MAX as u64,
            Instant::now()
        ));
    }

    #[test]
    fn little_by_little_is_as_much_as_at_once() {
        let now = Instant::now();
        let mut bucket = TokenBucket::full(10_000, 1500);
        assert!(bucket.take(10_000));
        bucket.refill(now);
        (1..=4000).for_each(|tick| bucket.refill(now + Duration::from_micros(tick * 250)));
        assert!((1490..=1500).contains(&bucket.left), "{}", bucket.left);
        bucket.refill(now + Duration::from_secs(60));
        assert_eq!(bucket.left, 10_000);
    }
}
