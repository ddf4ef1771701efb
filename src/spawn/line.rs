//! The scoper's line to the manager: at most one connection at a time, and a thread that turns what comes over it into
//! events. A line that broke is not tried again at once, and less and less often as long as nothing good comes of it.

use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::{BUS_RETRY_MAX, BUS_RETRY_MIN};
use crate::sd::{Address, Bus, BusError};

use super::scopes::Event;

/// The line.
pub(super) struct Line {
    address: Address,
    bus: Option<Bus>,
    /// The number of the connection: words of an older one mean nothing.
    number: u64,
    /// Whether the manager makes no scopes for this user.
    denied: bool,
    retry: Duration,
    retry_at: Instant,
}

impl Line {
    /// Not connected yet.
    pub(super) fn new(address: Address) -> Self {
        Self { address, bus: None, number: 0, denied: false, retry: BUS_RETRY_MIN, retry_at: Instant::now() }
    }

    /// The connection, if there is one.
    pub(super) fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    /// Whether words of this connection count.
    pub(super) fn is_current(&self, number: u64) -> bool {
        self.bus.is_some() && number == self.number
    }

    /// Whether it is time to connect.
    pub(super) fn is_due(&self) -> bool {
        self.bus.is_none() && !self.denied && Instant::now() >= self.retry_at
    }

    /// Connects; what the manager says goes to `events` from now on.
    pub(super) fn connect(&mut self, events: &Sender<Event>) -> Result<(), BusError> {
        let bus = Bus::connect(&self.address)?;
        self.number += 1;
        listen(&bus, self.number, events.clone());
        self.bus = Some(bus);
        Ok(())
    }

    /// Hangs up, and waits for longer than the last time before it is due again. A manager that said no is not asked
    /// again.
    pub(super) fn hang_up(&mut self, why: &BusError) {
        self.bus = None;
        self.denied |= matches!(why, BusError::Denied(_));
        self.retry_at = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(BUS_RETRY_MAX);
    }

    /// It is good: should it break, it is tried again soon.
    pub(super) fn praise(&mut self) {
        self.retry = BUS_RETRY_MIN;
    }
}

/// A thread that turns what the manager says into events, until the connection ends.
fn listen(bus: &Bus, number: u64, events: Sender<Event>) {
    let (words, last) = (bus.words(), events.clone());
    let work = move || {
        for word in words {
            if events.send(Event::Said(number, word)).is_err() {
                return;
            }
        }
        drop(events.send(Event::Hangup(number)));
    };
    if thread::Builder::new().name("bus".into()).spawn(work).is_err() {
        drop(last.send(Event::Hangup(number)));
    }
}
