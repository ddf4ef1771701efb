//! The notices of a broker to its operator while it serves; `cli` prints them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::audit::{JournalNews, ManifestOpenError};
use crate::rules::Diagnostic;
use crate::sd::{BusError, JOURNAL_SOCKET};
use crate::spawn::{ScopeFallback, ScopeNews};

/// The function that takes notices.
pub type SayNotice = fn(&Notice<'_>);

/// A notice to the operator.
#[derive(Debug)]
pub enum Notice<'a> {
    /// Requests are answered from now on.
    Ready {
        /// The sockets, by their labels.
        sockets: Vec<String>,
        /// The number of rules in force.
        rules: usize,
    },
    /// No rules can be put in force for now; every request is refused.
    Unserved(&'a str),
    /// A refusal that is in no record.
    Unfiled {
        /// The refusal, in a line.
        refused: String,
        /// The journal's error.
        source: &'a io::Error,
    },
    /// The rules were read again.
    Reloaded {
        /// The rules file.
        file: PathBuf,
        /// The number of rules in force.
        rules: usize,
    },
    /// The rules could not be read again; the old ones stay.
    ReloadFailed(&'a LoadError),
    /// The manifest could not be opened again; the old one stays open.
    ReopenFailed(&'a ManifestOpenError),
    /// The nursery ended and another one serves.
    NurseryReplaced,
    /// No nursery can be started; it is tried again.
    NoNursery(&'a io::Error),
    /// A FIFO door cannot be opened there; it is tried again.
    NoDoor(&'a Path, &'a io::Error),
    /// A record could not be written.
    RecordLost {
        /// The manifest, or the capture.
        path: PathBuf,
        /// The error of the write.
        source: &'a io::Error,
    },
    /// Records are written again.
    RecordBack(PathBuf),
    /// The journal takes no entries any more, or takes them again.
    Journal(&'a JournalNews<'a>),
    /// A call's end cannot be known.
    CallLost(&'a io::Error),
    /// The kernel gives no more descriptors, memory or threads for now.
    Exhausted(&'a io::Error),
    /// The kernel has had them again for a while.
    ExhaustedOver,
    /// The socket's directory can be written by other users, which `audit = best-effort` lets pass.
    SocketDistrusted(String),
    /// The socket's file cannot be watched: its removal would not be noticed.
    SocketUnwatched(&'a io::Error),
    /// Scopes or groups for calls cannot be made any more, or can be made again.
    Scopes(&'a ScopeNews<'a>),
    /// The service manager that the environment names cannot be told anything.
    NoManager(&'a io::Error),
    /// Running calls are being ended.
    Stopping,
    /// Calls could not be ended in time.
    CallsLeft,
    /// A stop took too long, and the process ends as it is.
    StopLate,
}

/// The error for rules that leave records without a place.
pub(super) const NOWHERE: &str =
    "nowhere to record: set `logfile` in `defaults:`, or HOME for the usual place";

/// The reason why rules could not be put in force.
#[derive(Debug)]
pub enum LoadError {
    /// The text of the rules is wrong.
    Rules(Vec<Diagnostic>),
    /// A directory where programs are looked up could be changed by other users.
    ExecPath {
        /// The rules file.
        file: PathBuf,
        /// The directory, and what to do.
        why: String,
    },
    /// The calls of this rules file have no place to be recorded in.
    NoManifest(PathBuf),
    /// No record could be kept in the manifest that the rules name; the reason.
    Manifest(String),
    /// The rules could not be read: there is no thread for it, or it panicked.
    Unread(io::Error),
    /// Too few descriptors for as many calls as the rules allow.
    Descriptors {
        /// The limit.
        limit: u64,
        /// The number that is needed.
        needed: u64,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(diagnostics) => diagnostics
                .iter()
                .try_for_each(|diagnostic| writeln!(f, "{}", diagnostic.to_string().trim_end())),
            Self::ExecPath { file, why } => writeln!(f, "{}: error: exec_path: {why}", file.display()),
            Self::NoManifest(file) => writeln!(f, "{}: error: {NOWHERE}", file.display()),
            Self::Manifest(why) => writeln!(f, "error: logfile: {why}"),
            Self::Unread(source) => writeln!(f, "error: the rules cannot be read again for now: {source}"),
            Self::Descriptors { limit, needed } => writeln!(
                f,
                "error: the calls that max_calls allows, at all sockets together, need {needed} descriptors, and the \
                 limit is {limit}; raise it (ulimit -Hn, LimitNOFILE=) or lower max_calls"
            ),
        }
    }
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { sockets, rules } => {
                write!(f, "ready on {}, {}", sockets.join(", "), count(*rules, "rule"))
            }
            Self::Unserved(why) => write!(
                f,
                "no rules are in force, and callers are refused until they are mended; they are read again when the file \
                 changes, when somebody calls, and at a reload\n{}",
                why.trim_end()
            ),
            Self::Unfiled { refused, source } => {
                write!(f, "a refusal that the journal does not take ({source}): {refused}")
            }
            Self::Reloaded { file, rules } => {
                write!(f, "reloaded {}, {}", file.display(), count(*rules, "rule"))
            }
            Self::ReloadFailed(error) => {
                write!(f, "reload failed, the old rules stay\n{}", error.to_string().trim_end())
            }
            Self::ReopenFailed(error) => write!(f, "{error}; going on with the old file"),
            Self::NurseryReplaced => write!(f, "the nursery ended; another one makes launchers now"),
            Self::NoNursery(source) => {
                write!(
                    f,
                    "no process can be made for calls, which wait up to 10 s for one: {source}; it is tried again"
                )
            }
            Self::NoDoor(path, source) => {
                write!(f, "no FIFO door in {}: {source}; it is tried again", path.display())
            }
            Self::RecordLost { path, source } => write!(f, "cannot write {}: {source}", path.display()),
            Self::RecordBack(path) => write!(f, "{} is written again", path.display()),
            Self::Journal(JournalNews::Lost(source)) if source.kind() == io::ErrorKind::NotFound => {
                write!(f, "there is no journal here ({JOURNAL_SOCKET}); records are in the manifest alone")
            }
            Self::Journal(JournalNews::Lost(source)) => {
                write!(f, "cannot write the journal, records go to the manifest alone: {source}")
            }
            Self::Journal(JournalNews::Back) => write!(f, "the journal takes entries again"),
            Self::CallLost(source) => write!(f, "cannot tell how a call ended: {source}"),
            Self::Exhausted(source) => write!(f, "cannot take more callers for now: {source}"),
            Self::ExhaustedOver => write!(f, "callers are taken again"),
            Self::SocketDistrusted(why) => write!(f, "warning: {why}"),
            Self::SocketUnwatched(source) => write!(f, "cannot watch the socket's file: {source}"),
            Self::Scopes(news) => write_scope_news(f, news),
            Self::NoManager(source) => write!(f, "cannot notify systemd (NOTIFY_SOCKET): {source}"),
            Self::Stopping => write!(f, "stopping: running calls are being ended"),
            Self::CallsLeft => {
                write!(
                    f,
                    "leaving with calls that could not be ended in time; the next broker records them as lost"
                )
            }
            Self::StopLate => {
                write!(f, "the stop took too long (a disk or a process that hangs): ending as it is")
            }
        }
    }
}

/// A number of things, as a person writes it: `1 rule`, `2 rules`.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

fn write_scope_news(f: &mut fmt::Formatter<'_>, news: &ScopeNews<'_>) -> fmt::Result {
    match news {
        // This is usual for the system's units, which delegate a cgroup for that: no cause for alarm.
        ScopeNews::Lost(BusError::Denied(_), ScopeFallback::Group) => write!(
            f,
            "calls run in groups of the broker's own cgroup: the system's manager makes scopes for root alone"
        ),
        ScopeNews::Lost(why, ScopeFallback::Group) => {
            let instead =
                "with `scope = auto`, calls that find none run in groups of the broker's own cgroup";
            write!(f, "no scopes: {why}; {instead}")
        }
        ScopeNews::Lost(why, ScopeFallback::Nothing) => {
            let instead =
                "with `scope = auto`, calls that find none run without, with `require` they are refused";
            write!(f, "no scopes: {why}; {instead}")
        }
        ScopeNews::Back => write!(f, "scopes can be had again"),
        ScopeNews::NoGroups(why) => write!(f, "{why}; with `scope = delegate`, calls are refused"),
        ScopeNews::Ungrouped(source) => {
            write!(f, "no group for a call: {source}; with `scope = auto`, it runs without one")
        }
        ScopeNews::Undescribed(why) => write!(f, "a scope's description cannot be set: {why}"),
    }
}
