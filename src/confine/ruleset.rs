//! Makes the Landlock ruleset of a confinement: which files, TCP ports, signals and abstract sockets.

use std::io;
use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use crate::rules::{Confinement, NetAccess, UnixAccess};

use super::access::{FoundPlaces, GrantedPlace, PlaceAccess};
use super::place::PlaceKind;

/// The rights of files that a confinement takes away, but where it grants them.
fn handled(wanted: &Confinement, abi: ABI) -> BitFlags<AccessFs> {
    let mut rights = BitFlags::EMPTY;
    if wanted.read.is_some() {
        rights |= AccessFs::ReadFile | AccessFs::ReadDir;
    }
    if wanted.write.is_some() {
        rights |= AccessFs::from_write(abi) & !BitFlags::from(AccessFs::ResolveUnix);
    }
    if wanted.exec.is_some() {
        rights |= AccessFs::Execute;
    }
    if wanted.unix != UnixAccess::Any {
        rights |= AccessFs::ResolveUnix;
    }
    rights & AccessFs::from_all(abi)
}

/// The rights that go with an access to a place of a kind.
fn rights(access: PlaceAccess, kind: PlaceKind, abi: ABI) -> BitFlags<AccessFs> {
    let mut rights = BitFlags::EMPTY;
    if access.read {
        rights |= AccessFs::ReadFile | AccessFs::ReadDir;
    }
    if access.write {
        rights |= AccessFs::from_write(abi);
        rights &= !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::ResolveUnix);
        if kind != PlaceKind::Device {
            rights &= !BitFlags::from(AccessFs::IoctlDev);
        }
    }
    if access.exec {
        rights |= AccessFs::Execute;
    }
    if access.socket {
        rights |= AccessFs::ResolveUnix;
    }
    if kind == PlaceKind::Directory { rights } else { rights & AccessFs::from_file(abi) }
}

/// The version of Landlock, as far as it is known here.
fn known(abi: u32) -> ABI {
    ABI::from(i32::try_from(abi).unwrap_or(i32::MAX))
}

/// The rights in a private directory for temporary files, as `landlock_add_rule(2)` takes them.
pub(super) fn rights_of_temporaries(wanted: &Confinement, is_executable: bool, abi: u32) -> u64 {
    let abi = known(abi);
    let access = PlaceAccess { read: true, write: true, exec: is_executable, socket: true };
    (rights(access, PlaceKind::Directory, abi) & handled(wanted, abi)).bits()
}

/// The ruleset of a confinement with these places, for a kernel with this version of Landlock; `None` where
/// there is none. Errors: the kernel's.
pub(super) fn ruleset(wanted: &Confinement, found: &FoundPlaces, abi: u32) -> io::Result<Option<OwnedFd>> {
    if abi == 0 {
        return Ok(None);
    }
    make(wanted, found, known(abi)).map_err(io::Error::other)
}

fn make(wanted: &Confinement, found: &FoundPlaces, abi: ABI) -> Result<Option<OwnedFd>, RulesetError> {
    let handled = handled(wanted, abi);
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if !handled.is_empty() {
        ruleset = ruleset.handle_access(handled)?;
    }
    let net = AccessNet::from_all(abi);
    let takes_net = wanted.net != NetAccess::Any && !net.is_empty();
    if takes_net {
        ruleset = ruleset.handle_access(net)?;
    }
    let scope = scope(wanted, abi);
    if !scope.is_empty() {
        ruleset = ruleset.scope(scope)?;
    }
    if handled.is_empty() && !takes_net && scope.is_empty() {
        return Ok(None);
    }
    let mut ruleset = ruleset.create()?;
    for GrantedPlace { access, place } in &found.granted {
        let rights = rights(*access, place.kind, abi) & handled;
        if let (Some(handle), false) = (place.handle(), rights.is_empty()) {
            ruleset = ruleset.add_rule(PathBeneath::new(handle, rights))?;
        }
    }
    if let (NetAccess::Tcp(ports), true) = (&wanted.net, takes_net) {
        for port in ports {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(ruleset.into())
}

/// Signals to other processes are always taken away; abstract sockets unless all unix sockets are allowed.
fn scope(wanted: &Confinement, abi: ABI) -> BitFlags<Scope> {
    let mut scope = BitFlags::from(Scope::Signal);
    if wanted.unix != UnixAccess::Any {
        scope |= Scope::AbstractUnixSocket;
    }
    scope & Scope::from_all(abi)
}
