//! Group commit, for `sync = yes`: whoever needs a line on disk waits for one sync that covers it, and of
//! those who wait together one makes it for all. Knows lines by their count, and nothing of what they say.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar};

use nix::fcntl::Flock;

use crate::sys::{self, Locked};

/// Which lines of a manifest are on disk.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    state: Locked<CommitState>,
    turn: Condvar,
}

#[derive(Debug, Default)]
struct CommitState {
    /// Lines that are on disk.
    durable: u64,
    /// Somebody syncs now.
    is_led: bool,
    doubt: Option<FailedSync>,
}

/// Lines that a sync failed for, and what it gave. The kernel says so once and forgets: a later sync that
/// succeeds says nothing about them.
#[derive(Clone, Debug)]
struct FailedSync {
    lines: RangeInclusive<u64>,
    errno: i32,
}

impl GroupCommit {
    /// Returns when the `line`th line is on disk. `open` gives the file and how many lines it was given by
    /// then.
    pub(super) fn reach(&self, line: u64, open: impl Fn() -> (Arc<Flock<File>>, u64)) -> io::Result<()> {
        let mut state = self.state.lock();
        loop {
            if let Some(doubt) = state.doubt.as_ref().filter(|doubt| doubt.lines.contains(&line)) {
                return Err(io::Error::from_raw_os_error(doubt.errno));
            }
            if state.durable >= line {
                return Ok(());
            }
            if !state.is_led {
                break;
            }
            state = sys::wait_change(&self.turn, state);
        }
        state.is_led = true;
        drop(state);
        let (file, lines) = open();
        let synced = file.sync_data();
        self.settle(lines, &synced);
        synced
    }

    fn settle(&self, lines: u64, synced: &io::Result<()>) {
        let mut state = self.state.lock();
        state.is_led = false;
        match synced {
            Ok(()) => state.durable = state.durable.max(lines),
            Err(source) => state.fail(source),
        }
        self.turn.notify_all();
    }

    /// The file of all lines up to `lines` is left for another one; whether it is on disk is known.
    pub(super) fn leave(&self, lines: u64, synced: &io::Result<()>) {
        let mut state = self.state.lock();
        if let Err(source) = synced {
            state.fail(source);
        }
        if let Some(doubt) = &mut state.doubt {
            doubt.lines = *doubt.lines.start()..=lines.min(*doubt.lines.end());
        }
        state.durable = state.durable.max(lines);
        self.turn.notify_all();
    }
}

impl CommitState {
    fn fail(&mut self, source: &io::Error) {
        let errno = sys::errno_of(source);
        self.doubt = Some(FailedSync { lines: self.durable + 1..=u64::MAX, errno });
    }
}
