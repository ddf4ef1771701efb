//! Checks that only root or this user can change a file or directory, or any directory above it up to the
//! root directory. Walks by handle, one component at a time, so that the file that was checked is the file
//! that is opened.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::limits::LINKS_MAX;
use crate::text::quoted;

/// Why a path is not trusted. `Display` says what to do about it.
#[derive(Debug)]
pub struct TrustError {
    path: PathBuf,
    why: TrustErrorKind,
}

#[derive(Debug)]
enum TrustErrorKind {
    NotAbsolute,
    Owner(u32),
    Writable(u32),
    Readable(u32),
    Link,
    NotRegular,
    Io(io::Error),
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            TrustErrorKind::NotAbsolute => write!(f, "{path} is not an absolute path"),
            TrustErrorKind::Owner(uid) if is_unmapped(*uid) => write!(
                f,
                "{path} belongs to a user who has no number in this user namespace, so nobody here can tell who may \
                 change it; run the broker outside of the namespace, or in one that maps root as well"
            ),
            TrustErrorKind::Owner(uid) => {
                write!(f, "{path} belongs to user {uid}, not to root or to this one")
            }
            TrustErrorKind::Writable(mode) => {
                write!(f, "{path} can be written by others (mode {mode:04o}); {}", remedy(&self.path, *mode))
            }
            TrustErrorKind::Readable(mode) => {
                let word = shell_word(&self.path);
                write!(f, "{path} can be read by others (mode {mode:04o}); do: chmod 700 {word}")
            }
            TrustErrorKind::Link => {
                let word = shell_word(&self.path);
                write!(f, "{path} is a symbolic link; name the file it leads to (realpath {word})")
            }
            TrustErrorKind::NotRegular => write!(f, "{path} is not a regular file"),
            TrustErrorKind::Io(source) => write!(f, "{path}: {source}"),
        }
    }
}

/// The advice on a file or directory that other users can write. A sticky directory such as `/tmp` must stay
/// writable for everybody, and what to do about a file of root's is for root to decide.
fn remedy(path: &Path, mode: u32) -> String {
    let is_ours = fs::metadata(path).is_ok_and(|found| found.uid() == geteuid().as_raw());
    if mode & 0o1000 != 0 {
        return "it is everybody's: use a directory of your own (mkdir -m 700)".into();
    }
    if is_ours {
        format!("do: chmod go-w {}", shell_word(path))
    } else {
        "use a directory of your own".into()
    }
}

fn shell_word(path: &Path) -> String {
    quoted(&path.to_string_lossy()).into_owned()
}

/// Whether a user id is the overflow id, which stands for all users that a user namespace does not map.
fn is_unmapped(uid: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let is_overflow = read("/proc/sys/kernel/overflowuid").trim().parse() == Ok(uid);
    let maps_all = read("/proc/self/uid_map").split_whitespace().eq(["0", "0", "4294967295"]);
    is_overflow && !maps_all
}

impl std::error::Error for TrustError {}

impl TrustError {
    /// Whether a system call failed, so that the trust in the path is unknown.
    pub fn is_failure(&self) -> bool {
        matches!(self.why, TrustErrorKind::Io(_))
    }

    /// Whether the name of a file that was to be made is taken.
    pub(crate) fn is_taken(&self) -> bool {
        match &self.why {
            TrustErrorKind::Io(source) => source.kind() == io::ErrorKind::AlreadyExists,
            TrustErrorKind::NotAbsolute
            | TrustErrorKind::Owner(_)
            | TrustErrorKind::Writable(_)
            | TrustErrorKind::Readable(_)
            | TrustErrorKind::Link
            | TrustErrorKind::NotRegular => false,
        }
    }
}

/// For callers that know the path already: the error of the system call, or else the reason why the path is
/// not trusted.
impl From<TrustError> for io::Error {
    fn from(distrust: TrustError) -> Self {
        if let TrustErrorKind::Io(source) = distrust.why {
            return source;
        }
        Self::new(io::ErrorKind::PermissionDenied, distrust)
    }
}

/// A name in a directory that only root or this user can write, as is every directory above it.
#[derive(Debug)]
pub struct TrustedName {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl TrustedName {
    /// Opens the directory of `path`, which must be absolute. With `create`, missing directories are made,
    /// mode 0700.
    pub fn parent_of(path: &Path, create: bool) -> Result<Self, TrustError> {
        let distrust = |why| TrustError { path: path.to_owned(), why };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(distrust(TrustErrorKind::NotRegular));
        };
        let walk = TrustWalk::new(parent, create)?.finish()?;
        Ok(Self { directory: walk, name: name.to_owned(), path: path.to_owned() })
    }

    /// Opens the file to read it. It must be a regular file that only root or this user can write.
    pub fn read(&self) -> Result<File, TrustError> {
        self.checked(OFlag::O_RDONLY)
    }

    /// Opens the file to append to it, and makes it with mode 0600 where it is missing.
    pub fn append(&self) -> Result<File, TrustError> {
        self.checked(OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT)
    }

    /// Opens the file to change it in place, and makes it with mode 0600 where it is missing.
    pub fn update(&self) -> Result<File, TrustError> {
        self.checked(OFlag::O_RDWR | OFlag::O_CREAT)
    }

    fn checked(&self, flags: OFlag) -> Result<File, TrustError> {
        let file = self.open(flags)?;
        let stat = self.regular(&file)?;
        judge(&stat, false).map_err(|why| self.distrust(why))?;
        Ok(file)
    }

    /// Makes the file, mode 0600, to write it and read it back. The name must be free.
    pub fn create(&self) -> Result<File, TrustError> {
        let file = self.open(OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)?;
        self.regular(&file)?;
        Ok(file)
    }

    /// Removes the name from its directory.
    pub fn remove(&self) -> nix::Result<()> {
        unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
    }

    fn open(&self, flags: OFlag) -> Result<File, TrustError> {
        // O_NONBLOCK: a FIFO in the file's place must not hold the broker up.
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mode = if flags.contains(OFlag::O_CREAT) { Mode::S_IRUSR | Mode::S_IWUSR } else { Mode::empty() };
        let how = OpenHow::new().flags(flags).mode(mode).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        match openat2(self.directory.as_fd(), self.name.as_os_str(), how) {
            Ok(file) => Ok(file.into()),
            Err(Errno::ELOOP) => Err(self.distrust(TrustErrorKind::Link)),
            Err(errno) => Err(self.distrust(TrustErrorKind::Io(errno.into()))),
        }
    }

    fn regular(&self, file: &File) -> Result<FileStat, TrustError> {
        let stat = fstat(file).map_err(|errno| self.distrust(TrustErrorKind::Io(errno.into())))?;
        if format(&stat) == SFlag::S_IFREG {
            Ok(stat)
        } else {
            Err(self.distrust(TrustErrorKind::NotRegular))
        }
    }

    fn distrust(&self, why: TrustErrorKind) -> TrustError {
        TrustError { path: self.path.clone(), why }
    }
}

/// Opens a file to read it; only root or this user may be able to write or replace it.
pub fn trusted_file(path: &Path) -> Result<File, TrustError> {
    TrustedName::parent_of(path, false)?.read()
}

/// Opens a file that holds a secret, to read it: besides what [`trusted_file`] asks for, its directory has
/// none of the permissions of `closed`.
pub fn secret_file(path: &Path, closed: Mode) -> Result<File, TrustError> {
    let place = TrustedName::parent_of(path, false)?;
    let directory = path.parent().unwrap_or(path);
    let distrust = |why| TrustError { path: directory.to_owned(), why };
    let stat = fstat(&place.directory).map_err(|errno| distrust(TrustErrorKind::Io(errno.into())))?;
    if Mode::from_bits_truncate(stat.st_mode).intersects(closed) {
        return Err(distrust(TrustErrorKind::Readable(stat.st_mode & 0o7777)));
    }
    place.read()
}

/// Opens a rules file to read it. It may be reached by symbolic links that belong to root or this user, in
/// directories that nobody else can write: dotfile managers and `ConfigMap`s of Kubernetes place their files
/// in this way. Each step of the path is checked.
pub fn trusted_rules(path: &Path) -> Result<File, TrustError> {
    let mut path = path.to_owned();
    for _ in 0..=LINKS_MAX {
        let distrust = |why| TrustError { path: path.clone(), why };
        let io = |errno: Errno| distrust(TrustErrorKind::Io(errno.into()));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(distrust(TrustErrorKind::NotRegular));
        };
        let mut walk = TrustWalk::new(parent, false)?;
        walk.links_of = LinkPolicy::Own;
        let place = TrustedName { directory: walk.finish()?, name: name.to_owned(), path: path.clone() };
        match place.read() {
            Err(TrustError { why: TrustErrorKind::Link, .. }) => {}
            read => return read,
        }
        let link = fstatat(&place.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io)?;
        if link.st_uid != 0 && link.st_uid != geteuid().as_raw() {
            return Err(distrust(TrustErrorKind::Owner(link.st_uid)));
        }
        let target = readlinkat(&place.directory, name).map_err(io)?;
        path = parent.join(target);
    }
    Err(TrustError { path, why: TrustErrorKind::Link })
}

/// Checks that only root or this user can change the entries of a directory. `Ok(false)` when there is no
/// such directory.
pub fn trusted_directory(path: &Path) -> Result<bool, TrustError> {
    match TrustWalk::new(path, false)?.finish() {
        Ok(_) => Ok(true),
        Err(TrustError { why: TrustErrorKind::Io(source), .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Ok(false)
        }
        Err(distrust) => Err(distrust),
    }
}

/// Checks that only root or this user can change a program, or put another file in its place. Symbolic links
/// on the way may belong to this user too: the user who may make a link may also name the file it leads to.
/// Errors: a system call's own error (`From<TrustError>` gives it) where there is no such program.
pub fn trusted_program(path: &Path) -> Result<(), TrustError> {
    let mut walk = TrustWalk::new(path, false)?;
    walk.links_of = LinkPolicy::Own;
    while let Some(name) = walk.ahead.pop_front() {
        let is_last = walk.ahead.is_empty();
        judge(&walk.stat, !is_last).map_err(|why| TrustError { path: walk.path.clone(), why })?;
        if is_last && !walk.end_at(&name)? {
            return Ok(());
        }
        if !is_last {
            walk.step(&name)?;
        }
    }
    Err(TrustError { path: path.to_owned(), why: TrustErrorKind::NotRegular })
}

/// The owners of the symbolic links that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkPolicy {
    /// Links that root alone can have made.
    Root,
    /// Links of root or of this user.
    Own,
}

/// A walk down from the root directory, component by component.
struct TrustWalk {
    here: OwnedFd,
    stat: FileStat,
    path: PathBuf,
    ahead: VecDeque<OsString>,
    links: usize,
    links_of: LinkPolicy,
    create: bool,
}

impl TrustWalk {
    fn new(path: &Path, create: bool) -> Result<Self, TrustError> {
        let distrust = |why| TrustError { path: path.to_owned(), why };
        if !path.is_absolute() {
            return Err(distrust(TrustErrorKind::NotAbsolute));
        }
        let (here, stat) = root().map_err(|errno| distrust(TrustErrorKind::Io(errno.into())))?;
        let (ahead, links_of) = (names(path).collect(), LinkPolicy::Root);
        Ok(Self { here, stat, path: "/".into(), ahead, links: 0, links_of, create })
    }

    fn finish(mut self) -> Result<OwnedFd, TrustError> {
        while let Some(name) = self.ahead.pop_front() {
            judge(&self.stat, true).map_err(|why| TrustError { path: self.path.clone(), why })?;
            self.step(&name)?;
        }
        judge(&self.stat, false).map_err(|why| TrustError { path: self.path.clone(), why })?;
        Ok(self.here)
    }

    fn step(&mut self, name: &OsStr) -> Result<(), TrustError> {
        let below = self.path.join(name);
        let distrust = |why| TrustError { path: below.clone(), why };
        let opened = match self.open(name) {
            Err(Errno::ENOENT) if self.create => self.make(name).and_then(|()| self.open(name)),
            Err(Errno::ELOOP) => return self.follow(name, &below),
            opened => opened,
        };
        self.here = opened.map_err(|errno| distrust(TrustErrorKind::Io(errno.into())))?;
        self.stat = fstat(&self.here).map_err(|errno| distrust(TrustErrorKind::Io(errno.into())))?;
        self.path = below;
        Ok(())
    }

    fn open(&self, name: &OsStr) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&self.here, name, how)
    }

    /// Judges the file of this name, the last one of the path. Gives whether it is a symbolic link: then
    /// nothing is judged yet, and the walk goes on along the link.
    fn end_at(&mut self, name: &OsStr) -> Result<bool, TrustError> {
        let below = self.path.join(name);
        let distrust = |why| TrustError { path: below.clone(), why };
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file =
            openat2(&self.here, name, how).map_err(|errno| distrust(TrustErrorKind::Io(errno.into())))?;
        let stat = fstat(&file).map_err(|errno| distrust(TrustErrorKind::Io(errno.into())))?;
        match format(&stat) {
            SFlag::S_IFLNK => self.follow(name, &below).map(|()| true),
            SFlag::S_IFREG => judge(&stat, false).map(|()| false).map_err(distrust),
            SFlag::S_IFDIR => Err(distrust(TrustErrorKind::Io(Errno::EISDIR.into()))),
            _ => Err(distrust(TrustErrorKind::NotRegular)),
        }
    }

    fn make(&self, name: &OsStr) -> nix::Result<()> {
        match mkdirat(&self.here, name, Mode::S_IRWXU) {
            Err(Errno::EEXIST) | Ok(()) => Ok(()),
            failed => failed,
        }
    }

    /// Follows a symbolic link: with [`LinkPolicy::Root`] only one that root alone can have made (`/bin` on
    /// a merged `/usr`), with [`LinkPolicy::Own`] also one of this user.
    fn follow(&mut self, name: &OsStr, below: &Path) -> Result<(), TrustError> {
        let distrust = |why| TrustError { path: below.to_owned(), why };
        let io = |errno: Errno| distrust(TrustErrorKind::Io(errno.into()));
        let link = fstatat(&self.here, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io)?;
        let is_good = match self.links_of {
            LinkPolicy::Root => self.stat.st_uid == 0 && self.stat.st_mode & 0o022 == 0 && link.st_uid == 0,
            LinkPolicy::Own => link.st_uid == 0 || link.st_uid == geteuid().as_raw(),
        };
        self.links += 1;
        if !is_good || self.links > LINKS_MAX {
            return Err(distrust(TrustErrorKind::Link));
        }
        let target = PathBuf::from(readlinkat(&self.here, name).map_err(io)?);
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            self.ahead.push_front(name);
        }
        if target.is_absolute() {
            (self.here, self.stat) = root().map_err(io)?;
            self.path = "/".into();
        }
        Ok(())
    }
}

fn root() -> nix::Result<(OwnedFd, FileStat)> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let here = nix::fcntl::open("/", flags, Mode::empty())?;
    let stat = fstat(&here)?;
    Ok((here, stat))
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Checks that only root or this user can change a file or directory. `above` allows a sticky directory:
/// there other users can add names, but neither remove nor replace names that are not theirs.
fn judge(stat: &FileStat, above: bool) -> Result<(), TrustErrorKind> {
    if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
        return Err(TrustErrorKind::Owner(stat.st_uid));
    }
    let sticky = above && stat.st_mode & 0o1000 != 0;
    if stat.st_mode & 0o022 != 0 && !sticky {
        return Err(TrustErrorKind::Writable(stat.st_mode & 0o7777));
    }
    Ok(())
}

fn format(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

#[cfg(test)]
mod tests;
