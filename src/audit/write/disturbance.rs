//! Detects that another process moved, removed, cut or wrote to the manifest of a running broker: nobody can
//! read records in a file that is gone, and nothing vouches for lines of other writers.

use std::io;
use std::path::Path;

use super::file::ManifestFile;
use super::lock::{is_at, sync_directory};

impl ManifestFile {
    /// Checks that the file is at its path and has the length that this broker left: nobody can read records
    /// that are written elsewhere.
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

    /// Whether the open file is the one at `path`.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        is_at(&self.file, path)
    }

    /// Whether the manifest and its mark are as this broker left them.
    pub(super) fn is_untouched(&mut self) -> bool {
        self.check_place().is_ok() && self.mark.is_of(&self.path)
    }

    /// Syncs the manifest and its mark to disk, the directory's entries included.
    pub(super) fn sync_place(&self) -> io::Result<()> {
        self.file.sync_all()?;
        self.mark.sync()?;
        sync_directory(&self.path)
    }
}
