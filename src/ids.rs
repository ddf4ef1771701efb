//! Newtypes for numbers and strings that could be taken for another number or string. None of them does I/O.

use std::fmt;

#[cfg(feature = "broker")]
use serde::{Deserialize, Serialize};

use crate::limits::ARG_BYTES_MAX;

/// The number of one request, refused or not: rises by one, and never repeats over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "broker", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "broker", serde(transparent))]
pub struct CallId(u64);

impl CallId {
    /// The first number of a new manifest.
    pub const FIRST: Self = Self(1);

    /// A number read back from a manifest.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number as an integer.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl Default for CallId {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The line, counted from 1, on which a rule stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "broker", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "broker", serde(transparent))]
pub struct RuleLine(u32);

impl RuleLine {
    /// Line `number` of a rules file, from 1.
    pub fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number as an integer.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for RuleLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a socket in records: the descriptor's name under systemd, else the stem of the rules file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "broker", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "broker", serde(transparent))]
pub struct SocketName(String);

impl SocketName {
    /// A name as given; records escape it.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One word of a request as the caller sent it. **Untrusted**: it proves only that it is at most
/// [`ARG_BYTES_MAX`] bytes of UTF-8 without NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "broker", derive(Serialize))]
#[cfg_attr(feature = "broker", serde(transparent))]
pub struct ClaimedWord(String);

impl ClaimedWord {
    /// The word, if it keeps the bounds above.
    pub fn new(word: impl Into<String>) -> Option<Self> {
        let word = word.into();
        let fits = word.len() <= ARG_BYTES_MAX && !word.as_bytes().contains(&0);
        fits.then_some(Self(word))
    }

    /// The word as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
