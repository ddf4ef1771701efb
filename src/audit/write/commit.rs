//! Group commit, for `sync = yes`: a thread that needs a line on disk waits for a sync that covers the line,
//! and of the threads that wait together, one makes the sync for all. Knows lines by their count, not by
//! their contents.

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
    /// A thread is making a sync.
    is_led: bool,
    doubt: Option<FailedSync>,
}

/// Lines that a sync failed for, and its error. The kernel reports such an error once and forgets it: a
/// later sync that succeeds says nothing about these lines.
#[derive(Clone, Debug)]
struct FailedSync {
    lines: RangeInclusive<u64>,
    errno: i32,
}

impl GroupCommit {
    /// Returns when the `line`th line is on disk. `open` gives the file, and how many lines have been
    /// written to it and to the files before it.
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

    /// Notes that the file with all lines up to `lines` is left for another one, and whether they are on
    /// disk.
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
