//! Each refusal is written or counted, and only once, in whatever order refusals come.

use crate::audit::record::argv::Caller;
use crate::refusal::Refusal;
use crate::sys::Sender;

use super::*;

fn of(socket: &str, word: &str) -> RefusedRequest {
    RefusedRequest::new(&SocketName::new(socket), None, &[word], &Refusal::Stopping)
}

fn refusal(word: &str) -> RefusedRequest {
    of("agent", word)
}

fn hear(dedup: &mut RefusalDedup, number: u64, word: &str, now: Instant) -> DedupVerdict {
    dedup.hear(CallId::new(number), &refusal(word), now, &|_| 0)
}

fn hear_all(dedup: &mut RefusalDedup, numbers: std::ops::Range<u64>, word: &str, now: Instant) {
    for number in numbers {
        hear(dedup, number, word, now);
    }
}

/// The first number, the last, and the count of each record that is due.
fn due(dedup: &mut RefusalDedup, now: Instant) -> Vec<(u64, u64, u64)> {
    numbers(&dedup.take_due(now, &|_| 0))
}

fn numbers(due: &[DueRecord]) -> Vec<(u64, u64, u64)> {
    let numbers = due.iter().map(|due| match due {
        DueRecord::Equal(_, repeats) => (repeats.first.get(), repeats.last.get(), repeats.count),
        DueRecord::Many(_, many) => (many.first.get(), many.last.get(), many.count),
    });
    numbers.collect()
}

#[test]
fn the_first_are_written_and_the_rest_are_counted() {
    let (mut dedup, now) = (RefusalDedup::default(), Instant::now());
    assert_eq!(hear(&mut dedup, 0, "a", now), DedupVerdict::First);
    assert_eq!(hear(&mut dedup, 1, "a", now), DedupVerdict::First);
    assert_eq!(hear(&mut dedup, 2, "b", now), DedupVerdict::First);
    for number in 3..6 {
        assert_eq!(hear(&mut dedup, number, "a", now), DedupVerdict::Again);
    }
    assert_eq!(due(&mut dedup, now), []);
    assert_eq!(dedup.next_due(), Some(now + DEDUP_WINDOW));
    assert_eq!(due(&mut dedup, now + DEDUP_WINDOW), [(3, 5, 3)]);
    assert_eq!(hear(&mut dedup, 6, "a", now + DEDUP_WINDOW), DedupVerdict::First);
}

#[test]
fn a_count_that_is_overdue_is_not_dropped() {
    let (mut dedup, now) = (RefusalDedup::default(), Instant::now());
    hear_all(&mut dedup, 0..3, "a", now);
    let late = now + DEDUP_WINDOW;
    assert_eq!(hear(&mut dedup, 3, "a", late), DedupVerdict::Again);
    assert_eq!(due(&mut dedup, late), [(2, 3, 2)]);
    assert_eq!(hear(&mut dedup, 4, "a", late), DedupVerdict::First);
}

#[test]
fn a_window_that_closed_on_nothing_begins_anew() {
    let (mut dedup, now) = (RefusalDedup::default(), Instant::now());
    hear_all(&mut dedup, 0..2, "a", now);
    let late = now + DEDUP_WINDOW;
    assert_eq!(
        hear(&mut dedup, 2, "a", late),
        DedupVerdict::First,
        "nothing was counted: it is a new window"
    );
    assert_eq!(hear(&mut dedup, 3, "a", late), DedupVerdict::First, "with as many records of its own");
    assert_eq!(hear(&mut dedup, 4, "a", late), DedupVerdict::Again);
    assert_eq!(dedup.next_due(), Some(late + DEDUP_WINDOW));
}

#[test]
fn numbers_that_come_late_stand_at_the_right_end() {
    let (mut dedup, now) = (RefusalDedup::default(), Instant::now());
    for number in [1, 2, 9, 5, 11, 4, 7] {
        hear(&mut dedup, number, "a", now);
    }
    assert_eq!(due(&mut dedup, now + DEDUP_WINDOW), [(4, 11, 5)]);
}

#[test]
fn a_single_repeat_is_a_record_and_is_due_at_its_time() {
    let (mut dedup, now) = (RefusalDedup::default(), Instant::now());
    hear_all(&mut dedup, 0..3, "a", now);
    let later = now + DEDUP_WINDOW / 2;
    hear_all(&mut dedup, 3..6, "b", later);
    assert_eq!(dedup.next_due(), Some(now + DEDUP_WINDOW), "the earlier of the two");
    assert_eq!(due(&mut dedup, now + DEDUP_WINDOW), [(2, 2, 1)]);
    assert_eq!(dedup.next_due(), Some(later + DEDUP_WINDOW));
    assert_eq!(due(&mut dedup, later + DEDUP_WINDOW), [(5, 5, 1)]);
    assert_eq!((dedup.next_due(), dedup.equal.len()), (None, 0));
}

#[test]
fn nothing_is_due_where_nothing_was_counted() {
    let (mut dedup, now) = (RefusalDedup::default(), Instant::now());
    hear(&mut dedup, 0, "a", now);
    assert_eq!((dedup.next_due(), due(&mut dedup, now + DEDUP_WINDOW)), (None, vec![]));
    assert_eq!(dedup.equal.len(), 0, "it is forgotten");
}

#[test]
fn kinds_are_bounded_and_the_oldest_go_first() {
    let (mut dedup, now) = (RefusalDedup::default(), Instant::now());
    for number in 0..200 {
        let then = now + std::time::Duration::from_micros(number);
        for turn in 0..3 {
            // Each refusal has a socket of its own, and with it a budget.
            let rejected = of(&number.to_string(), "a");
            dedup.hear(CallId::new(3 * number + turn), &rejected, then, &|_| 0);
        }
        let taken = due(&mut dedup, then);
        let oldest = number.checked_sub(DEDUP_KINDS_MAX as u64).map(|oldest| 3 * oldest + 2);
        assert_eq!(taken, oldest.map(|oldest| (oldest, oldest, 1)).into_iter().collect::<Vec<_>>());
        assert!(dedup.equal.len() <= DEDUP_KINDS_MAX);
    }
}

/// The bytes that each record costs here.
const LARGE: u64 = 60 * 1024;

#[test]
fn different_ones_beyond_the_budget_are_counted_together_and_exactly() {
    let (mut dedup, start) = (RefusalDedup::default(), Instant::now());
    let (mut written, mut counted, mut bytes) = (0, 0, 0);
    let mut number = 0;
    for millis in 0..20_000_u64 {
        let now = start + std::time::Duration::from_millis(millis);
        for _ in 0..3 {
            number += 1;
            // One refusal in three comes twice.
            let rejected = refusal(&(number / 3 * 2).to_string());
            if dedup.hear(CallId::new(number), &rejected, now, &|_| LARGE) == DedupVerdict::First {
                (written, bytes) = (written + 1, bytes + LARGE);
            }
        }
        for due in dedup.take_due(now, &|_| LARGE) {
            match due {
                DueRecord::Equal(_, repeats) => (counted, bytes) = (counted + repeats.count, bytes + LARGE),
                DueRecord::Many(socket, many) => {
                    assert_eq!(socket.as_str(), "agent");
                    assert_eq!(many.reasons.values().sum::<u64>(), many.count);
                    assert!(many.last.get() - many.first.get() + 1 >= many.count);
                    counted += many.count;
                }
            }
        }
    }
    counted += numbers(&dedup.take_all()).iter().map(|(.., count)| count).sum::<u64>();
    assert_eq!(written + counted, number, "each has its record, or is counted once");
    assert!(bytes / 20 < 100_000, "{bytes} bytes in 20 s");
    assert!(written > 5, "{written} have records of their own");
}

#[test]
fn a_socket_over_its_budget_costs_another_nothing() {
    let (mut dedup, now) = (RefusalDedup::default(), Instant::now());
    for number in 0..1000 {
        dedup.hear(CallId::new(number), &of("loud", &number.to_string()), now, &|_| LARGE);
    }
    for number in 1000..1010 {
        let heard = dedup.hear(CallId::new(number), &of("calm", &number.to_string()), now, &|_| 300);
        assert_eq!(heard, DedupVerdict::First);
    }
    let due = dedup.take_due(now + DEDUP_WINDOW, &|_| 0);
    let [DueRecord::Many(socket, many)] = &due[..] else { panic!("{due:?}") };
    assert_eq!((socket.as_str(), many.last.get()), ("loud", 999));
    assert!(!dedup.is_over(&SocketName::new("loud")), "a record of their own may come again");
}

#[test]
fn who_was_refused_is_named_up_to_a_bound() {
    let (mut dedup, now) = (RefusalDedup::default(), Instant::now());
    for number in 0..100 {
        let pid = i32::try_from(number).expect("small") + 1;
        let caller = Caller::new(Sender { pid, uid: 7, gid: 7 }, None);
        let socket = SocketName::new("agent");
        let rejected = RefusedRequest::new(&socket, Some(caller), &[&number.to_string()], &Refusal::Silence);
        dedup.hear(CallId::new(number), &rejected, now, &|_| LARGE);
    }
    let due = dedup.take_all();
    let [DueRecord::Many(_, many)] = &due[..] else { panic!("{due:?}") };
    assert_eq!((many.uids.as_slice(), many.pids.len()), ([7].as_slice(), REFUSAL_CALLERS_MAX));
    assert_eq!(many.reasons.iter().collect::<Vec<_>>(), [(&"silence", &many.count)]);
}
