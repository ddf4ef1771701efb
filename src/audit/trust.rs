//! Which files and directories may be trusted: those that only root or this user can change, all the way down from
//! the root directory. Walks by handle, one component at a time, so that what was checked is what is opened.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::limits::LINKS_MAX;

/// Why a path is not trusted. `Display` says what to do about it.
#[derive(Debug)]
pub struct Distrust {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    NotAbsolute,
    Owner(u32),
    Writable(u32),
    Link,
    NotRegular,
    Io(io::Error),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::NotAbsolute => write!(f, "{path} is not an absolute path"),
            Why::Owner(uid) => write!(f, "{path} belongs to user {uid}, not to root or to this one"),
            Why::Writable(mode) => {
                write!(f, "{path} can be written by others (mode {mode:04o}); do: chmod go-w {path}")
            }
            Why::Link => write!(f, "{path} is a symbolic link; name the file it leads to (realpath {path})"),
            Why::NotRegular => write!(f, "{path} is not a regular file"),
            Why::Io(source) => write!(f, "{path}: {source}"),
        }
    }
}

impl std::error::Error for Distrust {}

impl Distrust {
    /// Whether something has the name that was to be new.
    pub(super) fn is_taken(&self) -> bool {
        match &self.why {
            Why::Io(source) => source.kind() == io::ErrorKind::AlreadyExists,
            Why::NotAbsolute | Why::Owner(_) | Why::Writable(_) | Why::Link | Why::NotRegular => false,
        }
    }
}

/// For callers that know the path already: what a system call gave, or else why the path is not trusted.
impl From<Distrust> for io::Error {
    fn from(distrust: Distrust) -> Self {
        if let Why::Io(source) = distrust.why {
            return source;
        }
        Self::new(io::ErrorKind::PermissionDenied, distrust)
    }
}

/// A name in a directory that only root or this user can write, as is every directory above it.
#[derive(Debug)]
pub struct Trusted {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl Trusted {
    /// The place of `path`, absolute. With `create`, missing directories are made, mode 0700.
    pub fn parent_of(path: &Path, create: bool) -> Result<Self, Distrust> {
        let distrust = |why| Distrust { path: path.to_owned(), why };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(distrust(Why::NotRegular));
        };
        let walk = Walk::new(parent, create)?.finish()?;
        Ok(Self { directory: walk, name: name.to_owned(), path: path.to_owned() })
    }

    /// Opens the file to read it. It must be regular, and nobody else's to write.
    pub fn read(&self) -> Result<File, Distrust> {
        self.checked(OFlag::O_RDONLY)
    }

    /// Opens the file to append to it, and makes it with mode 0600 where it is missing.
    pub fn append(&self) -> Result<File, Distrust> {
        self.checked(OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT)
    }

    /// The same to change it in place.
    pub fn update(&self) -> Result<File, Distrust> {
        self.checked(OFlag::O_RDWR | OFlag::O_CREAT)
    }

    fn checked(&self, flags: OFlag) -> Result<File, Distrust> {
        let file = self.open(flags)?;
        let stat = self.regular(&file)?;
        judge(&stat, false).map_err(|why| self.distrust(why))?;
        Ok(file)
    }

    /// Makes the file, mode 0600, to write it and read it back. The name must be free.
    pub fn create(&self) -> Result<File, Distrust> {
        let file = self.open(OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)?;
        self.regular(&file)?;
        Ok(file)
    }

    /// Takes the name away.
    pub fn remove(&self) -> nix::Result<()> {
        unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
    }

    fn open(&self, flags: OFlag) -> Result<File, Distrust> {
        // O_NONBLOCK: a FIFO in the file's place must not hold the broker up.
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mode = if flags.contains(OFlag::O_CREAT) { Mode::S_IRUSR | Mode::S_IWUSR } else { Mode::empty() };
        let how = OpenHow::new().flags(flags).mode(mode).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        match openat2(self.directory.as_fd(), self.name.as_os_str(), how) {
            Ok(file) => Ok(file.into()),
            Err(Errno::ELOOP) => Err(self.distrust(Why::Link)),
            Err(errno) => Err(self.distrust(Why::Io(errno.into()))),
        }
    }

    fn regular(&self, file: &File) -> Result<FileStat, Distrust> {
        let stat = fstat(file).map_err(|errno| self.distrust(Why::Io(errno.into())))?;
        if format(&stat) == SFlag::S_IFREG { Ok(stat) } else { Err(self.distrust(Why::NotRegular)) }
    }

    fn distrust(&self, why: Why) -> Distrust {
        Distrust { path: self.path.clone(), why }
    }
}

/// Opens a file to read that only root or this user can write or replace.
pub fn trusted_file(path: &Path) -> Result<File, Distrust> {
    Trusted::parent_of(path, false)?.read()
}

/// That only root or this user can change what stands in a directory. `Ok(false)` when there is none.
pub fn trusted_directory(path: &Path) -> Result<bool, Distrust> {
    match Walk::new(path, false)?.finish() {
        Ok(_) => Ok(true),
        Err(Distrust { why: Why::Io(source), .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(distrust) => Err(distrust),
    }
}

/// A way down from the root directory, component by component.
struct Walk {
    here: OwnedFd,
    stat: FileStat,
    path: PathBuf,
    ahead: VecDeque<OsString>,
    links: usize,
    create: bool,
}

impl Walk {
    fn new(path: &Path, create: bool) -> Result<Self, Distrust> {
        let distrust = |why| Distrust { path: path.to_owned(), why };
        if !path.is_absolute() {
            return Err(distrust(Why::NotAbsolute));
        }
        let (here, stat) = root().map_err(|errno| distrust(Why::Io(errno.into())))?;
        Ok(Self { here, stat, path: "/".into(), ahead: names(path).collect(), links: 0, create })
    }

    fn finish(mut self) -> Result<OwnedFd, Distrust> {
        while let Some(name) = self.ahead.pop_front() {
            judge(&self.stat, true).map_err(|why| Distrust { path: self.path.clone(), why })?;
            self.step(&name)?;
        }
        judge(&self.stat, false).map_err(|why| Distrust { path: self.path.clone(), why })?;
        Ok(self.here)
    }

    fn step(&mut self, name: &OsStr) -> Result<(), Distrust> {
        let below = self.path.join(name);
        let distrust = |why| Distrust { path: below.clone(), why };
        let opened = match self.open(name) {
            Err(Errno::ENOENT) if self.create => self.make(name).and_then(|()| self.open(name)),
            Err(Errno::ELOOP) => return self.follow(name, &below),
            opened => opened,
        };
        self.here = opened.map_err(|errno| distrust(Why::Io(errno.into())))?;
        self.stat = fstat(&self.here).map_err(|errno| distrust(Why::Io(errno.into())))?;
        self.path = below;
        Ok(())
    }

    fn open(&self, name: &OsStr) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&self.here, name, how)
    }

    fn make(&self, name: &OsStr) -> nix::Result<()> {
        match mkdirat(&self.here, name, Mode::S_IRWXU) {
            Err(Errno::EEXIST) | Ok(()) => Ok(()),
            failed => failed,
        }
    }

    /// A link is followed only where root alone can have made it (`/bin` on a merged `/usr`).
    fn follow(&mut self, name: &OsStr, below: &Path) -> Result<(), Distrust> {
        let distrust = |why| Distrust { path: below.to_owned(), why };
        let io = |errno: Errno| distrust(Why::Io(errno.into()));
        let link = fstatat(&self.here, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io)?;
        let by_root = self.stat.st_uid == 0 && self.stat.st_mode & 0o022 == 0 && link.st_uid == 0;
        self.links += 1;
        if !by_root || self.links > LINKS_MAX {
            return Err(distrust(Why::Link));
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

/// Whether only root or this user can change a file or directory. In a sticky directory others can add names, but
/// neither take away nor replace those of others: one may stand above.
fn judge(stat: &FileStat, above: bool) -> Result<(), Why> {
    if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
        return Err(Why::Owner(stat.st_uid));
    }
    let sticky = above && stat.st_mode & 0o1000 != 0;
    if stat.st_mode & 0o022 != 0 && !sticky {
        return Err(Why::Writable(stat.st_mode & 0o7777));
    }
    Ok(())
}

fn format(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn check(make: impl FnOnce(&Path), want: &str) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        fs::create_dir_all(path.join("a/b")).expect("directories");
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("a mode");
        fs::write(path.join("a/b/file"), "x").expect("a file");
        make(path);
        let said = match trusted_file(&path.join("a/b/file")) {
            Ok(_) => "trusted".to_owned(),
            Err(distrust) => distrust.to_string().replace(path.to_str().expect("plain"), ""),
        };
        assert_eq!(said, want);
    }

    fn mode(path: &Path, bits: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(bits)).expect("a mode");
    }

    #[test]
    fn a_file_that_others_cannot_write_is_trusted() {
        check(|_| {}, "trusted");
        check(|path| mode(&path.join("a"), 0o1777), "trusted");
    }

    #[test]
    fn what_others_can_write_is_not_trusted_at_any_level() {
        check(
            |path| mode(&path.join("a"), 0o777),
            "/a can be written by others (mode 0777); do: chmod go-w /a",
        );
        check(
            |path| mode(&path.join("a/b"), 0o1777),
            "/a/b can be written by others (mode 1777); do: chmod go-w /a/b",
        );
        check(
            |path| mode(&path.join("a/b/file"), 0o620),
            "/a/b/file can be written by others (mode 0620); do: chmod go-w /a/b/file",
        );
    }

    #[test]
    fn a_link_is_not_followed_at_any_level() {
        check(
            |path| {
                fs::rename(path.join("a/b/file"), path.join("real")).expect("renamed");
                symlink(path.join("real"), path.join("a/b/file")).expect("linked");
            },
            "/a/b/file is a symbolic link; name the file it leads to (realpath /a/b/file)",
        );
        assert!(trusted_directory(Path::new("/bin")).expect("root's own link is followed"));
    }
}
