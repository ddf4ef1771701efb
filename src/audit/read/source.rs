//! One file of a manifest, opened to be read. Its first bytes, not its name, tell how it is packed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;

use crate::limits::UNPACKED_BYTES_MAX;

use super::unpack::{Compression, unpack};

/// A regular file that may be a manifest.
#[derive(Debug)]
pub struct ManifestSource {
    path: PathBuf,
    file: File,
    packing: Compression,
}

/// Why a file cannot be read as a manifest.
#[derive(Debug)]
pub struct ReadError {
    path: PathBuf,
    why: ReadErrorKind,
}

#[derive(Debug)]
enum ReadErrorKind {
    NotRegular,
    /// Packed by this program, whose format is not read here.
    Packed(&'static str),
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            ReadErrorKind::NotRegular => write!(f, "{path} is not a regular file"),
            ReadErrorKind::Packed(with) => write!(
                f,
                "{path} is packed with {with}, which is not read here; unpack it ({with} -dk {path}), and have \
                 logrotate use gzip or zstd"
            ),
            ReadErrorKind::Io(source) => write!(f, "{path}: {source}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl ReadError {
    /// The error of reading the file at `path`.
    pub(in crate::audit) fn io(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), why: ReadErrorKind::Io(source) }
    }

    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(&self.why, ReadErrorKind::Io(source) if source.kind() == io::ErrorKind::NotFound)
    }
}

impl ManifestSource {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::look(path).map_err(|why| ReadError { path: path.to_owned(), why })
    }

    fn look(path: &Path) -> Result<Self, ReadErrorKind> {
        // O_NONBLOCK: a FIFO must not hold its reader up.
        let file =
            File::options().read(true).custom_flags(O_NONBLOCK).open(path).map_err(ReadErrorKind::Io)?;
        if !file.metadata().map_err(ReadErrorKind::Io)?.is_file() {
            return Err(ReadErrorKind::NotRegular);
        }
        let mut magic = [0; 6];
        let bytes = file.read_at(&mut magic, 0).map_err(ReadErrorKind::Io)?;
        let packing = Compression::of(&magic[..bytes]).map_err(ReadErrorKind::Packed)?;
        Ok(Self { path: path.to_owned(), file, packing })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user id of its owner.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(self.file.metadata()?.uid())
    }

    /// Its device and inode, and its length as it is on disk.
    pub(in crate::audit) fn identity(&self) -> io::Result<((u64, u64), u64)> {
        let metadata = self.file.metadata()?;
        Ok(((metadata.dev(), metadata.ino()), metadata.len()))
    }

    /// The file itself, where it is not packed.
    pub fn plain(&self) -> Option<&File> {
        (self.packing == Compression::None).then_some(&self.file)
    }

    /// The manifest's bytes, unpacked, from the first on. An error ends them when a packed file has too
    /// many.
    pub fn bytes(&self) -> io::Result<Box<dyn Read>> {
        let file = FromStart { file: self.file.try_clone()?, at: 0 };
        Ok(unpack(file, self.packing, UNPACKED_BYTES_MAX))
    }
}

/// A file from its beginning, whatever its offset is.
#[derive(Debug)]
struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read_at(into, self.at)?;
        self.at += bytes as u64;
        Ok(bytes)
    }
}
