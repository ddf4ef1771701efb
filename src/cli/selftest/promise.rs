//! What a profile promises of the attempts: each belongs to a part of a confinement, which may be left open.

use std::path::Path;

use serde::Serialize;

use crate::rules::{ConfinedPath, Confinement, NetAccess, SyscallSet, UnixAccess};

use super::targets::EscapeTargets;

/// The part of a confinement that an attempt is against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ConfinedPart {
    /// Files outside are not read.
    Read,
    /// Files outside are not changed.
    Write,
    /// Programs outside are not run.
    Exec,
    /// Programs in the working directory are not run, where that is none of the places to run from.
    ExecWritten,
    /// Nor by a program loader: where they cannot be read, or are in a place to write, whose mount executes
    /// nothing.
    ExecLoader,
    /// Programs in memory are not run, where nothing that is written is.
    ExecMemory,
    /// No TCP connection to a port that is not named.
    Tcp,
    /// No network but TCP's, if that.
    Net,
    /// No TCP connection is accepted.
    Listen,
    /// No family of sockets but the usual ones.
    Family,
    /// No unix socket that is not named.
    Unix,
    /// No unix socket with an abstract name.
    Abstract,
    /// Processes outside are left alone: every confined command's.
    Processes,
    /// System calls of the deny list.
    Syscalls,
    /// io_uring, which every filter refuses.
    IoUring,
}

impl ConfinedPart {
    /// Whether this confinement promises it, for these targets.
    pub(super) fn is_promised(self, by: &Confinement, targets: &EscapeTargets) -> bool {
        let outside = targets.outside.as_path();
        let filters_all = by.syscalls == SyscallSet::Any && by.net == NetAccess::Any;
        match self {
            Self::Read => by.read.is_some() && !holds(&[&by.read, &by.write, &by.exec], outside),
            Self::Write => by.write.is_some() && !holds(&[&by.write], outside),
            Self::Exec => by.exec.is_some() && !holds(&[&by.exec], outside),
            Self::ExecWritten => by.exec.is_some() && !holds(&[&by.exec], &targets.workspace),
            Self::ExecLoader => {
                let place = &targets.workspace;
                let is_read = by.read.is_none() || holds(&[&by.read], place);
                Self::ExecWritten.is_promised(by, targets) && (holds(&[&by.write], place) || !is_read)
            }
            Self::ExecMemory => {
                let is_run = |exec: &[ConfinedPath]| {
                    by.write.iter().flatten().any(|written| is_in(exec, &written.path))
                };
                by.syscalls != SyscallSet::Any && by.exec.as_deref().is_some_and(|exec| !is_run(exec))
            }
            Self::Tcp => match &by.net {
                NetAccess::None => true,
                NetAccess::Tcp(ports) => !ports.contains(&targets.tcp_port),
                NetAccess::Any => false,
            },
            Self::Net => by.net != NetAccess::Any,
            Self::Listen => match by.net {
                NetAccess::None => true,
                NetAccess::Tcp(_) => by.unix == UnixAccess::None,
                NetAccess::Any => false,
            },
            Self::Family => !filters_all,
            Self::Unix => match &by.unix {
                UnixAccess::None => true,
                UnixAccess::Paths(places) => !is_in(places, outside),
                UnixAccess::Any => false,
            },
            Self::Abstract => by.unix != UnixAccess::Any,
            Self::Processes => true,
            Self::Syscalls => by.syscalls != SyscallSet::Any,
            Self::IoUring => !filters_all || by.unix == UnixAccess::None,
        }
    }
}

/// Whether one of these lists has this directory.
fn holds(lists: &[&Option<Vec<ConfinedPath>>], directory: &Path) -> bool {
    lists.iter().any(|list| list.as_deref().is_some_and(|places| is_in(places, directory)))
}

fn is_in(places: &[ConfinedPath], directory: &Path) -> bool {
    places.iter().any(|place| directory.starts_with(&place.path))
}
