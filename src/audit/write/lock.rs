//! Opens a manifest at its path, and sees to it that this broker alone writes there.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{SFlag, fstat, lstat};

use crate::ids::CallId;
use crate::limits::CALL_NUMBER_MAX;

use crate::trust::{TrustError, TrustedName};

/// Why a manifest cannot be opened.
#[derive(Debug)]
pub enum ManifestOpenError {
    /// Another user could replace it.
    Distrust(TrustError),
    /// Another broker writes it.
    Locked(PathBuf),
    /// Its numbers are used up.
    Exhausted {
        /// The manifest.
        path: PathBuf,
        /// The number of the next request.
        next: CallId,
    },
    /// The hidden file beside it, its mark, cannot be kept.
    Mark {
        /// The manifest.
        manifest: PathBuf,
        /// The path of the mark, and the fault.
        why: String,
    },
    /// A system call failed.
    Io {
        /// The manifest.
        path: PathBuf,
        /// The error of the call.
        source: io::Error,
    },
}

impl ManifestOpenError {
    /// The error of a failed system call on the manifest at `path`.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self + Copy + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

impl fmt::Display for ManifestOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distrust(distrust) => write!(f, "cannot keep the manifest: {distrust}"),
            Self::Locked(path) => write!(
                f,
                "another broker writes {}; give this one another `logfile` (`#$socket` in it is the socket's name) or \
                 another rules file (a link will do), or stop that one",
                path.display()
            ),
            Self::Exhausted { path, next } => write!(
                f,
                "the manifest {} is at call {next}, and numbers end at {CALL_NUMBER_MAX}: somebody wrote it there; \
                 move it and the mark beside it ({}) away, and a new one begins at 1",
                path.display(),
                mark_of(path).display()
            ),
            Self::Mark { manifest, why } => {
                write!(f, "cannot keep the manifest {}: {why}", manifest.display())
            }
            Self::Io { path, source } => write!(f, "cannot open the manifest {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for ManifestOpenError {}

/// The path of a manifest's mark. The name begins with a dot, so that a pattern for the manifest and its
/// rotated files does not match the mark.
pub(super) fn mark_of(manifest: &Path) -> PathBuf {
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    manifest.with_file_name(format!(".{name}.mark"))
}

/// Checks that the file at `path`, where there is one, is a plain file, before anything is made beside it.
pub(super) fn check_plain(path: &Path) -> Result<(), ManifestOpenError> {
    match lstat(path) {
        Ok(there) if SFlag::from_bits_truncate(there.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG => {
            // Opening it gives the error, which may be about a directory above it.
            TrustedName::parent_of(path, false)
                .and_then(|place| place.read())
                .map_err(ManifestOpenError::Distrust)?;
            Ok(())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Opens the manifest at `path` to append, for this broker alone.
pub(in crate::audit) fn open(path: &Path) -> Result<Flock<File>, ManifestOpenError> {
    let place = TrustedName::parent_of(path, true).map_err(ManifestOpenError::Distrust)?;
    lock(place.append().map_err(ManifestOpenError::Distrust)?, path)
}

/// Locks the file for this broker alone. `manifest` is the manifest that another broker writes if it has the
/// lock.
pub(in crate::audit) fn lock(file: File, manifest: &Path) -> Result<Flock<File>, ManifestOpenError> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(file),
        Err((_, Errno::EWOULDBLOCK)) => Err(ManifestOpenError::Locked(manifest.to_owned())),
        Err((_, errno)) => Err(ManifestOpenError::at(manifest)(errno.into())),
    }
}

/// Whether the open file is the one at `path`.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (fstat(file), lstat(path)) else { return false };
    (open.st_dev, open.st_ino) == (there.st_dev, there.st_ino)
}

/// Syncs the directory of `path`, so that its entry for a new file is on disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}
