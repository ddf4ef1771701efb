//! The reasons why there is no connection. The kernel has one errno for several of them, so the path is
//! looked at once more, after the failure; the finding serves as advice, and nothing depends on it.

use std::fs::{self, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{FUSE_SUPER_MAGIC, FsType, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
use nix::unistd::{AccessFlags, access, geteuid};

/// The reason why no broker was asked. Variants are apart where the caller has to do something different.
#[derive(Debug)]
pub enum ConnectFailure {
    /// The sandbox's own filter, or its kernel, has no unix sockets.
    Forbidden(io::Error),
    /// The directory of the socket is there, the socket is not.
    Missing,
    /// The directory of the socket is not there.
    NoDirectory(PathBuf),
    /// The path is not that of a socket.
    NotSocket(PathKind),
    /// The socket is there, and no process listens on it.
    Silent,
    /// No process listens on the socket here, and its file system is shared with another machine, on whose
    /// kernel one may listen.
    Foreign,
    /// The socket's permissions allow it, and a security module does not: the sandbox's own (Landlock), or
    /// the system's.
    Fenced {
        /// Whether SELinux enforces its policy here.
        is_selinux: bool,
    },
    /// A permission is missing, on the socket or on a directory above it; the socket's owner, where it can be
    /// seen.
    Denied {
        /// The socket's owner.
        owner: Option<u32>,
    },
    /// There is no FIFO door in this directory.
    NoDoor(PathBuf),
    /// Other callers have all lanes of the FIFO door.
    DoorBusy,
    /// A socket of another type than a broker's.
    WrongType,
    /// More bytes than a socket's path can have.
    LongPath(usize),
    /// Anything else.
    Other(io::Error),
}

/// The kind of file at a path that is not a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A pipe, a device.
    Other,
}

impl ConnectFailure {
    /// The reason why `connect` to `path` failed with `error`.
    pub(super) fn at(path: &Path, error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENOTDIR) => missing(path),
            Some(Errno::ECONNREFUSED) => refused(path),
            Some(Errno::EACCES) => denied(path),
            Some(Errno::EPROTOTYPE) => Self::WrongType,
            Some(Errno::ENAMETOOLONG) => Self::LongPath(path.as_os_str().len()),
            Some(Errno::EPERM) => Self::Forbidden(error),
            _ => Self::Other(error),
        }
    }
}

fn missing(path: &Path) -> ConnectFailure {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match directory {
        Some(directory) if !directory.is_dir() => ConnectFailure::NoDirectory(directory.to_owned()),
        _ => ConnectFailure::Missing,
    }
}

fn refused(path: &Path) -> ConnectFailure {
    match fs::metadata(path).map(|found| found.file_type()) {
        Ok(found) if !found.is_socket() => ConnectFailure::NotSocket(kind(found)),
        Ok(_) if statfs(path).is_ok_and(|of| is_shared(of.filesystem_type())) => ConnectFailure::Foreign,
        _ => ConnectFailure::Silent,
    }
}

/// access(2) asks the permissions alone, and no security module but SELinux.
fn denied(path: &Path) -> ConnectFailure {
    let is_permitted = access(path, AccessFlags::W_OK).is_ok();
    let owner = fs::metadata(path).ok().map(|found| found.uid());
    let is_enforced = || fs::read_to_string(SELINUX_ENFORCES).is_ok_and(|flag| flag.starts_with('1'));
    let is_selinux = owner == Some(geteuid().as_raw()) && is_enforced();
    if is_permitted || is_selinux {
        return ConnectFailure::Fenced { is_selinux };
    }
    ConnectFailure::Denied { owner }
}

/// The file that says whether SELinux enforces its policy.
const SELINUX_ENFORCES: &str = "/sys/fs/selinux/enforce";

/// Whether a file system brings files of another machine: a network's, or a virtual machine's share (9p;
/// virtiofs has the number of FUSE).
fn is_shared(kind: FsType) -> bool {
    [V9FS, FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, CIFS, SMB2, VBOXSF].contains(&kind)
}

/// Numbers of file systems: see statfs(2), and in the kernel `fs/smb` and `fs/vboxsf`.
const V9FS: FsType = FsType(0x0102_1997);
const CIFS: FsType = FsType(0xff53_4d42);
const SMB2: FsType = FsType(0xfe53_4d42);
const VBOXSF: FsType = FsType(0x786f_4256);

fn kind(found: FileType) -> PathKind {
    match () {
        () if found.is_dir() => PathKind::Directory,
        () if found.is_file() => PathKind::File,
        () => PathKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, errno: Errno, want: &str) {
        let error = io::Error::from_raw_os_error(errno as i32);
        assert_eq!(format!("{:?}", ConnectFailure::at(Path::new(path), error)), want);
    }

    #[test]
    fn a_missing_socket_is_told_from_a_missing_directory() {
        check("/proc/self/none", Errno::ENOENT, "Missing");
        check("none", Errno::ENOENT, "Missing");
        check("/proc/none/sock", Errno::ENOENT, "NoDirectory(\"/proc/none\")");
        check("/proc/self/status/sock", Errno::ENOTDIR, "NoDirectory(\"/proc/self/status\")");
    }

    #[test]
    fn a_refused_connection_looks_at_what_the_path_is() {
        check("/proc/self", Errno::ECONNREFUSED, "NotSocket(Directory)");
        check("/proc/self/status", Errno::ECONNREFUSED, "NotSocket(File)");
        check("/dev/null", Errno::ECONNREFUSED, "NotSocket(Other)");
        check("/proc/none", Errno::ECONNREFUSED, "Silent");
    }

    #[test]
    fn a_share_of_another_machine_is_known_by_its_file_system() {
        assert!(is_shared(V9FS) && is_shared(FUSE_SUPER_MAGIC) && is_shared(SMB2));
        let local = statfs("/proc").expect("it is there").filesystem_type();
        assert!(!is_shared(local) && !is_shared(nix::sys::statfs::TMPFS_MAGIC));
    }

    #[test]
    fn other_errors_have_their_own_cases() {
        check("/proc/none/sock", Errno::EACCES, "Denied { owner: None }");
        check("/dev/null", Errno::EACCES, "Fenced { is_selinux: false }");
        check("/x", Errno::EPROTOTYPE, "WrongType");
        check("/xyz", Errno::ENAMETOOLONG, "LongPath(4)");
    }
}
