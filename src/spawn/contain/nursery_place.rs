//! The cgroup of the nursery. A process can be made in a scope only by a process below the same manager: a
//! broker that was started in a login session has its nursery elsewhere. The manager moves it then, into a
//! scope of its own.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::sd::{BusError, ManagerBus, ScopeName};
use crate::sys;

/// Where the nursery is.
#[derive(Debug, Default)]
pub(super) struct NurseryPlace {
    /// The nursery that is below the manager.
    inside: Option<Pid>,
    asked: Option<AskedMove>,
    /// The number of scopes that were asked for.
    scopes: u64,
}

/// A scope that the manager was asked for.
#[derive(Debug)]
struct AskedMove {
    nursery: Pid,
    unit: ScopeName,
    /// The number of the request.
    serial: u32,
    since: Instant,
}

impl NurseryPlace {
    /// Whether the nursery is below the manager. If it is not, the manager is asked to move it.
    /// Errors: the bus is lost.
    pub(super) fn is_inside(&mut self, bus: &ManagerBus, nursery: Pid) -> Result<bool, BusError> {
        if self.inside == Some(nursery) {
            return Ok(true);
        }
        if self.asked.as_ref().is_some_and(|asked| asked.nursery == nursery) {
            return Ok(false);
        }
        // A nursery that is gone is replaced.
        let Ok(cgroup) = Cgroup::path_of(nursery) else { return Ok(false) };
        if bus.is_above(&cgroup) {
            self.inside = Some(nursery);
            return Ok(true);
        }
        let Ok(pidfd) = sys::open_pidfd(nursery) else { return Ok(false) };
        self.scopes += 1;
        let unit = ScopeName::of_nursery(std::process::id(), self.scopes);
        let serial = bus.shelter(&unit, nursery.as_raw().unsigned_abs(), pidfd.as_fd())?;
        self.asked = Some(AskedMove { nursery, unit, serial, since: Instant::now() });
        Ok(false)
    }

    /// When the manager was asked, if it has not answered.
    pub(super) fn since(&self) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.since)
    }

    /// The manager's job for `unit` is over, well or not. Gives whether it was the nursery's.
    pub(super) fn hear(&mut self, unit: &str, is_done: bool) -> bool {
        let Some(asked) = self.asked.take_if(|asked| asked.unit.as_str() == unit) else { return false };
        if is_done {
            self.inside = Some(asked.nursery);
        }
        true
    }

    /// Whether the request with this number was the nursery's.
    pub(super) fn asked_as(&self, serial: u32) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.serial == serial)
    }

    /// Forgets what was asked: the connection is gone.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }
}
