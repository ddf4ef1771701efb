//! The FIFO doors of the sockets whose rules say `fifo = yes`, as far as they are open. `door_setup.rs` opens
//! and closes them.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::spawn::FifoDoor;
use crate::sys::Locked;

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

    /// Sets the state of a socket's door, and gives the one before.
    pub(super) fn set(&self, index: usize, state: DoorState) -> DoorState {
        std::mem::replace(&mut self.states.lock()[index], state)
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
        let states = std::mem::take(&mut *self.states.lock());
        let door = |state| if let DoorState::Open(door) = state { Some(door) } else { None };
        states.into_iter().filter_map(door).collect()
    }
}
