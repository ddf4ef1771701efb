//! A confinement made ready: what a launcher needs to enforce it.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

use crate::limits::RULESET_CALLS_MAX;
use crate::rules::{Confinement, OnMissing, ProcessLimit, UnixAccess};

use super::access::{FoundPlaces, PlaceAccess};
use super::filter::{FilterRequest, MemoryFiles, MetadataCalls, passing_filter, syscall_filter};
use super::parts::{KernelSupport, MissingPart, ViewSupport, needs_view};
use super::place::PlaceError;
use super::ruleset::{rights_of_temporaries, ruleset};
use super::view::{CommandView, executes_what_it_writes, view};

/// The restrictions of a command, as a launcher is sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandRestrictions {
    /// The steps to its view of the file system; none where it has no view of its own.
    pub view: Vec<CString>,
    /// Whether it gets a mount namespace.
    pub has_view: bool,
    /// Whether its stdin, stdout and stderr may be no unix sockets that reach others by a path.
    pub refuses_sockets: bool,
    /// The directory for temporary files that is its own.
    pub temporary: Option<CString>,
    /// What it may do there, as `landlock_add_rule(2)` takes it.
    pub temporary_rights: u64,
    /// Instructions of its system call filter, `struct sock_filter`; none for no filter.
    pub filter: Vec<u8>,
    /// Instructions of a further filter, for a command that is handed a connected unix socket.
    pub passing_filter: Vec<u8>,
    /// Limits: the number of a resource for `setrlimit(2)`, and its value.
    pub limits: Vec<(u32, u64)>,
}

/// What of a confinement is enforced, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnforcedParts {
    /// The name of the profile.
    pub profile: Box<str>,
    /// The version of Landlock that is used; absent without Landlock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landlock: Option<u32>,
    /// Whether there is a system call filter.
    pub seccomp: bool,
    /// Whether there is a mount namespace.
    pub mounts: bool,
    /// The parts that are not enforced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<&'static str>,
}

impl EnforcedParts {
    /// What enforces it, for a person.
    pub fn mechanisms(&self) -> String {
        let landlock = self.landlock.map(|abi| format!("Landlock {abi}"));
        let filter = self.seccomp.then(|| "a system call filter".to_owned());
        let mounts = self.mounts.then(|| "a mount namespace".to_owned());
        let all: Vec<_> = landlock.into_iter().chain(filter).chain(mounts).collect();
        if all.is_empty() { "nothing".into() } else { all.join(", ") }
    }
}

/// A confinement that is ready for calls.
#[derive(Debug)]
pub struct PreparedConfinement {
    wanted: Arc<Confinement>,
    found: FoundPlaces,
    ruleset: Option<OwnedFd>,
    user_namespace: Option<Arc<OwnedFd>>,
    restrictions: CommandRestrictions,
    enforced: EnforcedParts,
    calls: AtomicU32,
}

/// Why a confinement cannot be made ready.
#[derive(Debug)]
pub enum PrepareError {
    /// Parts that this kernel cannot enforce, with what each needs.
    Missing(Vec<(MissingPart, String)>),
    /// A place that it names cannot be used.
    Place(PlaceError),
    /// The kernel does not take a ruleset.
    Ruleset(io::Error),
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(parts) => {
                let parts: Vec<_> =
                    parts.iter().map(|(part, needs)| format!("{part} needs {needs}")).collect();
                write!(f, "{}; `on_missing = degrade` would run the command without", parts.join("; "))
            }
            Self::Place(fault) => fault.fmt(f),
            Self::Ruleset(source) => write!(f, "no Landlock ruleset can be made: {source}"),
        }
    }
}

impl std::error::Error for PrepareError {}

impl PreparedConfinement {
    /// Makes a confinement ready.
    /// Errors: a part is missing here, and the confinement says to refuse then; a place cannot be used; the
    /// kernel's.
    pub fn new(wanted: Arc<Confinement>, support: &KernelSupport) -> Result<Self, PrepareError> {
        let missing = support.missing(&wanted);
        if !missing.is_empty() && wanted.on_missing == OnMissing::Refuse {
            let needs = missing.into_iter().map(|part| (part, part.needs(support)));
            return Err(PrepareError::Missing(needs.collect()));
        }
        let mut found = FoundPlaces::find(&wanted).map_err(PrepareError::Place)?;
        let abi = support.abi();
        let has_view = needs_view(&wanted, abi) && support.has_view();
        let CommandView { steps, temporary, is_executable } =
            if has_view { view(&wanted, &found, abi) } else { CommandView::default() };
        let ruleset = ruleset(&wanted, &found, abi).map_err(PrepareError::Ruleset)?;
        found.close();
        let restrictions = CommandRestrictions {
            view: steps,
            has_view,
            refuses_sockets: wanted.unix != UnixAccess::Any,
            temporary_rights: temporary
                .as_ref()
                .map_or(0, |_| rights_of_temporaries(&wanted, is_executable, abi)),
            temporary,
            filter: filter(&wanted, &found, support),
            passing_filter: if support.filters.is_ok() { passing_filter() } else { Vec::new() },
            limits: wanted.limits.iter().map(|(limit, most)| (resource(*limit), *most)).collect(),
        };
        let enforced = EnforcedParts {
            profile: wanted.profile.clone(),
            landlock: ruleset.as_ref().map(|_| abi),
            seccomp: !restrictions.filter.is_empty(),
            mounts: has_view,
            missing: missing.into_iter().map(MissingPart::as_str).collect(),
        };
        let user_namespace = match &support.view {
            ViewSupport::UserNamespace(namespace) if has_view => Some(namespace.clone()),
            ViewSupport::UserNamespace(_) | ViewSupport::Capable | ViewSupport::Missing(_) => None,
        };
        Ok(Self { wanted, found, ruleset, user_namespace, restrictions, enforced, calls: AtomicU32::new(0) })
    }

    /// Whether it still fits: each place is the file that it was. Counts as one use: a launcher adds its
    /// private directory to the ruleset, which is made anew before it grows.
    pub fn is_current(&self) -> bool {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        calls < RULESET_CALLS_MAX && self.found.are_there()
    }

    /// The restrictions of a command.
    pub fn restrictions(&self) -> &CommandRestrictions {
        &self.restrictions
    }

    /// The Landlock ruleset.
    pub fn ruleset(&self) -> Option<BorrowedFd<'_>> {
        self.ruleset.as_ref().map(AsFd::as_fd)
    }

    /// The user namespace in which a command gets its view.
    pub fn user_namespace(&self) -> Option<BorrowedFd<'_>> {
        self.user_namespace.as_ref().map(|namespace| namespace.as_fd())
    }

    /// The places that it grants, without links, with what may be done there.
    pub fn places(&self) -> impl Iterator<Item = (&Path, PlaceAccess)> {
        self.found.granted.iter().map(|granted| (granted.place.path.as_path(), granted.access))
    }

    /// The places that are absent, and may be.
    pub fn absent(&self) -> &[PathBuf] {
        &self.found.absent
    }

    /// Links on the way to such places, which count as absent.
    pub fn links(&self) -> &[PathBuf] {
        &self.found.links
    }

    /// What of it is enforced.
    pub fn enforced(&self) -> &EnforcedParts {
        &self.enforced
    }

    /// The confinement.
    pub fn wanted(&self) -> &Arc<Confinement> {
        &self.wanted
    }
}

/// The filter of system calls; empty where nothing is filtered, or nothing can be. Where a command writes no
/// file, and so has no view of its own, it changes no metadata either.
fn filter(wanted: &Confinement, found: &FoundPlaces, support: &KernelSupport) -> Vec<u8> {
    if support.filters.is_err() {
        return Vec::new();
    }
    let writes_nothing = wanted.write.is_some() && !needs_view(wanted, support.abi());
    let metadata = if writes_nothing { MetadataCalls::Refused } else { MetadataCalls::Allowed };
    let is_executable = wanted.exec.is_none() || executes_what_it_writes(found);
    let memory_files = if is_executable { MemoryFiles::Executable } else { MemoryFiles::Data };
    let Confinement { syscalls, net, unix, .. } = wanted;
    let request = FilterRequest { syscalls: *syscalls, net, unix, metadata, memory_files };
    syscall_filter(&request).unwrap_or_default()
}

/// The number of a limit for `setrlimit(2)`.
fn resource(limit: ProcessLimit) -> u32 {
    match limit {
        ProcessLimit::Nofile => nix::libc::RLIMIT_NOFILE,
        ProcessLimit::Core => nix::libc::RLIMIT_CORE,
        ProcessLimit::Nproc => nix::libc::RLIMIT_NPROC,
        ProcessLimit::Fsize => nix::libc::RLIMIT_FSIZE,
    }
}
