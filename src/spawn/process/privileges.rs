//! What a broker holds of the kernel's privileges: the rights of one user, root's only when that is meant,
//! and no capability of an ordinary user's. What is given up here is given up before there is a second
//! thread, as each thread has its own, and before there is a process that could inherit it.

use std::fmt;

use caps::errors::CapsError;
use caps::{CapSet, Capability};
use nix::unistd::{getresgid, getresuid};

/// What a broker does that finds itself root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootPolicy {
    /// It leaves.
    Refuse,
    /// It serves.
    Serve,
}

/// Why a process must not serve with the privileges that it has.
#[derive(Debug)]
pub enum PrivilegeError {
    /// Its rights are not those of whoever started it, as a setuid program's are not.
    Borrowed,
    /// It is root, and nobody said that this is meant.
    Root,
    /// It cannot give up its capabilities.
    Capabilities(CapsError),
    /// It cannot learn who it is.
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

/// Makes sure that whoever started this process has the rights that it has: else the environment, the
/// descriptors and the command line, the nursery's among them, would be an attacker's.
pub fn own_rights() -> Result<(), PrivilegeError> {
    let (user, group) =
        (getresuid().map_err(PrivilegeError::Unknown)?, getresgid().map_err(PrivilegeError::Unknown)?);
    let own_user = user.real == user.effective && user.real == user.saved;
    let own_group = group.real == group.effective && group.real == group.saved;
    if own_user && own_group { Ok(()) } else { Err(PrivilegeError::Borrowed) }
}

/// Refuses to be root unless told to, and gives up what is too much.
pub fn shed(as_root: RootPolicy) -> Result<(), PrivilegeError> {
    if is_root() && as_root == RootPolicy::Refuse {
        return Err(PrivilegeError::Root);
    }
    shed_capabilities().map_err(PrivilegeError::Capabilities)
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Gives up the capabilities of this thread. Of root's, only what a command would inherit besides being root:
/// the rest comes back with any exec, and is what ends commands that changed their user.
pub(super) fn shed_capabilities() -> Result<(), CapsError> {
    let sets: &[CapSet] = if is_root() {
        &[CapSet::Ambient, CapSet::Inheritable]
    } else {
        empty_bounding()?;
        &[CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted]
    };
    sets.iter().try_for_each(|set| empty(*set))
}

/// Without a bounding set, no setuid program gives a command capabilities again. It takes `CAP_SETPCAP` to
/// empty it, which an ordinary user has only where it was given on purpose.
fn empty_bounding() -> Result<(), CapsError> {
    if !caps::has_cap(None, CapSet::Permitted, Capability::CAP_SETPCAP)? {
        return Ok(());
    }
    caps::raise(None, CapSet::Effective, Capability::CAP_SETPCAP)?;
    empty(CapSet::Bounding)
}

/// Empties a set. It is its being empty that counts: a filter may forbid the call where there is nothing to
/// give up.
fn empty(set: CapSet) -> Result<(), CapsError> {
    caps::clear(None, set)
        .or_else(|error| if caps::read(None, set)?.is_empty() { Ok(()) } else { Err(error) })
}
