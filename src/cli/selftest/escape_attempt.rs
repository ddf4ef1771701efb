//! One attempt to get out of a confinement.

use std::io;

use super::promise::ConfinedPart;
use super::targets::EscapeTargets;

/// An attempt to get out.
pub(super) struct EscapeAttempt {
    /// Its name, for programs.
    pub(super) name: &'static str,
    /// What it does, for a person.
    pub(super) what: &'static str,
    /// The part of a confinement that it is against.
    pub(super) part: ConfinedPart,
    pub(super) act: fn(&EscapeTargets) -> io::Result<()>,
}

/// An attempt.
pub(super) const fn attempt(
    name: &'static str,
    what: &'static str,
    part: ConfinedPart,
    act: fn(&EscapeTargets) -> io::Result<()>,
) -> EscapeAttempt {
    EscapeAttempt { name, what, part, act }
}

/// The failure of an attempt that did something else than it should have.
pub(super) fn failed(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}
