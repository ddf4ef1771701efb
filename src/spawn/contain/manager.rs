//! The scope maker's connection to the manager: at most one connection at a time. After a connection broke,
//! the next attempt waits, and longer after each one that led to no scope.

use std::time::{Duration, Instant};

use crate::limits::{BUS_RETRY_MAX, BUS_RETRY_MIN};
use crate::sd::{BusAddress, BusError, ManagerBus, ManagerReply};

/// The connection to the manager, or the time of the next attempt.
pub(super) struct ManagerConnection {
    /// `None` where the environment names no bus.
    address: Option<BusAddress>,
    bus: Option<ManagerBus>,
    /// Whether the manager makes no scopes for this user.
    denied: bool,
    retry: Duration,
    retry_at: Instant,
}

impl ManagerConnection {
    /// Not connected yet.
    pub(in crate::spawn) fn new(address: Option<BusAddress>) -> Self {
        Self { address, bus: None, denied: false, retry: BUS_RETRY_MIN, retry_at: Instant::now() }
    }

    /// The connection, if there is one.
    pub(super) fn bus(&self) -> Option<&ManagerBus> {
        self.bus.as_ref()
    }

    /// The manager's replies since the last call of this function.
    pub(in crate::spawn) fn hear(&mut self) -> Result<Vec<ManagerReply>, BusError> {
        self.bus.as_mut().map_or(Ok(Vec::new()), ManagerBus::hear)
    }

    /// Whether it is time to connect.
    pub(super) fn is_due(&self) -> bool {
        self.bus.is_none() && self.address.is_some() && !self.denied && Instant::now() >= self.retry_at
    }

    /// Connects.
    pub(super) fn connect(&mut self) -> Result<(), BusError> {
        let address = self.address.as_ref().ok_or(BusError::NoAddress)?;
        self.bus = Some(ManagerBus::connect(address)?);
        Ok(())
    }

    /// Closes the connection, and doubles the time until the next attempt. A manager that denied access is
    /// not asked again.
    pub(in crate::spawn) fn hang_up(&mut self, why: &BusError) {
        self.bus = None;
        self.denied |= matches!(why, BusError::Denied(_));
        self.retry_at = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(BUS_RETRY_MAX);
    }

    /// A scope was made on this connection: should it break, the next attempt comes soon.
    pub(super) fn praise(&mut self) {
        self.retry = BUS_RETRY_MIN;
    }
}
