//! Checks and reduces a broker's privileges: it serves with the rights of one user, with root's only when the
//! operator says so, and, as an ordinary user, with no capability. Capabilities are given up before there is
//! a second thread, since each thread has its own, and before there is a process that could inherit them.

use std::fmt;

use caps::errors::CapsError;
use caps::{CapSet, Capability};
use nix::unistd::{getresgid, getresuid};

/// What to do when the broker runs as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootPolicy {
    /// The broker refuses to start.
    Refuse,
    /// The broker serves.
    Serve,
}

/// Why a process must not serve with the privileges that it has.
#[derive(Debug)]
pub enum PrivilegeError {
    /// Its rights are not those of the user who started it, as with a setuid program.
    Borrowed,
    /// It is root, without `--allow-root`.
    Root,
    /// It cannot give up its capabilities.
    Capabilities(CapsError),
    /// Its user and group ids cannot be read.
    Unknown(nix::Error),
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Borrowed => write!(
                f,
                "refusing to run with rights borrowed from another user (a setuid or setgid file): the real, effective \
                 and saved ids have to be the same"
            ),
            Self::Root => write!(
                f,
                "refusing to serve as root: each rule would hand root's rights to its callers. Serve as a user without \
                 privileges, as the units do (User=sluice), or give --allow-root if root is meant"
            ),
            Self::Capabilities(source) => write!(f, "cannot give up capabilities: {source}"),
            Self::Unknown(source) => write!(f, "cannot learn which user this is: {source}"),
        }
    }
}

impl std::error::Error for PrivilegeError {}

/// Checks that this process has no more rights than the user who started it: else its environment, its
/// descriptors and its command line (the nursery's too) could be an attacker's.
pub fn own_rights() -> Result<(), PrivilegeError> {
    let (user, group) =
        (getresuid().map_err(PrivilegeError::Unknown)?, getresgid().map_err(PrivilegeError::Unknown)?);
    let own_user = user.real == user.effective && user.real == user.saved;
    let own_group = group.real == group.effective && group.real == group.saved;
    if own_user && own_group { Ok(()) } else { Err(PrivilegeError::Borrowed) }
}

/// Refuses to be root unless `as_root` allows it, and gives up capabilities.
pub fn shed(as_root: RootPolicy) -> Result<(), PrivilegeError> {
    if is_root() && as_root == RootPolicy::Refuse {
        return Err(PrivilegeError::Root);
    }
    shed_capabilities().map_err(PrivilegeError::Capabilities)
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Gives up the capabilities of this thread. As root, only the ambient and inheritable sets: root's other
/// capabilities come back with any exec, and the broker needs them to end commands that changed their user.
pub(super) fn shed_capabilities() -> Result<(), CapsError> {
    let sets: &[CapSet] = if is_root() {
        &[CapSet::Ambient, CapSet::Inheritable]
    } else {
        empty_bounding()?;
        &[CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted]
    };
    sets.iter().try_for_each(|set| empty(*set))
}

/// Empties the bounding set, so that no setuid program gives a command capabilities again. That takes
/// `CAP_SETPCAP`, which an ordinary user has only where it was given on purpose.
fn empty_bounding() -> Result<(), CapsError> {
    if !caps::has_cap(None, CapSet::Permitted, Capability::CAP_SETPCAP)? {
        return Ok(());
    }
    caps::raise(None, CapSet::Effective, Capability::CAP_SETPCAP)?;
    empty(CapSet::Bounding)
}

/// Empties a set. An error counts only if the set is not empty: a seccomp filter may forbid the call where
/// there is nothing to give up.
fn empty(set: CapSet) -> Result<(), CapsError> {
    caps::clear(None, set)
        .or_else(|error| if caps::read(None, set)?.is_empty() { Ok(()) } else { Err(error) })
}
