//! The status of a call, as both versions carry it.

use std::fmt;

#[cfg(feature = "broker")]
use serde::Serialize;

/// The status of a reply: 0 to 255 is the exit status of the command (128 + signal when a signal ended it);
/// a negative status is one of the broker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "broker", derive(Serialize))]
#[cfg_attr(feature = "broker", serde(transparent))]
pub struct Status(i32);

impl Status {
    /// No rule matches, or a slot refused a value.
    pub const NO_RULE: Self = Self(-1);
    /// The request is malformed, or no request came.
    pub const PROTO: Self = Self(-2);
    /// There are not three descriptors, or one of them cannot be passed on.
    pub const FDS: Self = Self(-3);
    /// The command could not be started; nothing of it ran.
    pub const SPAWN: Self = Self(-4);
    /// Records or captures of the call cannot be kept as the rules demand.
    pub const AUDIT: Self = Self(-6);
    /// The rule's timeout fired.
    pub const TIMEOUT: Self = Self(-7);
    /// The caller's credentials cannot be read.
    pub const PEER: Self = Self(-8);
    /// The listing is over its limit.
    pub const TOO_LARGE: Self = Self(-9);
    /// The broker is shutting down.
    pub const STOPPING: Self = Self(-10);

    /// Every status of the broker's own, with its name.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::NO_RULE, "NO_RULE"),
        (Self::PROTO, "PROTO"),
        (Self::FDS, "FDS"),
        (Self::SPAWN, "SPAWN"),
        (Self::AUDIT, "AUDIT"),
        (Self::TIMEOUT, "TIMEOUT"),
        (Self::PEER, "PEER"),
        (Self::TOO_LARGE, "TOO_LARGE"),
        (Self::STOPPING, "STOPPING"),
    ];

    /// The command's exit status.
    pub fn exited(code: u8) -> Self {
        Self(i32::from(code))
    }

    /// The status of a command that a signal ended, as shells count it.
    pub fn signaled(signal: i32) -> Self {
        Self(128 + signal)
    }

    /// A status as it came over the wire: any number.
    pub fn from_wire(status: i32) -> Self {
        Self(status)
    }

    /// The number on the wire.
    pub fn get(self) -> i32 {
        self.0
    }

    /// The name of a status of the broker's own.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(status, _)| *status == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}
