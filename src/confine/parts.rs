//! The parts of a confinement that a kernel may lack.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;

use crate::rules::{Confinement, NetAccess, TmpAccess, UnixAccess};
use crate::sys::confine;

/// The Landlock ABI that brought what it allows of TCP ports.
const TCP_ABI: u32 = 4;
/// The Landlock ABI that brought scopes of signals and of abstract sockets.
const SCOPE_ABI: u32 = 6;
/// The Landlock ABI that brought the right to connect to a unix socket with a path.
pub(super) const SOCKET_PATH_ABI: u32 = 9;

/// What this kernel, and whatever confines this process, let a command be confined by.
#[derive(Clone, Debug)]
pub struct KernelSupport {
    /// The version of Landlock, or why there is none.
    pub landlock: Result<u32, Errno>,
    /// Whether there are system call filters, or why not.
    pub filters: Result<(), Errno>,
    /// Mount namespaces.
    pub view: ViewSupport,
}

/// How a command gets a view of the file system of its own.
#[derive(Clone, Debug)]
pub enum ViewSupport {
    /// The broker's own capabilities are enough.
    Capable,
    /// In this user namespace.
    UserNamespace(Arc<OwnedFd>),
    /// It gets none, because of this error.
    Missing(Errno),
}

impl KernelSupport {
    /// What the kernel says of itself, with the given mount namespaces.
    pub fn probe(view: ViewSupport) -> Self {
        Self { landlock: confine::landlock_abi(), filters: confine::filters_are_there(), view }
    }

    /// The version of Landlock; 0 without it.
    pub(super) fn abi(&self) -> u32 {
        self.landlock.unwrap_or_default()
    }

    pub(super) fn has_view(&self) -> bool {
        !matches!(self.view, ViewSupport::Missing(_))
    }

    /// The parts of a confinement that cannot be enforced here.
    pub fn missing(&self, wanted: &Confinement) -> Vec<MissingPart> {
        let mut missing = Vec::new();
        let mut lacks = |part, is_lacking: bool| missing.extend(is_lacking.then_some(part));
        let names_files = wanted.read.is_some() || wanted.write.is_some() || wanted.exec.is_some();
        lacks(MissingPart::Files, names_files && self.landlock.is_err());
        lacks(MissingPart::Signals, self.abi() < SCOPE_ABI);
        lacks(MissingPart::TcpPorts, matches!(wanted.net, NetAccess::Tcp(_)) && self.abi() < TCP_ABI);
        lacks(
            MissingPart::AbstractSockets,
            matches!(wanted.unix, UnixAccess::Paths(_)) && self.abi() < SCOPE_ABI,
        );
        lacks(MissingPart::SystemCalls, self.filters.is_err());
        let needs_view = needs_view(wanted, self.abi());
        lacks(MissingPart::Mounts, needs_view && !self.has_view());
        missing
    }
}

/// Whether a part of a confinement takes a view of its own: whoever can write files may change the owner, the
/// mode and the times of any other, which Landlock does not know.
pub(super) fn needs_view(wanted: &Confinement, abi: u32) -> bool {
    let writes = wanted.write.iter().flatten().any(|place| !place.path.starts_with("/dev"));
    let names_sockets = matches!(wanted.unix, UnixAccess::Paths(_)) && abi < SOCKET_PATH_ABI;
    let takes_away = !wanted.hide.is_empty() || !wanted.protect.is_empty();
    writes || names_sockets || takes_away || wanted.tmp == TmpAccess::Private
}

/// A part of a confinement that is not enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingPart {
    /// Which files it reads, writes and executes.
    Files,
    /// That it signals its own processes alone.
    Signals,
    /// To which TCP ports it connects.
    TcpPorts,
    /// That it reaches no abstract unix socket.
    AbstractSockets,
    /// The system calls that it has, and the kinds of sockets.
    SystemCalls,
    /// A private `/tmp`, what is hidden and protected, that it changes nothing else's mode and times, and
    /// which unix sockets it reaches.
    Mounts,
}

impl MissingPart {
    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Signals => "signals",
            Self::TcpPorts => "tcp",
            Self::AbstractSockets => "abstract",
            Self::SystemCalls => "syscalls",
            Self::Mounts => "mounts",
        }
    }

    /// What this kernel would have to have.
    pub fn needs(self, support: &KernelSupport) -> String {
        let landlock = |least: u32| match support.landlock {
            Ok(abi) => format!("Landlock {least}, and this kernel has {abi}"),
            Err(errno) => format!("Landlock {least}, and this kernel has none ({})", errno.desc()),
        };
        match self {
            Self::Files => landlock(1),
            Self::Signals | Self::AbstractSockets => landlock(SCOPE_ABI),
            Self::TcpPorts => landlock(TCP_ABI),
            Self::SystemCalls => "system call filters (seccomp)".into(),
            Self::Mounts => match support.view {
                ViewSupport::Missing(errno) => {
                    format!("user namespaces, and they are not allowed here ({})", errno.desc())
                }
                ViewSupport::Capable | ViewSupport::UserNamespace(_) => "mount namespaces".into(),
            },
        }
    }
}

impl fmt::Display for MissingPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::{ConfinedPath, OnMissing, SyscallSet};

    use super::*;

    fn support(landlock: Result<u32, Errno>, view: ViewSupport) -> KernelSupport {
        KernelSupport { landlock, filters: Ok(()), view }
    }

    fn free() -> Confinement {
        Confinement {
            profile: "p".into(),
            read: None,
            write: None,
            exec: None,
            hide: Vec::new(),
            protect: Vec::new(),
            net: NetAccess::Any,
            unix: UnixAccess::Any,
            syscalls: SyscallSet::Default,
            tmp: TmpAccess::Shared,
            on_missing: OnMissing::Refuse,
            limits: Vec::new(),
        }
    }

    fn writing(place: &str) -> Confinement {
        let place = ConfinedPath { path: place.into(), optional: false };
        Confinement { write: Some(vec![place]), ..free() }
    }

    #[track_caller]
    fn check(wanted: &Confinement, landlock: Result<u32, Errno>, view: ViewSupport, missing: &[&str]) {
        let found = support(landlock, view).missing(wanted);
        assert_eq!(found.iter().map(|part| part.as_str()).collect::<Vec<_>>(), missing);
    }

    #[test]
    fn each_version_of_landlock_has_what_it_has() {
        let denied = || ViewSupport::Missing(Errno::EPERM);
        let tcp = Confinement { net: NetAccess::Tcp(vec![443]), ..free() };
        check(&tcp, Err(Errno::ENOSYS), denied(), &["signals", "tcp"]);
        check(&tcp, Ok(3), denied(), &["signals", "tcp"]);
        check(&tcp, Ok(4), denied(), &["signals"]);
        check(&tcp, Ok(6), denied(), &[]);
        let socket = ConfinedPath { path: "/run/s".into(), optional: false };
        let named = Confinement { unix: UnixAccess::Paths(vec![socket]), ..free() };
        check(&named, Ok(5), ViewSupport::Capable, &["signals", "abstract"]);
        check(&named, Ok(7), denied(), &["mounts"]);
        check(&named, Ok(9), denied(), &[]);
        check(&writing("/dev/null"), Ok(7), denied(), &[]);
        check(&writing("/home/x"), Ok(7), denied(), &["mounts"]);
        check(&writing("/home/x"), Ok(7), ViewSupport::Capable, &[]);
        check(&writing("/home/x"), Err(Errno::EOPNOTSUPP), ViewSupport::Capable, &["files", "signals"]);
        let private = Confinement { tmp: TmpAccess::Private, ..free() };
        check(&private, Ok(7), denied(), &["mounts"]);
    }

    #[test]
    fn what_is_missing_is_said_with_what_this_kernel_has() {
        let old = support(Ok(2), ViewSupport::Missing(Errno::EPERM));
        assert_eq!(MissingPart::Signals.needs(&old), "Landlock 6, and this kernel has 2");
        let refused = "user namespaces, and they are not allowed here (Operation not permitted)";
        assert_eq!(MissingPart::Mounts.needs(&old), refused);
        let none = support(Err(Errno::ENOSYS), ViewSupport::Capable);
        let absent = "Landlock 1, and this kernel has none (Function not implemented)";
        assert_eq!(MissingPart::Files.needs(&none), absent);
    }
}
