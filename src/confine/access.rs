//! What a command may do at each place that its profile names.

use std::fmt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::Serialize;

use crate::rules::{ConfinedPath, Confinement, UnixAccess};
use crate::sys::errno_of;

use super::place::{OpenedPlace, PlaceError, PlaceKind};

/// What a command may do at and below a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlaceAccess {
    /// Read files, and list directories.
    pub read: bool,
    /// Write files, make and remove them.
    pub write: bool,
    /// Execute files.
    pub exec: bool,
    /// Connect to the unix socket there.
    pub socket: bool,
}

/// The kinds of access that there are, as words.
impl fmt::Display for PlaceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words =
            [(self.read, "read"), (self.write, "write"), (self.exec, "exec"), (self.socket, "connect")];
        let words: Vec<_> =
            words.iter().filter(|(is_granted, _)| *is_granted).map(|(_, word)| *word).collect();
        f.pad(&words.join(" "))
    }
}

impl PlaceAccess {
    fn and(self, other: Self) -> Self {
        Self {
            read: self.read || other.read,
            write: self.write || other.write,
            exec: self.exec || other.exec,
            socket: self.socket || other.socket,
        }
    }
}

/// A place with what a command may do there.
#[derive(Debug)]
pub(super) struct GrantedPlace {
    pub(super) access: PlaceAccess,
    pub(super) place: OpenedPlace,
}

impl GrantedPlace {
    /// Whether the place lies at or below a directory.
    pub(super) fn is_below(&self, directory: &Path) -> bool {
        self.place.path.starts_with(directory)
    }

    /// Whether the command may change files there; a device is no such file.
    pub(super) fn is_written(&self) -> bool {
        self.access.write && self.place.kind != PlaceKind::Device
    }
}

/// The places of a confinement, as they are found on disk.
#[derive(Debug, Default)]
pub(super) struct FoundPlaces {
    /// In the order of their paths, so that a directory comes before what is in it; each once.
    pub(super) granted: Vec<GrantedPlace>,
    /// The places that are absent, and may be.
    pub(super) absent: Vec<PathBuf>,
    /// Those of them that others than root can make.
    unfixed: Vec<PathBuf>,
    /// The places to hide or to protect that may not be absent.
    expected: Vec<PathBuf>,
    /// Links on the way to places that may be absent: these count as absent.
    pub(super) links: Vec<PathBuf>,
    /// The places to hide, without links; and the links among their paths as they are written.
    pub(super) hidden: Vec<ConfinedPath>,
    turned: Vec<(PathBuf, PathBuf)>,
}

impl FoundPlaces {
    /// Opens the places that a confinement names for reading, writing, executing, and as sockets.
    /// Errors: a place that may not be absent is, or cannot be used.
    pub(super) fn find(confinement: &Confinement) -> Result<Self, PlaceError> {
        let mut found = Self::default();
        let read = PlaceAccess { read: true, ..PlaceAccess::default() };
        let sockets = match &confinement.unix {
            UnixAccess::Paths(paths) => Some(paths),
            UnixAccess::None | UnixAccess::Any => None,
        };
        for (places, access) in [
            (confinement.read.as_ref(), read),
            (confinement.write.as_ref(), PlaceAccess { write: true, ..read }),
            (confinement.exec.as_ref(), PlaceAccess { exec: true, ..read }),
            (sockets, PlaceAccess { socket: true, ..PlaceAccess::default() }),
        ] {
            places.into_iter().flatten().try_for_each(|place| found.add(place, access))?;
        }
        let taken = confinement.hide.iter().chain(&confinement.protect).filter(|place| !place.optional);
        taken.map(|place| &place.path).try_for_each(|path| found.expect(path))?;
        confinement.hide.iter().for_each(|place| found.hide(place));
        found.granted.sort_by(|one, other| one.place.path.cmp(&other.place.path));
        Ok(found)
    }

    fn add(&mut self, wanted: &ConfinedPath, access: PlaceAccess) -> Result<(), PlaceError> {
        match OpenedPlace::open(&wanted.path) {
            Ok(place) => {
                match self.granted.iter_mut().find(|granted| granted.place.path == place.path) {
                    Some(granted) => granted.access = granted.access.and(access),
                    None => self.granted.push(GrantedPlace { access, place }),
                }
                Ok(())
            }
            Err(PlaceError::Unopened(path, Errno::ENOENT | Errno::ENOTDIR)) if wanted.optional => {
                if !OpenedPlace::is_fixed_absent(&path) {
                    self.unfixed.push(path.clone());
                }
                self.absent.push(path);
                Ok(())
            }
            Err(PlaceError::Link(link)) if wanted.optional => {
                self.links.push(link);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    /// A place that is to be hidden or protected, and may not be absent.
    fn expect(&mut self, path: &Path) -> Result<(), PlaceError> {
        let unopened = |source| PlaceError::Unopened(path.to_owned(), Errno::from_raw(errno_of(&source)));
        path.symlink_metadata().map_err(unopened)?;
        self.expected.push(path.to_owned());
        Ok(())
    }

    /// A place that is reached by links is hidden where they lead to.
    fn hide(&mut self, wanted: &ConfinedPath) {
        let path = wanted.path.canonicalize().unwrap_or_else(|_| wanted.path.clone());
        if path != wanted.path {
            self.turned.push((wanted.path.clone(), path.clone()));
        }
        self.hidden.push(ConfinedPath { path, optional: wanted.optional });
    }

    /// Closes the places, once a ruleset has them: there is a descriptor for none of a ruleset's places, and
    /// the ruleset keeps each file's number from being given to another file.
    pub(super) fn close(&mut self) {
        self.granted.iter_mut().for_each(|granted| granted.place.close());
    }

    /// Whether each place is still the file that was opened, and each absent one absent.
    pub(super) fn are_there(&self) -> bool {
        self.granted.iter().all(|granted| granted.place.is_there())
            && self.unfixed.iter().all(|path| path.symlink_metadata().is_err())
            && self.expected.iter().all(|path| path.symlink_metadata().is_ok())
            && self.links.iter().all(|path| path.is_symlink())
            && self.turned.iter().all(|(path, place)| path.canonicalize().is_ok_and(|now| now == *place))
    }
}
