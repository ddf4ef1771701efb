//! Whether somebody else moved, removed, cut or wrote to the manifest of a broker that runs: nobody can read
//! what is written elsewhere, and nothing vouches for what others wrote.

use std::io;
use std::path::Path;

use super::file::ManifestFile;
use super::lock::{is_at, sync_directory};

impl ManifestFile {
    /// Checks that the file is at its path and as long as it was left: nobody can read what is written
    /// elsewhere.
    pub(super) fn check_place(&mut self) -> io::Result<()> {
        self.check_open()?;
        self.cut_torn()?;
        let bytes = self.file.metadata()?.len();
        let why = if !self.is_at(&self.path) {
            "the manifest was moved or removed; have the broker reload (HUP)"
        } else if bytes < self.bytes {
            "the manifest was cut in place, and records may be lost; have logrotate move it and send HUP (`nocreate` \
             and `postrotate`) instead of `copytruncate`, and the broker reload now"
        } else if bytes > self.bytes {
            "the manifest was written to by somebody else; have the broker reload (HUP)"
        } else {
            return Ok(());
        };
        Err(io::Error::other(why))
    }

    /// Whether the file that is open is the one at `path`.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        is_at(&self.file, path)
    }

    /// Whether nothing was done to the manifest and its mark.
    pub(super) fn is_untouched(&mut self) -> bool {
        self.check_place().is_ok() && self.mark.is_of(&self.path)
    }

    /// Has all of it on disk, the directory's entries included.
    pub(super) fn sync_place(&self) -> io::Result<()> {
        self.file.sync_all()?;
        self.mark.sync()?;
        sync_directory(&self.path)
    }
}
