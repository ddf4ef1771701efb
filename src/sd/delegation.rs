//! The cgroup that a service manager delegated to this process (`Delegate=`), and the groups that are made in
//! it: one for the broker itself, and one for each call. That a cgroup can be written does not mean that it
//! was delegated: a manager may move the processes and reset the files of a cgroup that it has not delegated.
//! See <https://systemd.io/CGROUP_DELEGATION>.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{AccessFlags, faccessat};

use crate::cgroup::{Cgroup, hand_on};
use crate::ids::SocketName;
use crate::sys;

use super::bus::BusError;
use super::scope::tag;

/// The broker's own sub-group, because a cgroup that enables controllers for its children may hold no
/// process.
const BROKER: &str = "broker";

/// The prefix of the names of sockets' sub-groups, so that none can be the name of a file of the kernel's.
const CALLS: &str = "calls-";

/// The delegated cgroup.
#[derive(Debug)]
pub struct Delegation {
    root: Cgroup,
}

/// Why the broker has no delegated cgroup.
#[derive(Debug)]
pub enum DelegationError {
    /// No delegated cgroup was looked for, because no rules had a use for one when the broker started.
    Unasked,
    /// There is no cgroup v2, or it cannot be read.
    NoGroup(io::Error),
    /// The broker's cgroup is not delegated.
    Kept(String),
    /// Whether the broker's cgroup is delegated cannot be found out.
    Unknown(String, BusError),
    /// The broker's cgroup is delegated, but the broker cannot move into a sub-group.
    Stuck(io::Error),
}

impl fmt::Display for DelegationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unasked => {
                write!(f, "the rules did not ask for a delegated cgroup when the broker started")
            }
            Self::NoGroup(source) => write!(f, "no cgroup version 2: {source}"),
            Self::Kept(path) => write!(f, "the broker's cgroup {path} is not delegated to it (Delegate=)"),
            Self::Unknown(path, why) => {
                write!(f, "nobody says whether the broker's cgroup {path} is delegated to it: {why}")
            }
            Self::Stuck(source) => write!(f, "the broker cannot enter a cgroup below its own: {source}"),
        }
    }
}

impl std::error::Error for DelegationError {}

impl Delegation {
    /// Finds out whether this process's cgroup is delegated. The system's manager marks a delegated cgroup
    /// with an extended attribute; a user's manager may not be able to, and is asked: `ask` says whether the
    /// unit with this cgroup delegates.
    pub fn find(ask: impl FnOnce(&str) -> Result<bool, BusError>) -> Result<Self, DelegationError> {
        let root = Cgroup::own().map_err(DelegationError::NoGroup)?;
        if !is_writable(&root) {
            return Err(DelegationError::Kept(root.path().into()));
        }
        if !is_marked(&root).map_err(DelegationError::NoGroup)? {
            match ask(root.path()) {
                Ok(true) => {}
                Ok(false) => return Err(DelegationError::Kept(root.path().into())),
                Err(why) => return Err(DelegationError::Unknown(root.path().into(), why)),
            }
        }
        Ok(Self { root })
    }

    /// Moves this process into a sub-group, removes the groups that an earlier broker left, and enables the
    /// controllers for sub-groups.
    ///
    /// Called before there are other processes: a process that is started later begins in its parent's
    /// cgroup.
    pub fn settle(&self) -> Result<(), DelegationError> {
        let own = self.root.at(BROKER).map_err(DelegationError::Stuck)?;
        own.set("cgroup.procs", "0").map_err(DelegationError::Stuck)?;
        self.clear();
        hand_on(&self.root);
        Ok(())
    }

    /// The group above the groups of a socket's calls.
    pub fn of_socket(&self, socket: &SocketName) -> io::Result<CallsCgroup> {
        let group = self.root.at(&format!("{CALLS}{}", tag(socket)))?;
        hand_on(&group);
        let has_memory = group.hands_memory_on();
        Ok(CallsCgroup { group, has_memory, number: AtomicU64::new(0) })
    }

    /// Removes the groups of calls in which no process runs.
    pub fn clear(&self) {
        for group in self.root.children().unwrap_or_default() {
            let name = group.path().rsplit('/').next().unwrap_or_default();
            if name.starts_with(CALLS) {
                // A group that is in use stays; it ends with the unit.
                group.remove().ok();
            }
        }
    }
}

/// The group above the groups of a socket's calls.
#[derive(Debug)]
pub struct CallsCgroup {
    group: Cgroup,
    has_memory: bool,
    /// The number of the last group that this process made in it.
    number: AtomicU64,
}

impl CallsCgroup {
    /// Whether the groups in it have the memory controller.
    pub fn has_memory(&self) -> bool {
        self.has_memory
    }

    /// A new group for a call.
    pub fn group(&self) -> io::Result<Cgroup> {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        self.group.create(&format!("{}-{number}", std::process::id()))
    }
}

fn is_writable(group: &Cgroup) -> bool {
    let flags = nix::fcntl::AtFlags::AT_EACCESS;
    let may = |file: &str| faccessat(group.directory(), file, AccessFlags::W_OK, flags);
    [".", "cgroup.procs", "cgroup.subtree_control"].into_iter().all(|file| may(file).is_ok())
}

fn is_marked(group: &Cgroup) -> io::Result<bool> {
    for name in [c"user.delegate", c"trusted.delegate"] {
        if sys::attribute_is(group.directory(), name, b"1")? {
            return Ok(true);
        }
    }
    Ok(false)
}
