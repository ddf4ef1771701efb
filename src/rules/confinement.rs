//! What a rule's command may do: the content of its profile, with the rule's own keys applied.

use std::path::PathBuf;

/// The confinement of a rule's command. A list that is `None` restricts nothing of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Confinement {
    /// The profile that `confine` names; `none` where the rule's own keys are all there is.
    pub profile: Box<str>,
    /// Places whose files can be read, and listed.
    pub read: Option<Vec<ConfinedPath>>,
    /// Places that can be read and written.
    pub write: Option<Vec<ConfinedPath>>,
    /// Places whose files can be read and executed.
    pub exec: Option<Vec<ConfinedPath>>,
    /// Places that cannot be seen, wherever they lie.
    pub hide: Vec<ConfinedPath>,
    /// Places that cannot be written, although they lie in a place of `write`.
    pub protect: Vec<ConfinedPath>,
    /// The networks that it reaches.
    pub net: NetAccess,
    /// The unix sockets that it reaches.
    pub unix: UnixAccess,
    /// The system calls that it has.
    pub syscalls: SyscallSet,
    /// The directories for temporary files.
    pub tmp: TmpAccess,
    /// Whether the call runs where a part of this cannot be enforced.
    pub on_missing: OnMissing,
    /// Limits of each of its processes, each kind once.
    pub limits: Vec<(ProcessLimit, u64)>,
}

/// A place that a profile names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfinedPath {
    /// Absolute.
    pub path: PathBuf,
    /// Whether it may be absent.
    pub optional: bool,
}

/// `net =`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NetAccess {
    /// No network, not even this machine's own.
    None,
    /// TCP connections to these ports, and nothing else.
    Tcp(Vec<u16>),
    /// Every network.
    Any,
}

/// `unix =`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixAccess {
    /// Only sockets that its own processes made in pairs.
    None,
    /// The sockets at these paths, and those that its own processes make.
    Paths(Vec<ConfinedPath>),
    /// Every socket.
    Any,
}

/// `syscalls =`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyscallSet {
    /// All but those that programs do not need, and attacks do.
    Default,
    /// Only those that programs usually need.
    Strict,
    /// All.
    Any,
}

/// `tmp =`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TmpAccess {
    /// `/tmp`, `/var/tmp` and `/dev/shm` are empty, and the call's alone.
    Private,
    /// They are the machine's, and `read` and `write` say what can be done there.
    Shared,
}

/// `on_missing =`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnMissing {
    /// The call is refused.
    Refuse,
    /// The call runs, and its record names the missing parts.
    Degrade,
}

/// A limit of setrlimit(2), by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessLimit {
    /// Open descriptors (`RLIMIT_NOFILE`).
    Nofile,
    /// Bytes of a core file (`RLIMIT_CORE`).
    Core,
    /// Processes of the user, all programs counted (`RLIMIT_NPROC`).
    Nproc,
    /// Bytes of a file that it writes (`RLIMIT_FSIZE`).
    Fsize,
}
