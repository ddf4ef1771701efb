//! What outlives a manifest: a hidden file beside it with the number of the next request and the hash of the last
//! line. Whoever moves, cuts or removes the manifest makes no number repeat, and the chain goes on. It also carries the
//! lock that lets one broker write there, whatever becomes of the manifest itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use crate::ids::CallId;
use crate::limits::MARK_BYTES;

use super::chain::{LineHash, no_line};
use super::place::{OpenError, is_at, lock};
use super::trust::Trusted;

/// The mark of one manifest, locked.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    file: Flock<File>,
}

/// How far a manifest was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// The number of the next request.
    pub(super) next: CallId,
    /// The hash of the last line.
    pub(super) prev: LineHash,
}

impl Mark {
    /// Opens or makes the mark of `manifest`, and says how far that was written as far as the mark knows.
    pub(super) fn open(manifest: &Path) -> Result<(Self, Point), OpenError> {
        let path = path_of(manifest);
        let io = |source| OpenError::Io { path: path.clone(), source };
        let place = Trusted::parent_of(&path, true).map_err(OpenError::Distrust)?;
        let file = lock(place.update().map_err(OpenError::Distrust)?, manifest)?;
        let mut text = [0; MARK_BYTES];
        let bytes = file.read_at(&mut text, 0).map_err(io)?;
        let point = decode(&text[..bytes]);
        Ok((Self { path, file }, point.unwrap_or(Point { next: CallId::FIRST, prev: no_line() })))
    }

    /// Notes how far the manifest is written. Always the same bytes of the file, so that a full disk has room for it.
    pub(super) fn note(&self, point: &Point) -> io::Result<()> {
        self.file.write_all_at(encode(point).as_bytes(), 0)
    }

    /// Whether this is still the mark of `manifest`.
    pub(super) fn is_of(&self, manifest: &Path) -> bool {
        self.path == path_of(manifest) && is_at(&self.file, &self.path)
    }

    /// Has the mark on disk, its place included.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Hidden, so that no pattern that means the manifest and its older parts takes it along.
fn path_of(manifest: &Path) -> PathBuf {
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    manifest.with_file_name(format!(".{name}.mark"))
}

fn encode(point: &Point) -> String {
    format!("next={:020} prev={}\n", point.next.get(), point.prev)
}

/// `None` for what is no mark: then the manifest alone says how far it was written.
fn decode(text: &[u8]) -> Option<Point> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let (next, prev) = text.strip_prefix("next=")?.split_once(" prev=")?;
    let is_hash = prev.len() == no_line().len() && prev.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(Point { next: CallId::new(next.parse().ok()?), prev: is_hash.then(|| prev.to_owned())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<(u64, &str)>) {
        let want = want.map(|(next, prev)| Point { next: CallId::new(next), prev: prev.to_owned() });
        assert_eq!(decode(text.as_bytes()), want);
    }

    #[test]
    fn a_mark_is_read_back_as_it_was_written() {
        let point = Point { next: CallId::new(u64::MAX), prev: "ab".repeat(32) };
        let text = encode(&point);
        assert_eq!(text.len(), MARK_BYTES);
        check(&text, Some((u64::MAX, &point.prev)));
    }

    #[test]
    fn what_is_no_mark_says_nothing() {
        check("", None);
        check("next=12 prev=\n", None);
        check(&format!("next=x prev={}\n", "0".repeat(64)), None);
        check(&format!("next=1 prev={}", "0".repeat(64)), None);
    }
}
