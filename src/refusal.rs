//! The refusal of a request: the one error that crosses layers. Each refusal has a status for the caller, a
//! reason for the records, and a sentence for a person.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::limits::{REQUEST_FDS, SILENCE_CROWDED, SILENCE_MAX, SOCKET_ADAPTERS_STUCK_MAX, TAKING_MAX};
use crate::rules::PolicyMiss;
use crate::sys::{UnfitKind, UnfitStdio};
use crate::text::visible;
use crate::wire::v2::{CALL_FDS, LIST_FDS};
use crate::wire::{Malformed, Status};

/// Why a request did not run. One variant per thing an operator would do differently.
#[derive(Debug)]
pub enum Refusal {
    /// No rule allows the words.
    NoRule(PolicyMiss),
    /// The bytes are not a request.
    Malformed(Malformed),
    /// No request came on the connection in time.
    Silence,
    /// No request came on the connection for a while, and other connections waited for its place.
    Crowded,
    /// The descriptors cannot be a command's stdio.
    Descriptors(DescriptorFault),
    /// The descriptors of a request of version 2 cannot be used.
    PipedDescriptors(DescriptorFault),
    /// Too many processes hang on the pipes of earlier requests of version 2 at the socket.
    AdaptersStuck,
    /// The kernel does not give the sender's credentials.
    NoCredentials,
    /// The rule's program is not there, or cannot be run.
    Unresolved {
        /// The program as the rule names it.
        program: String,
        /// Why the program was not found, or cannot be run, at the last place that was tried.
        source: io::Error,
    },
    /// Users other than root and the broker's can change the rule's program, or a directory above it.
    Untrusted {
        /// The program as the rule names it.
        program: String,
        /// The file or directory that they can change, and what to do about it.
        why: String,
    },
    /// A secret that the rule's command needs cannot be read, or cannot be given to it.
    NoCredential {
        /// The secret's name, as the rule has it.
        name: String,
        /// The file, and what is wrong with it; nothing of its content.
        why: String,
    },
    /// A record cannot be written, and `audit = strict`.
    AuditLost {
        /// The manifest, or the capture.
        path: PathBuf,
        /// The error of writing it.
        source: io::Error,
    },
    /// A file for a stream of the command cannot be made, and `audit = strict`.
    CaptureLost {
        /// The capture.
        path: PathBuf,
        /// The error of making it.
        source: io::Error,
    },
    /// No process could be made for the command.
    NoLauncher(io::Error),
    /// The process for the command was ended before it could begin.
    LauncherEnded,
    /// The process for the command, or for its captures, does not answer: it was stopped, or the whole
    /// machine is held up.
    LauncherSilent,
    /// Descriptors cannot be sent: the user's processes have too many on their way (`ETOOMANYREFS`).
    InFlight,
    /// No rules are in force, because of an error: each request is refused.
    BrokenRules {
        /// The first error.
        why: String,
        /// The command that shows the error to the operator.
        shown_by: String,
    },
    /// The rules ask for a scope, and none can be had.
    NoScope(io::Error),
    /// The rule's command cannot be confined as its profile says.
    Unconfined {
        /// The profile.
        profile: Box<str>,
        /// The part that cannot be enforced, or the place that cannot be used.
        why: String,
    },
    /// The listing is over its limit.
    ListingTooLarge(usize),
    /// Another rule allows the call than before: once while the call was made ready, or too often while it
    /// waited.
    Unsettled,
    /// A part of the broker failed before anything ran.
    Failed,
    /// The broker is shutting down.
    Stopping,
    /// The caller closed the connection before its turn came.
    Left,
}

/// A fault of a request's descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorFault {
    /// Another number of descriptors than a request carries.
    Count(usize),
    /// The kernel could not deliver all descriptors.
    Cut,
    /// The descriptor with this number, from 0, is of a kind that is refused.
    Kind(usize, UnfitKind),
    /// The descriptors did not arrive in time: it takes too long to take one in, or to close one beyond the
    /// number.
    Late,
}

impl From<UnfitStdio> for DescriptorFault {
    fn from(unfit: UnfitStdio) -> Self {
        match unfit {
            UnfitStdio::Count(count) => Self::Count(count.into()),
            UnfitStdio::Cut => Self::Cut,
            UnfitStdio::Kind(index, oddity) => Self::Kind(index.into(), oddity),
        }
    }
}

impl Refusal {
    /// The refusal of a call for which no process can be had, because of this error.
    pub fn no_launcher(source: io::Error) -> Self {
        if is_in_flight(&source) { Self::InFlight } else { Self::NoLauncher(source) }
    }

    /// The refusal of a call for which no scope can be had, because of this error.
    pub fn no_scope(source: io::Error) -> Self {
        if is_in_flight(&source) { Self::InFlight } else { Self::NoScope(source) }
    }

    /// The status that is sent to the caller.
    pub fn status(&self) -> Status {
        match self {
            Self::NoRule(_) | Self::BrokenRules { .. } => Status::NO_RULE,
            Self::Malformed(_) | Self::Silence | Self::Crowded => Status::PROTO,
            Self::Descriptors(_) | Self::PipedDescriptors(_) => Status::FDS,
            Self::NoCredentials => Status::PEER,
            Self::Unresolved { .. } | Self::NoLauncher(_) | Self::NoScope(_) => Status::SPAWN,
            Self::LauncherEnded | Self::LauncherSilent | Self::InFlight => Status::SPAWN,
            Self::AdaptersStuck => Status::SPAWN,
            Self::Untrusted { .. } | Self::NoCredential { .. } => Status::SPAWN,
            Self::Unconfined { .. } => Status::SPAWN,
            Self::Unsettled | Self::Failed => Status::SPAWN,
            Self::AuditLost { .. } | Self::CaptureLost { .. } => Status::AUDIT,
            Self::ListingTooLarge(_) => Status::TOO_LARGE,
            Self::Stopping | Self::Left => Status::STOPPING,
        }
    }

    /// The reason as the caller is told: it holds only what the listing shows and the caller knows. Paths of
    /// records and messages of other programs (the manager, the bus) are for the records.
    pub fn told(&self) -> String {
        let because = |what: &str, source: &io::Error| match source.raw_os_error() {
            Some(errno) => format!("{what}: {}", Errno::from_raw(errno).desc()),
            None => what.to_owned(),
        };
        match self {
            Self::Unresolved { program, source } => because(&visible(program), source),
            Self::Untrusted { program, .. } => {
                let program = visible(program);
                format!(
                    "{program}: others can change it; `sluice log --rejects` says which file, and the command to mend it"
                )
            }
            Self::NoCredential { .. } => {
                "a secret that the command needs cannot be read; `sluice log --rejects` says which one, and why".into()
            }
            Self::AuditLost { source, .. } => because("nothing ran: it cannot be put on record", source),
            Self::CaptureLost { source, .. } => {
                because("nothing ran: no file can be made for what it reads and writes", source)
            }
            Self::NoLauncher(source) => because("no process for the command", source),
            Self::NoScope(source) => because("no scope for the command", source),
            Self::BrokenRules { shown_by, .. } => format!(
                "no rules are in force here: their file is missing or wrong, or calls cannot be recorded; outside, {} \
                 says why",
                visible(shown_by)
            ),
            Self::Unconfined { .. } => {
                "nothing ran: it cannot be confined here as its rule says; `sluice log --rejects` says why"
                    .into()
            }
            Self::Stopping => "nothing ran".into(),
            Self::NoRule(_) | Self::Malformed(_) | Self::Silence | Self::Crowded => self.to_string(),
            Self::Descriptors(_) | Self::NoCredentials | Self::ListingTooLarge(_) | Self::Left => {
                self.to_string()
            }
            Self::PipedDescriptors(_) | Self::AdaptersStuck => self.to_string(),
            Self::LauncherEnded | Self::LauncherSilent | Self::InFlight => self.to_string(),
            Self::Unsettled | Self::Failed => self.to_string(),
        }
    }

    /// The word for the reason in records and for tools.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoRule(miss) => miss.reason.as_str(),
            Self::Malformed(_) => "malformed",
            Self::Silence => "silence",
            Self::Crowded => "crowded",
            Self::Descriptors(_) | Self::PipedDescriptors(_) => "fds",
            Self::AdaptersStuck => "no_launcher",
            Self::NoCredentials => "peer",
            Self::Unresolved { .. } => "exe_unresolved",
            Self::Untrusted { .. } => "exe_untrusted",
            Self::NoCredential { .. } => "credential",
            Self::NoLauncher(_) | Self::LauncherEnded | Self::LauncherSilent => "no_launcher",
            Self::InFlight => "in_flight",
            Self::NoScope(_) => "no_scope",
            Self::Unconfined { .. } => "unconfined",
            Self::BrokenRules { .. } => "broken_rules",
            Self::AuditLost { .. } | Self::CaptureLost { .. } => "audit",
            Self::ListingTooLarge(_) => "listing_too_large",
            Self::Unsettled => "unsettled",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Left => "hangup",
        }
    }
}

fn is_in_flight(source: &io::Error) -> bool {
    source.raw_os_error() == Some(Errno::ETOOMANYREFS as i32)
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
            Self::PipedDescriptors(DescriptorFault::Count(count)) => {
                write!(
                    f,
                    "{count} descriptors; with a call come {CALL_FDS}, with a request for the listing {LIST_FDS}"
                )
            }
            Self::PipedDescriptors(descriptors) => descriptors.fmt(f),
            Self::AdaptersStuck => {
                write!(f, "{SOCKET_ADAPTERS_STUCK_MAX} processes hang on the pipes of earlier requests")
            }
            Self::NoCredentials => write!(f, "the sender's credentials cannot be read"),
            Self::Unresolved { program, source } => write!(f, "{program}: {source}"),
            Self::Untrusted { program, why } => write!(f, "{program}: {why}"),
            Self::NoCredential { name, why } => write!(f, "credential {}: {why}", visible(name)),
            Self::NoLauncher(source) => write!(f, "no process for the command: {source}"),
            Self::LauncherEnded => write!(f, "the process for the command was ended before it began"),
            Self::LauncherSilent => {
                write!(f, "the process for the command did not answer within {} s", TAKING_MAX.as_secs())
            }
            Self::InFlight => write!(
                f,
                "too many descriptors are on their way between processes of this user (ETOOMANYREFS): one of them does \
                 not take what it was sent"
            ),
            Self::NoScope(source) => write!(f, "no scope for the command: {source}"),
            Self::Unconfined { profile, why } => {
                write!(f, "it cannot be confined as `confine = {profile}` says: {why}")
            }
            Self::BrokenRules { why, .. } => write!(f, "no rules are in force: {why}"),
            Self::AuditLost { path, source } | Self::CaptureLost { path, source } => {
                write!(f, "{}: {source}", path.display())
            }
            Self::ListingTooLarge(bytes) => write!(f, "the listing has {bytes} bytes"),
            Self::Unsettled => write!(f, "which rule decides changed while it waited; ask again"),
            Self::Failed => write!(f, "a part of the broker failed; nothing ran"),
            Self::Stopping => write!(f, "the broker is shutting down"),
            Self::Left => write!(f, "the caller left before its turn"),
        }
    }
}

impl fmt::Display for DescriptorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count} descriptors, not {REQUEST_FDS}"),
            Self::Cut => write!(f, "descriptors lost on the way"),
            Self::Kind(index, oddity) => write!(f, "descriptor {index} is {oddity}"),
            Self::Late => write!(f, "descriptors that are not there within {} s", TAKING_MAX.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the status for the caller, the reason for tools, the sentence of the record, and the one for
    /// the caller.
    #[track_caller]
    fn check(refusal: &Refusal, status: Status, reason: &str, said: &str, told: &str) {
        assert_eq!((refusal.status(), refusal.reason()), (status, reason), "{refusal:?}");
        assert_eq!((&*refusal.to_string(), &*refusal.told()), (said, told), "{refusal:?}");
    }

    fn denied() -> io::Error {
        Errno::EACCES.into()
    }

    #[test]
    fn what_the_caller_sent_is_explained_to_it() {
        let same = |refusal: &Refusal, status, reason, said| check(refusal, status, reason, said, said);
        same(&Refusal::Silence, Status::PROTO, "silence", "nothing received in 5 s");
        let crowded = "nothing received in 100 ms, and others waited for the place";
        same(&Refusal::Crowded, Status::PROTO, "crowded", crowded);
        let malformed = Malformed::Nul;
        let said = malformed.to_string();
        same(&Refusal::Malformed(malformed), Status::PROTO, "malformed", &said);
        let descriptors = |descriptors, said| {
            same(&Refusal::Descriptors(descriptors), Status::FDS, "fds", said);
        };
        descriptors(DescriptorFault::Count(2), "2 descriptors, not 3");
        descriptors(DescriptorFault::Cut, "descriptors lost on the way");
        descriptors(DescriptorFault::from(UnfitStdio::Cut), "descriptors lost on the way");
        let peer = "the sender's credentials cannot be read";
        same(&Refusal::NoCredentials, Status::PEER, "peer", peer);
        same(&Refusal::Left, Status::STOPPING, "hangup", "the caller left before its turn");
        let large = "the listing has 70000 bytes";
        same(&Refusal::ListingTooLarge(70_000), Status::TOO_LARGE, "listing_too_large", large);
    }

    #[test]
    fn what_the_operators_side_says_is_for_the_record() {
        let program = || Refusal::Unresolved { program: "git".into(), source: denied() };
        let said = "git: Permission denied (os error 13)";
        check(&program(), Status::SPAWN, "exe_unresolved", said, "git: Permission denied");
        let lost = Refusal::AuditLost { path: "/home/you/manifest.jsonl".into(), source: denied() };
        let said = "/home/you/manifest.jsonl: Permission denied (os error 13)";
        let told = "nothing ran: it cannot be put on record: Permission denied";
        check(&lost, Status::AUDIT, "audit", said, told);
        let secret = Refusal::NoCredential { name: "token".into(), why: "/c/token: it is empty".into() };
        let told =
            "a secret that the command needs cannot be read; `sluice log --rejects` says which one, and why";
        check(&secret, Status::SPAWN, "credential", "credential token: /c/token: it is empty", told);
        let lost = Refusal::CaptureLost { path: "/c/1.out".into(), source: denied() };
        let told = "nothing ran: no file can be made for what it reads and writes: Permission denied";
        check(&lost, Status::AUDIT, "audit", "/c/1.out: Permission denied (os error 13)", told);
        let program =
            Refusal::Untrusted { program: "tool".into(), why: "/x is bad; do: chmod go-w /x".into() };
        let told =
            "tool: others can change it; `sluice log --rejects` says which file, and the command to mend it";
        check(&program, Status::SPAWN, "exe_untrusted", "tool: /x is bad; do: chmod go-w /x", told);
        let bus = Refusal::no_scope(io::Error::other("org.freedesktop.DBus.Error.Failed: /run/user"));
        let said = "no scope for the command: org.freedesktop.DBus.Error.Failed: /run/user";
        check(&bus, Status::SPAWN, "no_scope", said, "no scope for the command");
        let (why, shown_by) = ("/etc/sluice/x.rules:1:1: error".into(), "systemctl status x.service".into());
        let broken = Refusal::BrokenRules { why, shown_by };
        assert_eq!((broken.status(), broken.reason()), (Status::NO_RULE, "broken_rules"));
        assert!(broken.to_string().contains("/etc/sluice") && !broken.told().contains("/etc/sluice"));
        assert!(broken.told().ends_with("outside, systemctl status x.service says why"), "{}", broken.told());
        check(&Refusal::Stopping, Status::STOPPING, "stopping", "the broker is shutting down", "nothing ran");
    }

    #[test]
    fn descriptors_on_their_way_are_told_apart_from_what_else_fails() {
        for of in [Refusal::no_launcher, Refusal::no_scope] {
            let full = of(Errno::ETOOMANYREFS.into());
            assert_eq!((full.status(), full.reason()), (Status::SPAWN, "in_flight"));
        }
        let said = "no process for the command: Permission denied (os error 13)";
        let told = "no process for the command: Permission denied";
        check(&Refusal::no_launcher(denied()), Status::SPAWN, "no_launcher", said, told);
        for (refusal, reason) in [
            (Refusal::LauncherEnded, "no_launcher"),
            (Refusal::LauncherSilent, "no_launcher"),
            (Refusal::Unsettled, "unsettled"),
            (Refusal::Failed, "failed"),
        ] {
            assert_eq!((refusal.status(), refusal.reason()), (Status::SPAWN, reason));
        }
    }
}
