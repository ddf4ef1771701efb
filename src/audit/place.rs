//! Where a manifest is, and that this broker alone writes there.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{fstat, lstat};

use super::trust::{Distrust, Trusted};

/// Why a manifest cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Somebody else could replace it.
    Distrust(Distrust),
    /// Another broker writes it.
    Locked(PathBuf),
    /// A system call failed.
    Io {
        /// The manifest, or its mark.
        path: PathBuf,
        /// What the call gave.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distrust(distrust) => write!(f, "cannot keep the manifest: {distrust}"),
            Self::Locked(path) => write!(
                f,
                "another broker writes {}; give this one another `logfile`, or stop that one",
                path.display()
            ),
            Self::Io { path, source } => write!(f, "cannot open the manifest {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

/// Opens the manifest at `path` to append, for this broker alone.
pub(super) fn open(path: &Path) -> Result<Flock<File>, OpenError> {
    let place = Trusted::parent_of(path, true).map_err(OpenError::Distrust)?;
    lock(place.append().map_err(OpenError::Distrust)?, path)
}

/// The file for this broker alone. `manifest` is what another broker would be writing.
pub(super) fn lock(file: File, manifest: &Path) -> Result<Flock<File>, OpenError> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(file),
        Err((_, Errno::EWOULDBLOCK)) => Err(OpenError::Locked(manifest.to_owned())),
        Err((_, errno)) => Err(OpenError::Io { path: manifest.to_owned(), source: errno.into() }),
    }
}

/// Whether the file that is open is the one at `path`.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (fstat(file), lstat(path)) else { return false };
    (open.st_dev, open.st_ino) == (there.st_dev, there.st_ino)
}

/// Has the directory's own entry for a new file on disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}
