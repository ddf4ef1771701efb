//! Why a request did not run: the one error that crosses layers. Each has a status for the caller, a reason for the
//! records, and a sentence for a person.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::limits::{REQUEST_FDS, SILENCE_CROWDED, SILENCE_MAX};
use crate::rules::Miss;
use crate::rules::escape::visible;
use crate::wire::{Malformed, Status};

/// Why a request did not run. One variant per thing an operator would do differently.
#[derive(Debug)]
pub enum Refusal {
    /// No rule allows the words.
    NoRule(Miss),
    /// The bytes are not a request.
    Malformed(Malformed),
    /// The connection said nothing in time.
    Silence,
    /// The connection said nothing for a while, and others wanted its place.
    Crowded,
    /// The descriptors cannot be a command's stdio.
    Descriptors(Descriptors),
    /// The kernel does not say who sent the request.
    NoCredentials,
    /// The rule's program is not there, or cannot be run.
    Unresolved {
        /// The program as the rule names it.
        program: String,
        /// Why the last place that was looked at did not serve.
        source: io::Error,
    },
    /// A record cannot be written, and `audit = strict`.
    AuditLost {
        /// The manifest, or the capture.
        path: PathBuf,
        /// What writing it gave.
        source: io::Error,
    },
    /// No process could be made for the command.
    NoLauncher(io::Error),
    /// The rules ask for a scope, and none can be had.
    NoScope(io::Error),
    /// The listing is over its limit.
    ListingTooLarge(usize),
    /// The broker is shutting down.
    Stopping,
    /// The caller went away before its turn came.
    Left,
}

/// What is wrong with a request's descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// Not as many as a request carries.
    Count(usize),
    /// The kernel could not deliver them all.
    Cut,
    /// One, counted from 0, is a directory.
    Directory(usize),
    /// One, counted from 0, is a path handle (`O_PATH`).
    PathHandle(usize),
    /// One, counted from 0, cannot be looked at.
    Unreadable(usize),
}

impl Refusal {
    /// What the caller is answered.
    pub fn status(&self) -> Status {
        match self {
            Self::NoRule(_) => Status::NO_RULE,
            Self::Malformed(_) | Self::Silence | Self::Crowded => Status::PROTO,
            Self::Descriptors(_) => Status::FDS,
            Self::NoCredentials => Status::PEER,
            Self::Unresolved { .. } | Self::NoLauncher(_) | Self::NoScope(_) => Status::SPAWN,
            Self::AuditLost { .. } => Status::AUDIT,
            Self::ListingTooLarge(_) => Status::TOO_LARGE,
            Self::Stopping | Self::Left => Status::STOPPING,
        }
    }

    /// The reason as the caller is told: no more than the listing shows and the caller knows. Paths of records and the
    /// words of other programs (the manager, the bus) are for the records.
    pub fn told(&self) -> String {
        let because = |what: &str, source: &io::Error| match source.raw_os_error() {
            Some(errno) => format!("{what}: {}", Errno::from_raw(errno).desc()),
            None => what.to_owned(),
        };
        match self {
            Self::Unresolved { program, source } => because(&visible(program), source),
            Self::AuditLost { source, .. } => because("nothing ran: it cannot be put on record", source),
            Self::NoLauncher(source) => because("no process for the command", source),
            Self::NoScope(source) => because("no scope for the command", source),
            Self::Stopping => "nothing ran".into(),
            Self::NoRule(_) | Self::Malformed(_) | Self::Silence | Self::Crowded => self.to_string(),
            Self::Descriptors(_) | Self::NoCredentials | Self::ListingTooLarge(_) | Self::Left => {
                self.to_string()
            }
        }
    }

    /// The word that records and tools know it by.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoRule(miss) => miss.reason.as_str(),
            Self::Malformed(_) => "malformed",
            Self::Silence => "silence",
            Self::Crowded => "crowded",
            Self::Descriptors(_) => "fds",
            Self::NoCredentials => "peer",
            Self::Unresolved { .. } => "exe_unresolved",
            Self::NoLauncher(_) => "no_launcher",
            Self::NoScope(_) => "no_scope",
            Self::AuditLost { .. } => "audit",
            Self::ListingTooLarge(_) => "listing_too_large",
            Self::Stopping => "stopping",
            Self::Left => "hangup",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule(miss) => f.write_str(&miss.explanation),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Silence => write!(f, "nothing received in {} s", SILENCE_MAX.as_secs()),
            Self::Crowded => {
                write!(
                    f,
                    "nothing received in {} ms, and others waited for the place",
                    SILENCE_CROWDED.as_millis()
                )
            }
            Self::Descriptors(descriptors) => descriptors.fmt(f),
            Self::NoCredentials => write!(f, "the sender's credentials cannot be read"),
            Self::Unresolved { program, source } => write!(f, "{program}: {source}"),
            Self::NoLauncher(source) => write!(f, "no process for the command: {source}"),
            Self::NoScope(source) => write!(f, "no scope for the command: {source}"),
            Self::AuditLost { path, source } => write!(f, "{}: {source}", path.display()),
            Self::ListingTooLarge(bytes) => write!(f, "the listing has {bytes} bytes"),
            Self::Stopping => write!(f, "the broker is shutting down"),
            Self::Left => write!(f, "the caller left before its turn"),
        }
    }
}

impl fmt::Display for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count} descriptors, not {REQUEST_FDS}"),
            Self::Cut => write!(f, "descriptors lost on the way"),
            Self::Directory(index) => write!(f, "descriptor {index} is a directory"),
            Self::PathHandle(index) => write!(f, "descriptor {index} is a path handle"),
            Self::Unreadable(index) => write!(f, "descriptor {index} cannot be looked at"),
        }
    }
}
