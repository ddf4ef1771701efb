//! The configuration of a broker, and the reasons why it cannot serve.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::audit::ManifestOpenError;
use crate::spawn::{PrivilegeError, RootPolicy};
use crate::sys;

use super::notice::LoadError;
use super::sockets::ListenError;

/// The directory of the system's brokers' records: the home of their user (`tmpfiles.d/sluice.conf`).
const SYSTEM_STATE: &str = "/var/lib/sluice";

/// The configuration of a broker, from its command line.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The rules.
    pub rules: RulesLocation,
    /// The socket to bind; without it, systemd's.
    pub socket: Option<PathBuf>,
    /// The directory of a FIFO door, absolute.
    pub fifo_dir: Option<PathBuf>,
    /// Whether root may serve.
    pub as_root: RootPolicy,
}

/// The place of the rules.
#[derive(Clone, Debug)]
pub enum RulesLocation {
    /// One file, absolute, for every socket.
    File(PathBuf),
    /// In this directory, absolute: `NAME.rules` for the socket that systemd calls NAME.
    Directory(PathBuf),
}

/// The reason why a broker did not start, or could not go on.
#[derive(Debug)]
pub enum ServeError {
    /// The process has too many privileges.
    Privileged(PrivilegeError),
    /// The rules are wrong.
    Load(LoadError),
    /// There is no socket.
    Listen(ListenError),
    /// There is no manifest.
    Manifest(ManifestOpenError),
    /// The socket's file was removed or replaced while the broker served.
    SocketTaken,
    /// The kernel, or a filter of system calls, denies a call that a broker cannot do without.
    Kernel(sys::MissingSyscall),
    /// No process can be made for calls.
    NoProcess(io::Error),
    /// The process tree of calls cannot be followed.
    NoTree(io::Error),
    /// A system call failed.
    Io(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Privileged(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Manifest(error) => {
                error.fmt(f)?;
                // The home of the system's brokers is made by a package's scripts, and may not be there yet.
                let is_missing =
                    !Path::new(SYSTEM_STATE).exists() && error.to_string().contains(SYSTEM_STATE);
                let tip = "; the directories of the system's brokers are made by: systemd-tmpfiles --create sluice.conf";
                f.write_str(if is_missing { tip } else { "" })
            }
            Self::SocketTaken => {
                write!(f, "somebody removed or replaced the socket; callers do not come here any more")
            }
            Self::Kernel(missing) => missing.fmt(f),
            Self::NoProcess(source) => write!(
                f,
                "no process can be made for calls, so nothing is served: {source}. Where a container's seccomp profile or \
                 a unit's SystemCallFilter= denies clone3, it has to answer ENOSYS, and to allow clone; TasksMax= and \
                 ulimit -u limit how many there may be"
            ),
            Self::NoTree(source) => {
                write!(f, "cannot follow what calls start (/proc/PID/task/TID/children): {source}")
            }
            Self::Io(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<io::Error> for ServeError {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_the_directory_of_the_systems_brokers_is_told_what_makes_it() {
        let said = |path: &str| {
            let source = io::ErrorKind::PermissionDenied.into();
            ServeError::Manifest(ManifestOpenError::Io { path: path.into(), source }).to_string()
        };
        let tip = "systemd-tmpfiles --create sluice.conf";
        let is_missing = !Path::new(SYSTEM_STATE).exists();
        assert_eq!(said("/var/lib/sluice/a/manifest.jsonl").contains(tip), is_missing);
        assert!(!said("/home/you/manifest.jsonl").contains(tip));
    }
}
