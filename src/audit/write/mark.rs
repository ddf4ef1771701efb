//! The mark, which outlives its manifest: a hidden file beside it with the number of the next request and
//! the hash of the last line. When a manifest is moved, cut or removed, no number repeats, and the chain
//! goes on. The mark also carries the lock that lets only one broker write there, whatever becomes of the
//! manifest itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use crate::audit::chain::{Digest, LineHash, is_hash, no_line};
use crate::ids::CallId;
use crate::limits::MARK_BYTES;
use crate::trust::{TrustError, TrustedName};

use super::lock::{ManifestOpenError, check_plain, is_at, lock, mark_of};

/// The mark of one manifest, locked.
#[derive(Debug)]
pub(super) struct ManifestMark {
    path: PathBuf,
    file: Flock<File>,
}

/// The point up to which a manifest was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrittenPoint {
    /// The number of the next request.
    pub(in crate::audit) next: CallId,
    /// The hash of the last line.
    pub(in crate::audit) prev: LineHash,
}

impl ManifestMark {
    /// Opens or makes the mark of `manifest`, and gives how far the manifest was written, as far as the mark
    /// knows.
    pub(in crate::audit) fn open(manifest: &Path) -> Result<(Self, WrittenPoint), ManifestOpenError> {
        check_plain(manifest)?;
        let path = mark_of(manifest);
        let failed = |why: String| ManifestOpenError::Mark { manifest: manifest.to_owned(), why };
        let distrust = |distrust: TrustError| failed(distrust.to_string());
        let place = TrustedName::parent_of(&path, true).map_err(distrust)?;
        let file = lock(place.update().map_err(distrust)?, manifest)?;
        let mut text = [0; MARK_BYTES];
        let bytes =
            file.read_at(&mut text, 0).map_err(|source| failed(format!("{}: {source}", path.display())))?;
        let point = decode(&text[..bytes]);
        Ok((Self { path, file }, point.unwrap_or(WrittenPoint { next: CallId::FIRST, prev: no_line() })))
    }

    /// Notes how far the manifest is written. It overwrites the same bytes of the file each time, so that a
    /// full disk has room for it.
    pub(in crate::audit) fn note(&self, point: &WrittenPoint) -> io::Result<()> {
        self.file.write_all_at(encode(point).as_bytes(), 0)
    }

    /// Whether this is still the mark of `manifest`.
    pub(super) fn is_of(&self, manifest: &Path) -> bool {
        self.path == mark_of(manifest) && is_at(&self.file, &self.path)
    }

    /// Syncs the mark to disk, its metadata included.
    pub(in crate::audit) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// The hash of the last line of `manifest`, as its mark has it; `None` where there is no mark to read.
pub(in crate::audit) fn noted(manifest: &Path) -> Option<Digest> {
    let mut text = [0; MARK_BYTES];
    let bytes = File::open(mark_of(manifest)).and_then(|file| file.read_at(&mut text, 0)).ok()?;
    Digest::of(decode(&text[..bytes])?.prev.as_bytes())
}

fn encode(point: &WrittenPoint) -> String {
    format!("next={:020} prev={}\n", point.next.get(), point.prev)
}

/// Reads the text of a mark. `None` for any other text: then the manifest alone says how far it was written.
fn decode(text: &[u8]) -> Option<WrittenPoint> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let (next, prev) = text.strip_prefix("next=")?.split_once(" prev=")?;
    let prev = is_hash(prev.as_bytes()).then(|| prev.to_owned())?;
    Some(WrittenPoint { next: CallId::new(next.parse().ok()?), prev })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<(u64, &str)>) {
        let want = want.map(|(next, prev)| WrittenPoint { next: CallId::new(next), prev: prev.to_owned() });
        assert_eq!(decode(text.as_bytes()), want);
    }

    #[test]
    fn a_mark_is_read_back_as_it_was_written() {
        let point = WrittenPoint { next: CallId::new(u64::MAX), prev: "ab".repeat(32) };
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
        check(&format!("next=1 prev={}\n", "0".repeat(63)), None);
        check(&format!("next=1 prev={}g\n", "0".repeat(63)), None);
        check(&format!("next=1 prev=g{}\n", "0".repeat(63)), None);
        check(&format!("next=1 prev=A{}\n", "0".repeat(63)), None);
        check(&format!("next=99999999999999999999 prev={}\n", "0".repeat(64)), None);
    }
}
