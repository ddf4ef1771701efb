//! A directory of a test's own, 0700, gone when the test is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::skip::is_root;

/// A fresh directory that only this uid can enter.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(place: &Path) -> Self {
        let template = place.join("sluice-it-XXXXXX");
        let path = nix::unistd::mkdtemp(&template).expect("the temporary directory takes another");
        Self(path)
    }

    /// One on a file system that honours setuid bits, which the usual place, `/tmp`, may not; `None` where
    /// there is none.
    pub(crate) fn with_setuid() -> Option<Self> {
        let places = [std::env::temp_dir(), "/var/tmp".into()];
        let honours =
            |place: &PathBuf| statvfs(place).is_ok_and(|of| !of.flags().contains(FsFlags::ST_NOSUID));
        Some(Self::within(&places.into_iter().find(honours)?))
    }

    /// One that does not lie where temporary files do, but among or in the homes.
    pub(crate) fn lasting() -> Self {
        let home = std::env::var_os("HOME").map_or_else(|| "/home".into(), PathBuf::from);
        Self::within(if is_root() { Path::new("/home") } else { &home })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of `name` in here, which need not exist.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// A file of mode 0600.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).expect("a file in an own directory can be written");
        chmod(&path, 0o600);
        path
    }

    /// A program of mode 0755.
    pub(crate) fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, text);
        chmod(&path, 0o755);
        path
    }

    /// A directory of this mode.
    pub(crate) fn mkdir(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.join(name);
        fs::create_dir(&path).expect("an own directory takes another");
        chmod(&path, mode);
        path
    }
}

impl TempDir {
    /// Takes away what a test mounted here.
    fn unmount(&self) {
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for place in places.filter(|place| Path::new(place).starts_with(&self.0)) {
            std::process::Command::new("umount").args(["-l", place]).status().expect("there is umount");
        }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        self.unmount();
        if let Err(error) = fs::remove_dir_all(&self.0) {
            assert!(std::thread::panicking(), "{} stays behind: {error}", self.0.display());
        }
    }
}

/// Sets the mode of a path of ours.
pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("an own path takes a mode");
}
