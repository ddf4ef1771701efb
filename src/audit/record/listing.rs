//! The record of listings that were given: the callers that learnt what the rules of a socket allow. A
//! listing has no number. The first listings of a second have records of their own; further ones of the same
//! socket are counted.

use std::collections::HashMap;
use std::time::Instant;

use serde::Serialize;

use crate::ids::SocketName;
use crate::limits::{DEDUP_AFTER, DEDUP_WINDOW, REFUSAL_CALLERS_MAX};

use super::argv::Caller;
use super::call::now_ms;
use super::kind::RecordKind;

/// `list`: a caller was given the listing, or several callers were.
#[derive(Debug, Serialize)]
pub(in crate::audit) struct ListRecord {
    kind: RecordKind,
    ts: u64,
    pub(in crate::audit) socket: SocketName,
    #[serde(flatten)]
    pub(in crate::audit) caller: Option<Caller>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pids: Vec<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uids: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) count: Option<u64>,
}

impl ListRecord {
    fn new(socket: &SocketName) -> Self {
        let socket = socket.clone();
        Self {
            kind: RecordKind::List,
            ts: now_ms(),
            socket,
            caller: None,
            pids: Vec::new(),
            uids: Vec::new(),
            count: None,
        }
    }
}

/// Listings of the last second, for each socket.
#[derive(Debug, Default)]
pub(in crate::audit) struct ListingCounts(HashMap<SocketName, ListingWindow>);

#[derive(Debug)]
struct ListingWindow {
    until: Instant,
    written: u64,
    count: u64,
    pids: Vec<i32>,
    uids: Vec<u32>,
}

impl ListingCounts {
    /// Takes note of a listing. Gives its record, unless it is only counted.
    pub(in crate::audit) fn hear(
        &mut self,
        socket: &SocketName,
        caller: Option<Caller>,
        now: Instant,
    ) -> Option<ListRecord> {
        let fresh = || ListingWindow {
            until: now + DEDUP_WINDOW,
            written: 0,
            count: 0,
            pids: Vec::new(),
            uids: Vec::new(),
        };
        let window = self.0.entry(socket.clone()).or_insert_with(fresh);
        if window.until <= now && window.count == 0 {
            *window = fresh();
        }
        if window.written < DEDUP_AFTER {
            window.written += 1;
            return Some(ListRecord { caller, ..ListRecord::new(socket) });
        }
        window.count += 1;
        if let Some(caller) = caller {
            caller.pid().into_iter().for_each(|pid| add(&mut window.pids, pid));
            add(&mut window.uids, caller.uid());
        }
        None
    }

    /// The counts whose windows have closed by now; without a time, all of them.
    pub(in crate::audit) fn take_due(&mut self, now: Option<Instant>) -> Vec<ListRecord> {
        let closed = |window: &ListingWindow| now.is_none_or(|now| window.until <= now);
        let taken = self.0.extract_if(|_, window| closed(window)).filter(|(_, window)| window.count > 0);
        let lists = taken.map(|(socket, window)| {
            let ListingWindow { count, pids, uids, .. } = window;
            ListRecord { pids, uids, count: Some(count), ..ListRecord::new(&socket) }
        });
        lists.collect()
    }

    /// When the next window with a count closes.
    pub(in crate::audit) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter(|window| window.count > 0).map(|window| window.until).min()
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if list.len() < REFUSAL_CALLERS_MAX && !list.contains(&one) {
        list.push(one);
    }
}

#[cfg(test)]
mod tests {
    use crate::sys::Sender;

    use super::*;

    fn hear(lists: &mut ListingCounts, pid: i32, now: Instant) -> bool {
        let caller = Caller::new(Sender { pid, uid: 7, gid: 7 }, None);
        lists.hear(&SocketName::new("agent"), Some(caller), now).is_some()
    }

    #[test]
    fn the_first_have_records_and_the_rest_are_counted() {
        let (mut lists, now) = (ListingCounts::default(), Instant::now());
        let written = (0..100).filter(|pid| hear(&mut lists, *pid, now)).count() as u64;
        assert_eq!((written, lists.next_due()), (DEDUP_AFTER, Some(now + DEDUP_WINDOW)));
        assert!(lists.take_due(Some(now)).is_empty());
        let due = lists.take_due(Some(now + DEDUP_WINDOW));
        let [list] = &due[..] else { panic!("{due:?}") };
        assert_eq!((list.count, &*list.uids, list.pids.len()), (Some(98), &[7][..], REFUSAL_CALLERS_MAX));
        assert!(hear(&mut lists, 1, now + DEDUP_WINDOW) && lists.next_due().is_none());
        assert!(lists.take_due(None).is_empty());
    }

    #[test]
    fn a_window_that_closed_begins_anew_unless_it_counted() {
        let (mut lists, now) = (ListingCounts::default(), Instant::now());
        let late = now + DEDUP_WINDOW;
        assert!(hear(&mut lists, 1, now) && hear(&mut lists, 1, now) && hear(&mut lists, 1, late));
        assert!(hear(&mut lists, 1, late) && !hear(&mut lists, 1, late));
        assert!(!hear(&mut lists, 1, late + DEDUP_WINDOW), "a count that is overdue is not dropped");
        assert_eq!(lists.take_due(None)[0].count, Some(2));
    }
}
