//! Follows a manifest: reads the lines that a broker writes from now on, over rotation.

use std::io;
use std::path::{Path, PathBuf};

use crate::audit::write::mark::noted;

use super::blocks::each_line;
use super::matcher::{CallMatcher, LineConsumer};
use super::seek::{OpenedAt, ReadPosition};
use crate::audit::read::{LineClassifier, ManifestLine, ManifestSource};

/// The newest file of a manifest, and how far it has been read.
#[derive(Debug)]
pub struct ManifestFollower {
    path: PathBuf,
    open: Option<ReadPosition>,
}

impl ManifestFollower {
    /// A follower of the manifest at `path` that goes on reading at `open`, a position in the file there.
    pub fn new(path: &Path, open: Option<ReadPosition>) -> Self {
        Self { path: path.to_owned(), open }
    }

    /// Hands the records that were written since the last call to `take`.
    pub fn read(&mut self, matcher: &mut CallMatcher, take: &mut LineConsumer<'_>) -> io::Result<()> {
        // The new file is looked for first: when there is something in it, everything for the old file is
        // written.
        let fresh = self.fresh()?;
        self.read_open(matcher, take)?;
        if let Some(source) = fresh {
            self.open =
                Some(ReadPosition { source, at: 0, standing: LineClassifier::new(noted(&self.path)) });
            self.read_open(matcher, take)?;
        }
        Ok(())
    }

    /// Reads on in the open file. Lines that are no records are left out; later lines cannot make them
    /// records.
    fn read_open(&mut self, matcher: &mut CallMatcher, take: &mut LineConsumer<'_>) -> io::Result<()> {
        let Some(ReadPosition { source, at, standing }) = &mut self.open else { return Ok(()) };
        let Some(file) = source.plain() else { return Ok(()) };
        if file.metadata()?.len() < *at {
            // Another process cut the file: its contents are new.
            (*at, *standing) = (0, LineClassifier::new(None));
        }
        *at = each_line(OpenedAt { file, at: *at }, *at, |at, bytes| {
            let line = ManifestLine { number: 0, at, bytes, continues: false, ended: true };
            let is_record = standing.add(&line).is_record();
            match is_record.then(|| matcher.take(bytes)).flatten() {
                Some((head, found)) => take(head, found, bytes),
                None => Ok(()),
            }
        })?;
        Ok(())
    }

    /// The file at the path, if it is another one than the open one and has contents.
    fn fresh(&self) -> io::Result<Option<ManifestSource>> {
        let source = match ManifestSource::open(&self.path) {
            Ok(source) => source,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
        let (id, bytes) = source.identity()?;
        let open = self.open.as_ref().map(|open| open.source.identity()).transpose()?;
        let is_other = open.is_none_or(|(open, _)| open != id);
        Ok((is_other && bytes > 0).then_some(source))
    }
}
