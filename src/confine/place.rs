//! Opens the places that a profile names. A link on the way is followed only where root alone can turn it, as
//! `/bin` and `/lib`: a caller who can turn one would choose the place.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::geteuid;

use crate::limits::LINKS_MAX;
use crate::text::quoted;

/// Why a place cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum PlaceError {
    /// The kernel does not open it.
    Unopened(PathBuf, Errno),
    /// A link that root alone cannot turn, on the way or at the end.
    Link(PathBuf),
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopened(path, errno) => write!(f, "{}: {}", path.display(), errno.desc()),
            Self::Link(path) => write!(
                f,
                "{} is a link, which whoever owns it can turn; name the place that it leads to (realpath {})",
                path.display(),
                quoted(&path.to_string_lossy())
            ),
        }
    }
}

/// A place that a profile names, as it was found.
#[derive(Debug)]
pub(super) struct OpenedPlace {
    /// Its path without links.
    pub(super) path: PathBuf,
    pub(super) kind: PlaceKind,
    handle: Option<OwnedFd>,
    identity: (u64, u64),
    /// Whether root alone can put another file there, and whether root alone can put files in it.
    is_fixed: bool,
    holds_fixed: bool,
}

/// The kinds of files that differ in what can be done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceKind {
    Directory,
    Device,
    File,
}

impl PlaceKind {
    fn of(stat: &FileStat) -> Self {
        match format(stat) {
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFCHR | SFlag::S_IFBLK => Self::Device,
            _ => Self::File,
        }
    }
}

impl OpenedPlace {
    /// Opens a place. Errors: it is absent, cannot be reached, or a link is on the way.
    pub(super) fn open(path: &Path) -> Result<Self, PlaceError> {
        let unopened = |errno| PlaceError::Unopened(path.to_owned(), errno);
        let here = Node::root().map_err(unopened)?;
        let mut walk = PlaceWalk { above: Vec::new(), here, links: 0, is_fixed: true };
        let mut ahead: VecDeque<OsString> = names(path).collect();
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                walk.ascend();
                continue;
            }
            walk.is_fixed &= walk.here.is_roots();
            let next = walk.here.open(&name).map_err(unopened)?;
            if format(&next.stat) != SFlag::S_IFLNK {
                walk.above.push(std::mem::replace(&mut walk.here, next));
                continue;
            }
            let target = walk.follow(&next, &name, path)?;
            if target.is_absolute() {
                (walk.here, walk.above) = (Node::root().map_err(unopened)?, Vec::new());
            }
            names(&target).rev().for_each(|name| ahead.push_front(name));
        }
        let (is_fixed, is_roots) = (walk.is_fixed && !geteuid().is_root(), walk.here.is_roots());
        let Node { path, handle, stat } = walk.here;
        let (kind, identity) = (PlaceKind::of(&stat), identity(&stat));
        let holds_fixed = is_fixed && is_roots;
        Ok(Self { path, kind, handle: Some(handle), identity, is_fixed, holds_fixed })
    }

    /// The open place (`O_PATH`), until it is closed.
    pub(super) fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.handle.as_ref().map(AsFd::as_fd)
    }

    /// Closes it.
    pub(super) fn close(&mut self) {
        self.handle = None;
    }

    /// Whether root alone can make a file of this name, of which there is none now; this process is not
    /// root's.
    pub(super) fn is_fixed_absent(path: &Path) -> bool {
        let above = path.ancestors().skip(1).find_map(|above| Self::open(above).ok());
        above.is_some_and(|above| above.holds_fixed)
    }

    /// Whether the same file is still at the path. Where root alone can change that, as for `/usr`, it counts
    /// as still there: rulesets are made anew from time to time.
    pub(super) fn is_there(&self) -> bool {
        self.is_fixed
            || fstatat(nix::fcntl::AT_FDCWD, &self.path, AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| identity(&stat) == self.identity)
    }
}

fn format(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// The names of a path, and `..`, in order.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// A file on the way to a place.
struct Node {
    path: PathBuf,
    handle: OwnedFd,
    stat: FileStat,
}

impl Node {
    fn root() -> nix::Result<Self> {
        let handle = openat(nix::fcntl::AT_FDCWD, "/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let stat = fstat(&handle)?;
        Ok(Self { path: "/".into(), handle, stat })
    }

    fn open(&self, name: &OsStr) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = openat(&self.handle, name, flags, Mode::empty())?;
        let stat = fstat(&handle)?;
        Ok(Self { path: self.path.join(name), handle, stat })
    }

    /// Whether root alone can change it.
    fn is_roots(&self) -> bool {
        let others = (Mode::S_IWGRP | Mode::S_IWOTH).bits();
        self.stat.st_uid == 0 && self.stat.st_mode & others == 0
    }
}

struct PlaceWalk {
    above: Vec<Node>,
    here: Node,
    links: usize,
    /// Whether root alone can change each directory of the walk.
    is_fixed: bool,
}

impl PlaceWalk {
    fn ascend(&mut self) {
        if let Some(above) = self.above.pop() {
            self.here = above;
        }
    }

    /// The target of a link in the directory that the walk has come to.
    fn follow(&mut self, link: &Node, name: &OsStr, path: &Path) -> Result<PathBuf, PlaceError> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(PlaceError::Unopened(path.to_owned(), Errno::ELOOP));
        }
        if link.stat.st_uid != 0 || !self.here.is_roots() {
            return Err(PlaceError::Link(link.path.clone()));
        }
        let target = readlinkat(&self.here.handle, name);
        let target = target.map_err(|errno| PlaceError::Unopened(path.to_owned(), errno))?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_that_another_than_root_can_turn_is_no_place() {
        let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
        let top = dir.path();
        std::fs::create_dir_all(top.join("real/sub")).expect("directories");
        symlink("real", top.join("link")).expect("a link");
        let place = OpenedPlace::open(&top.join("real/sub")).expect("a place");
        assert_eq!(
            (place.path.as_path(), place.kind),
            (top.join("real/sub").as_path(), PlaceKind::Directory)
        );
        assert!(place.is_there());
        std::fs::rename(top.join("real/sub"), top.join("real/other")).expect("moved");
        std::fs::create_dir(top.join("real/sub")).expect("another");
        assert!(!place.is_there());
        // A directory of another user than root: there root's own links count no more either.
        nix::unistd::chown(top, Some(1000.into()), None).ok();
        std::fs::set_permissions(top, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("mode");
        for end in ["link", "link/sub"] {
            let fault = OpenedPlace::open(&top.join(end)).expect_err("a link");
            assert_eq!(fault, PlaceError::Link(top.join("link")));
        }
        let absent = OpenedPlace::open(&top.join("absent")).expect_err("absent");
        assert_eq!(absent, PlaceError::Unopened(top.join("absent"), Errno::ENOENT));
    }

    #[test]
    fn the_systems_links_are_followed() {
        let place = OpenedPlace::open(Path::new("/bin/../bin")).expect("a place");
        assert!(place.path.is_absolute() && place.kind == PlaceKind::Directory);
        assert_eq!(place.path, std::fs::canonicalize("/bin").expect("there"));
        assert_eq!(OpenedPlace::open(Path::new("/dev/null")).expect("there").kind, PlaceKind::Device);
    }
}
