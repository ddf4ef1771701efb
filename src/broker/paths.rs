//! The place that a caller's path leads to, for `in DIR`. The path is walked name by name: each name is
//! opened as a handle below the one before, and links are read, never followed by the kernel. So the file
//! that is judged is one of the broker's own mount namespace, and its path has no links in it. Outside of
//! DIR, only names that may be links into DIR are opened for a caller, and on local file systems alone: no
//! mount is made, no server asked and no process looked at.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::limits::{LINKS_MAX, PATH_BYTES_MAX, PATH_NAMES_MAX};
use crate::rules::LocatedPath;

use super::mounts::is_local;

/// The place that `value` leads to from `cwd`, if it is at or under `dir`. Its last name may be missing on
/// disk, unless a link leads there. `None` also when the disk gives an error.
pub(super) fn locate(cwd: &Path, value: &str, dir: &Path) -> Option<LocatedPath> {
    if value.is_empty() {
        return None;
    }
    let base = BaseDirectory::open(dir)?;
    let mut ahead = VecDeque::new();
    if !value.starts_with('/') {
        ahead.extend(names(fs::canonicalize(cwd).ok()?.as_os_str()));
    }
    ahead.extend(names(OsStr::new(value)));
    let walk = PathWalk { base: &base, ahead, links: 0, names_left: PATH_NAMES_MAX, is_named_by_link: false };
    let inside = walk.outside(Vec::new())?;
    let is_directory = value.ends_with('/') || value.ends_with("/.");
    base.located(inside, is_directory)
}

/// The names of a path in order. An empty name becomes `.`, because a slash or a dot wants a directory before
/// it.
fn names(path: &OsStr) -> impl DoubleEndedIterator<Item = OsString> {
    let text = path.as_bytes();
    let text = text.strip_prefix(b"/").unwrap_or(text);
    text.split(|&byte| byte == b'/').map(|name| match name {
        b"" => ".".into(),
        name => OsStr::from_bytes(name).to_owned(),
    })
}

/// A slot's directory.
struct BaseDirectory {
    /// The names of its path without links.
    names: Vec<OsString>,
    /// The names of its path as its rule has it, where they differ and have no `..`.
    written: Option<Vec<OsString>>,
    file: OpenedFile,
}

/// An opened file, of any kind.
#[derive(Debug)]
struct OpenedFile {
    handle: OwnedFd,
    identity: FileIdentity,
    format: SFlag,
}

/// The identity of a file: its file system, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl OpenedFile {
    /// Opens the file of this name in a directory; of a link, the link. Errors: those of `openat2(2)`, and
    /// `EACCES` for everything that `proc(5)` shows.
    fn open(directory: &OwnedFd, device: u64, name: &OsStr, stays: ResolveFlag) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | stays);
        Self::of(openat2(directory, name, how)?, Some(device))
    }

    /// The file of a handle. `known` is the device of a file system that is not proc's.
    fn of(handle: OwnedFd, known: Option<u64>) -> nix::Result<Self> {
        let stat = fstat(&handle)?;
        if known != Some(stat.st_dev) && fstatfs(&handle)?.filesystem_type() == PROC_SUPER_MAGIC {
            return Err(Errno::EACCES);
        }
        let identity = FileIdentity { device: stat.st_dev, inode: stat.st_ino };
        let format = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        Ok(Self { handle, identity, format })
    }

    fn directory(path: &Path) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        Self::of(openat2(AT_FDCWD, path, how)?, None)
    }

    fn is_directory(&self) -> bool {
        self.format == SFlag::S_IFDIR
    }

    /// The target of a link; `None` for a file that is no link.
    fn link(&self) -> nix::Result<Option<OsString>> {
        let is_link = self.format == SFlag::S_IFLNK;
        is_link.then(|| readlinkat(&self.handle, "")).transpose()
    }
}

impl BaseDirectory {
    /// Opens the directory as it is now: the author of its rule may have named a link, and may change its
    /// target.
    fn open(dir: &Path) -> Option<Self> {
        let path = fs::canonicalize(dir).ok()?;
        let file = OpenedFile::directory(&path).ok()?;
        let listed = |path: &Path| path.iter().skip(1).map(OsStr::to_owned).collect::<Vec<_>>();
        let written = (path != dir && dir.iter().all(|name| name != "..")).then(|| listed(dir));
        Some(Self { names: listed(&path), written, file })
    }

    fn is(&self, names: &[OsString]) -> bool {
        self.names == names || self.written.as_deref() == Some(names)
    }

    /// The path of a file below the directory. A slash at the end keeps its meaning for programs such as
    /// rsync(1).
    fn located(self, inside: InsidePath, is_directory: bool) -> Option<LocatedPath> {
        let mut path = Vec::new();
        let below = inside.steps.iter().map(|(name, _)| name).chain(&inside.missing);
        for name in self.names.iter().chain(below) {
            path.push(b'/');
            path.extend(name.as_bytes());
        }
        if path.is_empty() || is_directory {
            path.push(b'/');
        }
        let path = String::from_utf8(path).ok().filter(|path| path.len() <= PATH_BYTES_MAX)?;
        Some(LocatedPath { path: path.into() })
    }
}

/// A walk through the names of a path.
struct PathWalk<'b> {
    base: &'b BaseDirectory,
    ahead: VecDeque<OsString>,
    links: usize,
    names_left: usize,
    /// Whether the last name is that of a link's target, and so has to exist.
    is_named_by_link: bool,
}

/// A place at or under the base.
#[derive(Debug, Default)]
struct InsidePath {
    /// The names below the base, each with the directory or file that it is.
    steps: Vec<(OsString, FileIdentity)>,
    /// The last of these, opened.
    here: Option<OpenedFile>,
    /// A name below it that does not exist.
    missing: Option<OsString>,
}

impl PathWalk<'_> {
    /// Goes on from the path `at`, outside of the base. Nothing is opened as long as the names ahead lead
    /// back in: `..` takes a name away.
    fn outside(mut self, mut at: Vec<OsString>) -> Option<InsidePath> {
        loop {
            if self.base.is(&at) {
                match self.inside()? {
                    Ok(inside) => return Some(inside),
                    Err(names) => at = names,
                }
                continue;
            }
            match self.next_name()? {
                Some(name) if name == "." => {}
                Some(name) if name == ".." => drop(at.pop()),
                Some(name) => at.push(name),
                None => at = self.follow_outside(at)?,
            }
        }
    }

    /// Goes on from the base. Returns the place that the names lead to, or the path outside of the base.
    fn inside(&mut self) -> Option<Result<InsidePath, Vec<OsString>>> {
        let mut inside = InsidePath::default();
        while let Some(name) = self.next_name()? {
            let here = inside.here.as_ref().unwrap_or(&self.base.file);
            if !here.is_directory() {
                return None;
            }
            if name == "." {
                continue;
            }
            if name == ".." {
                if inside.steps.pop().is_none() {
                    let above = self.base.names.len().saturating_sub(1);
                    return Some(Err(self.base.names[..above].to_vec()));
                }
                inside.here = self.step_up(here, inside.steps.last())?;
                continue;
            }
            let found =
                match OpenedFile::open(&here.handle, here.identity.device, &name, ResolveFlag::empty()) {
                    Err(Errno::ENOENT) if self.ahead.is_empty() && !self.is_named_by_link => {
                        inside.missing = Some(name);
                        break;
                    }
                    found => found.ok()?,
                };
            let Some(target) = found.link().ok()? else {
                inside.steps.push((name, found.identity));
                inside.here = Some(found);
                continue;
            };
            if !self.turn_to(&target)? {
                continue;
            }
            return Some(Err(Vec::new()));
        }
        Some(Ok(inside))
    }

    /// The directory above `here`, which has to be the one that the walk came through.
    fn step_up(
        &self,
        here: &OpenedFile,
        above: Option<&(OsString, FileIdentity)>,
    ) -> Option<Option<OpenedFile>> {
        let Some((_, identity)) = above else { return Some(None) };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let found = OpenedFile::of(openat2(&here.handle, "..", how).ok()?, Some(identity.device)).ok()?;
        (found.identity == *identity).then_some(Some(found))
    }

    /// Follows the first link in a path that does not lead to the base by its names: the link may lead there.
    /// Returns the names of the directory that the names ahead start from.
    fn follow_outside(&mut self, at: Vec<OsString>) -> Option<Vec<OsString>> {
        let mut here = OpenedFile::directory(Path::new("/")).ok()?;
        for (depth, name) in at.iter().enumerate() {
            self.names_left = self.names_left.checked_sub(1)?;
            let device = here.identity.device;
            let found = match OpenedFile::open(&here.handle, device, name, ResolveFlag::RESOLVE_NO_XDEV) {
                Err(Errno::EXDEV) if is_local(&path_of(&at[..=depth])) => {
                    OpenedFile::open(&here.handle, device, name, ResolveFlag::empty())
                }
                found => found,
            };
            here = found.ok()?;
            if let Some(target) = here.link().ok()? {
                self.ahead.extend(at[depth + 1..].iter().cloned());
                let is_absolute = self.turn_to(&target)?;
                return Some(if is_absolute { Vec::new() } else { at[..depth].to_vec() });
            }
        }
        None
    }

    /// Puts the names of a link's target ahead. Returns whether the target begins at the root.
    fn turn_to(&mut self, target: &OsStr) -> Option<bool> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return None;
        }
        self.is_named_by_link |= self.ahead.is_empty();
        names(target).rev().for_each(|name| self.ahead.push_front(name));
        Some(target.as_bytes().starts_with(b"/"))
    }

    /// The next name, `Some(None)` at the end; `None` when there are too many.
    fn next_name(&mut self) -> Option<Option<OsString>> {
        let name = self.ahead.pop_front();
        if name.is_some() {
            self.names_left = self.names_left.checked_sub(1)?;
        }
        Some(name)
    }
}

fn path_of(names: &[OsString]) -> PathBuf {
    let path: Vec<_> = names.iter().flat_map(|name| [OsStr::new("/"), name]).map(OsStr::as_bytes).collect();
    OsString::from_vec(path.concat()).into()
}

#[cfg(test)]
mod tests;
