//! The files that captures are kept in. Each is new, lies below directories that only root or this user can
//! write, and is tried before anything runs.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::ids::CallId;
use crate::limits::CAPTURE_PROBE_BYTES;
use crate::sys;

use crate::trust::{TrustError, TrustedName};

/// A capture that is still empty. Dropped without [`Self::stay`], its file is removed again: nothing ran.
#[derive(Debug)]
pub struct CaptureFile {
    file: Option<File>,
    place: Option<TrustedName>,
    path: PathBuf,
}

impl CaptureFile {
    /// Makes the file, mode 0600, with the directories that are missing above it, mode 0700. Where the name
    /// is taken, by a file of any kind, the call's number is added to it. A place that takes no bytes is an
    /// error here already.
    pub fn create(path: &Path, call: CallId) -> io::Result<Self> {
        let capture = match Self::create_at(path) {
            Err(distrust) if distrust.is_taken() => {
                let mut other = path.as_os_str().to_owned();
                other.push(format!(".c{call}"));
                Self::create_at(Path::new(&other))?
            }
            created => created?,
        };
        capture.probe()?;
        Ok(capture)
    }

    fn create_at(path: &Path) -> Result<Self, TrustError> {
        let place = TrustedName::parent_of(path, true)?;
        let file = Some(place.create()?);
        Ok(Self { file, place: Some(place), path: path.to_owned() })
    }

    /// Checks that the place takes bytes: a file can be made where not a byte of it can be written. The file
    /// is written and cut only where blocks cannot be allocated: of a file that was cut to nothing, ext4
    /// writes every byte to the disk when it is closed (`auto_da_alloc`), and the call waits for that.
    fn probe(&self) -> io::Result<()> {
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        match sys::allocate(file.as_fd(), 0, CAPTURE_PROBE_BYTES.into()) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                file.write_all(&vec![0; CAPTURE_PROBE_BYTES.into()])?;
                file.set_len(0)
            }
            probed => probed,
        }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file, once.
    pub fn take_file(&mut self) -> Option<File> {
        self.file.take()
    }

    /// Keeps the file, because a record names it from now on.
    pub fn stay(&mut self) {
        self.place = None;
    }
}

impl Drop for CaptureFile {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            // Where this fails, an empty file stays that no record names, and the next call takes another
            // name.
            place.remove().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn check(arrange: impl FnOnce(&Path), want: &str) {
        let own = tempfile::tempdir().expect("a directory");
        let dir = own.path();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("a mode");
        arrange(dir);
        let made = CaptureFile::create(&dir.join("new/c.out"), CallId::new(7)).map(|mut capture| {
            capture.stay();
            let mode = fs::metadata(capture.path()).expect("it is there").permissions().mode() & 0o777;
            let above = fs::metadata(dir.join("new")).expect("it is there").permissions().mode() & 0o777;
            let name = capture.path().file_name().expect("a name").to_string_lossy().into_owned();
            format!("{name} {mode:o} {above:o} {}", fs::metadata(capture.path()).expect("it is there").len())
        });
        let said = made.unwrap_or_else(|error| error.to_string().replace(dir.to_str().expect("plain"), ""));
        assert_eq!(said, want);
    }

    #[test]
    fn a_capture_is_a_new_empty_file_whatever_has_its_name() {
        let make = |dir: &Path| {
            fs::create_dir(dir.join("new")).expect("a directory");
            fs::set_permissions(dir.join("new"), fs::Permissions::from_mode(0o700)).expect("a mode");
        };
        check(|_| {}, "c.out 600 700 0");
        check(
            |dir| {
                make(dir);
                fs::write(dir.join("new/c.out"), "old").expect("a file");
            },
            "c.out.c7 600 700 0",
        );
        check(
            |dir| {
                make(dir);
                symlink("/etc/passwd", dir.join("new/c.out")).expect("a link");
            },
            "c.out.c7 600 700 0",
        );
        check(
            |dir| {
                make(dir);
                nix::unistd::mkfifo(&dir.join("new/c.out"), nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
            },
            "c.out.c7 600 700 0",
        );
    }

    #[test]
    fn a_place_that_others_can_write_holds_no_capture() {
        check(
            |dir| {
                fs::create_dir(dir.join("new")).expect("a directory");
                fs::set_permissions(dir.join("new"), fs::Permissions::from_mode(0o777)).expect("a mode");
            },
            "/new can be written by others (mode 0777); do: chmod go-w /new",
        );
    }

    #[test]
    fn a_call_that_does_not_run_leaves_no_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("c.out");
        drop(CaptureFile::create(&path, CallId::FIRST).expect("made"));
        assert!(!path.exists());
    }
}
