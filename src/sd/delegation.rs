//! The group that a service manager gave away to this process (`Delegate=`), and what is made of it: the
//! broker in a sub-group of its own, each call in another. A group that merely can be written is not ours: a
//! manager that keeps it moves its processes and resets its files when it likes. See
//! <https://systemd.io/CGROUP_DELEGATION>.

use std::fmt;
use std::io;

use nix::unistd::{AccessFlags, faccessat};

use crate::cgroup::Cgroup;
use crate::ids::SocketName;
use crate::sys;

use super::bus::BusError;
use super::scope::tag;

/// The broker's own sub-group. A group that hands controllers on to others may hold no process itself.
const BROKER: &str = "broker";

/// What the names of sockets' sub-groups begin with. Alone it could be a file of the kernel's.
const CALLS: &str = "calls-";

/// What calls can be limited by, and is measured of them.
const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// A group of our own.
#[derive(Debug)]
pub struct Delegation {
    root: Cgroup,
}

/// Why there is none.
#[derive(Debug)]
pub enum DelegationError {
    /// Nobody looked: no rules had a use for one when the broker started.
    Unasked,
    /// No cgroup v2, or it cannot be looked at.
    NoGroup(io::Error),
    /// It is the manager's.
    Kept(String),
    /// Whether it is cannot be found out.
    Unknown(String, BusError),
    /// It is ours, but the broker cannot move into a sub-group.
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
    /// Finds out whether this process's group is its own. The system's manager marks such a group; a user's
    /// manager may not, and is asked: `ask` says whether the unit with this group delegates.
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

    /// Moves this process into a sub-group, removes what an earlier broker left, and hands the controllers
    /// on.
    ///
    /// To be called before there are other processes: what is started later is where its parent is.
    pub fn settle(&self) -> Result<(), DelegationError> {
        let own = self.root.at(BROKER).map_err(DelegationError::Stuck)?;
        own.set("cgroup.procs", "0").map_err(DelegationError::Stuck)?;
        self.clear();
        hand_on(&self.root);
        Ok(())
    }

    /// The group that the calls of a socket are in.
    pub fn of_socket(&self, socket: &SocketName) -> io::Result<CallsCgroup> {
        let group = self.root.at(&format!("{CALLS}{}", tag(socket)))?;
        hand_on(&group);
        Ok(CallsCgroup { group })
    }

    /// Removes the groups of calls in which nothing runs.
    pub fn clear(&self) {
        for group in self.root.children().unwrap_or_default() {
            let name = group.path().rsplit('/').next().unwrap_or_default();
            if name.starts_with(CALLS) {
                // One that is in use stays; it ends with the unit.
                group.remove().ok();
            }
        }
    }
}

/// The group that holds those of a socket's calls.
#[derive(Debug)]
pub struct CallsCgroup {
    group: Cgroup,
}

impl CallsCgroup {
    /// A new group for the `number`th call of this process.
    pub fn group(&self, number: u64) -> io::Result<Cgroup> {
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

/// Has the groups in this one get its controllers, as many as there are. What is missing shows when a limit
/// is set.
fn hand_on(group: &Cgroup) {
    let has = group.controllers().unwrap_or_default();
    for controller in CONTROLLERS.iter().filter(|controller| has.iter().any(|own| own == *controller)) {
        group.set("cgroup.subtree_control", &format!("+{controller}")).ok();
    }
}
