//! The FIFO doors of the sockets whose rules say `fifo = yes`, as far as they are open. `door_setup.rs` opens
//! and closes them.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

use crate::spawn::FifoDoor;
use crate::sys::{self, Locked};

/// The doors, by the index of their socket.
#[derive(Debug)]
pub(super) struct FifoDoors {
    states: Locked<Vec<DoorState>>,
    /// Whether something may have changed since the doors were last looked at.
    is_news: AtomicBool,
    /// The directory of the door of the only socket, where the command line names one.
    given: OnceLock<PathBuf>,
}

/// The state of one socket's door.
#[derive(Debug)]
pub(super) enum DoorState {
    /// There is none.
    Closed,
    /// A thread opens or closes it.
    Changing,
    /// It is open.
    Open(FifoDoor),
    /// It could not be opened, or has ended: it is opened at this time.
    Failed(Instant),
}

/// What is to be done with a door.
#[derive(Debug)]
pub(super) enum DoorChange {
    /// It is to be opened.
    Open,
    /// It is to be closed.
    Close(FifoDoor),
}

impl FifoDoors {
    /// No doors yet, for so many sockets.
    pub(super) fn new(sockets: usize) -> Self {
        let states = std::iter::repeat_with(|| DoorState::Closed).take(sockets).collect();
        Self { states: Locked::new(states), is_news: AtomicBool::new(true), given: OnceLock::new() }
    }

    /// Has a door opened in this directory, whatever the rules say.
    pub(super) fn open_in(&self, directory: PathBuf) {
        // Called once, before the broker serves.
        self.given.set(directory).ok();
    }

    /// Notes that rules have changed.
    pub(super) fn note_change(&self) {
        self.is_news.store(true, Ordering::Relaxed);
    }

    /// When a door is to be opened again.
    pub(super) fn due(&self) -> Option<Instant> {
        let states = self.states.lock();
        states
            .iter()
            .filter_map(|state| if let DoorState::Failed(at) = state { Some(*at) } else { None })
            .min()
    }

    /// What a thread is to do with a socket's door, which then counts as changing; `None` where the door is
    /// as it is to be, or a thread changes it.
    pub(super) fn begin_change(&self, index: usize, is_wanted: bool, now: Instant) -> Option<DoorChange> {
        let mut states = self.states.lock();
        let state = &mut states[index];
        match state {
            DoorState::Closed if is_wanted => {}
            DoorState::Failed(at) if is_wanted && *at <= now => {}
            DoorState::Failed(_) if !is_wanted => {
                *state = DoorState::Closed;
                return None;
            }
            DoorState::Open(_) if !is_wanted => {}
            DoorState::Closed | DoorState::Failed(_) | DoorState::Open(_) | DoorState::Changing => {
                return None;
            }
        }
        match std::mem::replace(state, DoorState::Changing) {
            DoorState::Open(door) => Some(DoorChange::Close(door)),
            DoorState::Closed | DoorState::Failed(_) | DoorState::Changing => Some(DoorChange::Open),
        }
    }

    /// Notes what a change came to.
    pub(super) fn end_change(&self, index: usize, state: DoorState) {
        self.states.lock()[index] = state;
        self.note_change();
    }

    /// The directory that the command line names.
    pub(super) fn given(&self) -> Option<&PathBuf> {
        self.given.get()
    }

    /// Whether something has changed since the last time, or is due.
    pub(super) fn take_news(&self) -> bool {
        let is_due = self.due().is_some_and(|due| due <= Instant::now());
        self.is_news.swap(false, Ordering::Relaxed) || is_due
    }

    /// Whether the process of an open door has ended.
    pub(super) fn has_ended(&self, index: usize) -> bool {
        let states = self.states.lock();
        let DoorState::Open(door) = &states[index] else { return false };
        let mut look = [PollFd::new(door.ended(), PollFlags::POLLIN)];
        sys::poll_until(&mut look, Some(Instant::now())).unwrap_or(false)
    }

    /// Takes an open door, which is to be opened again at a time.
    pub(super) fn lose(&self, index: usize, again: Instant) -> Option<FifoDoor> {
        let mut states = self.states.lock();
        let state = std::mem::replace(&mut states[index], DoorState::Failed(again));
        if let DoorState::Open(door) = state {
            return Some(door);
        }
        states[index] = state;
        None
    }

    /// Takes all open doors: the broker ends.
    pub(super) fn take_open(&self) -> Vec<FifoDoor> {
        let mut states = self.states.lock();
        let states = states.iter_mut().map(|state| std::mem::replace(state, DoorState::Closed));
        let door = |state| if let DoorState::Open(door) = state { Some(door) } else { None };
        states.filter_map(door).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether a door is to be opened now.
    fn opens(doors: &FifoDoors, now: Instant) -> bool {
        matches!(doors.begin_change(0, true, now), Some(DoorChange::Open))
    }

    #[test]
    fn a_door_is_changed_by_one_thread_at_a_time() {
        let (doors, now) = (FifoDoors::new(1), Instant::now());
        assert!(doors.take_news() && doors.begin_change(0, false, now).is_none());
        assert!(opens(&doors, now) && !opens(&doors, now));
        let later = now + Duration::from_secs(60);
        doors.end_change(0, DoorState::Failed(later));
        assert!(doors.take_news() && !doors.take_news());
        assert_eq!(doors.due(), Some(later));
        assert!(!opens(&doors, now) && opens(&doors, later));
    }

    #[test]
    fn doors_that_were_all_taken_can_be_opened_again() {
        let (doors, now) = (FifoDoors::new(1), Instant::now());
        assert!(doors.take_open().is_empty() && !doors.has_ended(0) && doors.lose(0, now).is_none());
        assert!(opens(&doors, now));
    }
}
