//! The listening sockets: handed over by systemd (`LISTEN_FDS`), or bound here.

use std::env;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use libsystemd::activation::{IsType, receive_descriptors};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::sockopt::{AcceptConn, SockType};
use nix::sys::socket::{self, AddressFamily, SockFlag, UnixAddr, getsockname, getsockopt};
use nix::sys::stat::{Mode, umask};

use crate::ids::SocketName;
use crate::limits::BACKLOG;
use crate::sys;
use crate::trust::{TrustError, TrustedName};

/// A listening socket and its name.
#[derive(Debug)]
pub(super) struct ListeningSocket {
    pub(super) name: SocketName,
    /// The socket's name in messages: its path, where it has one.
    pub(super) label: String,
    /// Open until the process ends. A pending connection may bring a descriptor whose close takes long:
    /// closing the socket would wait for that, but the kernel does not wait at the end of a process.
    pub(super) socket: &'static OwnedFd,
    /// The files of a socket of the broker's own.
    pub(super) own: Option<OwnSocket>,
}

/// A socket file that this broker made, with the lock that keeps other brokers from it. Dropping it removes
/// both.
#[derive(Debug)]
pub(super) struct OwnSocket {
    path: PathBuf,
    inode: u64,
    lock_path: PathBuf,
    _lock: Flock<File>,
}

/// The reason why there is nothing to listen on.
#[derive(Debug)]
pub enum ListenError {
    /// Neither `--socket` nor descriptors of systemd's.
    Nothing,
    /// A descriptor that systemd handed over is not a listening `SOCK_SEQPACKET` socket.
    Unusable {
        /// The descriptor's place, from 0.
        index: usize,
        /// The fault.
        why: &'static str,
    },
    /// A socket has a name that no rules file can have.
    Name(SocketName),
    /// The activation variables cannot be read.
    Activation(String),
    /// Another broker has the socket.
    Busy(PathBuf),
    /// systemd has the socket, for a socket unit.
    Held(PathBuf),
    /// A file that is not a socket is at the socket's path.
    NotSocket(PathBuf),
    /// Other users could replace the socket.
    Distrust(TrustError),
    /// A system call failed.
    Io {
        /// The socket.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => {
                write!(f, "no socket: give --socket PATH, or start by systemd's socket activation")
            }
            Self::Unusable { index, why } => write!(
                f,
                "descriptor {index} of LISTEN_FDS {why}; the socket unit needs ListenSequentialPacket=PATH"
            ),
            Self::Name(name) => write!(
                f,
                "no rules file can be called {:?}; set FileDescriptorName= in the socket unit",
                name.as_str()
            ),
            Self::Activation(why) => write!(f, "cannot take over systemd's sockets: {why}"),
            Self::Busy(path) => write!(f, "another broker listens on {}", path.display()),
            Self::Held(path) => {
                let user = if path.starts_with("/run/sluice") { "" } else { " --user" };
                write!(
                    f,
                    "systemd holds {} for a socket unit, and starts its broker when somebody calls: nothing has to be \
                     started by hand (systemctl{user} list-sockets names the unit). For a broker of your own, stop \
                     that unit or give another --socket",
                    path.display()
                )
            }
            Self::NotSocket(path) => write!(f, "{} is in the way and is not a socket", path.display()),
            Self::Distrust(distrust) => {
                let distrust = distrust.to_string();
                // $XDG_RUNTIME_DIR/sluice/NAME/sock, of a shell without the variable.
                let is_rootless = distrust.starts_with("/sluice:") || distrust.starts_with("/sluice/");
                let tip =
                    "; XDG_RUNTIME_DIR seems to be empty here: export XDG_RUNTIME_DIR=/run/user/$(id -u)";
                write!(f, "the socket's place is not safe: {distrust}{}", if is_rootless { tip } else { "" })
            }
            Self::Io { path, source } => write!(f, "cannot listen on {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for ListenError {}

/// The sockets that systemd hands over, checked; empty when there are none. `unnamed` is the name of those
/// without one of their own.
pub(super) fn inherited(unnamed: &SocketName) -> Result<Vec<ListeningSocket>, ListenError> {
    let descriptors =
        receive_descriptors(false).map_err(|error| ListenError::Activation(error.to_string()))?;
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let listener = |(index, descriptor): (usize, libsystemd::activation::FileDescriptor)| {
        let unusable = |why| ListenError::Unusable { index, why };
        let is_unix = descriptor.is_unix();
        let socket =
            sys::adopt_descriptor(descriptor.into_raw_fd()).ok_or(unusable("was handed over twice"))?;
        if !is_unix {
            return Err(unusable("is not a unix socket"));
        }
        let why = fault(&socket);
        why.map_or(Ok(()), |why| Err(unusable(why)))?;
        let socket = &*Box::leak(Box::new(socket));
        let given = names.next().filter(|name| !["", "unknown", "connection"].contains(name));
        let name = given.map_or_else(|| unnamed.clone(), SocketName::new);
        Ok(ListeningSocket {
            label: address(socket).unwrap_or_else(|| name.to_string()),
            name,
            socket,
            own: None,
        })
    };
    descriptors.into_iter().enumerate().map(listener).collect()
}

fn fault(socket: &OwnedFd) -> Option<&'static str> {
    if getsockopt(socket, SockType) != Ok(socket::SockType::SeqPacket) {
        return Some("is not a SOCK_SEQPACKET socket");
    }
    if getsockopt(socket, AcceptConn) != Ok(true) {
        return Some("does not listen");
    }
    let nonblocking = nix::fcntl::fcntl(socket, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK));
    nonblocking.err().map(|_| "cannot be made non-blocking")
}

fn address(socket: &OwnedFd) -> Option<String> {
    let address: UnixAddr = getsockname(socket.as_raw_fd()).ok()?;
    address.path().map(|path| path.display().to_string())
}

/// Binds a socket of the broker's own, mode 0600. A file on which no process listens is replaced; one that
/// has a listener is an error. `distrusted` is called for a directory that other users can write, and returns
/// whether to go on all the same.
pub(super) fn bind(
    path: &Path,
    name: SocketName,
    distrusted: impl Fn(&TrustError) -> bool,
) -> Result<ListeningSocket, ListenError> {
    let io = |source| ListenError::Io { path: path.to_owned(), source };
    match TrustedName::parent_of(path, true) {
        Err(distrust) if !distrusted(&distrust) => return Err(ListenError::Distrust(distrust)),
        _ => {}
    }
    let (lock_path, lock) = lock(path)?;
    // A lock file beside another process's socket would only be in the way.
    clear(path).inspect_err(|_| drop(std::fs::remove_file(&lock_path)))?;
    // The mode must be right from the first moment, and bind(2) takes it from the umask.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let bound = sys::bind_listener(path, BACKLOG);
    umask(mask);
    let socket = &*Box::leak(Box::new(bound.map_err(io)?));
    let inode = path.symlink_metadata().map_err(io)?.ino();
    let own = Some(OwnSocket { path: path.to_owned(), inode, lock_path, _lock: lock });
    Ok(ListeningSocket { name, label: path.display().to_string(), socket, own })
}

/// Locks `PATH.lock`; the lock is on the file that is at that path, not on one that was removed meanwhile.
fn lock(path: &Path) -> Result<(PathBuf, Flock<File>), ListenError> {
    let io = |source| ListenError::Io { path: path.to_owned(), source };
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    loop {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&lock_path).map_err(io)?;
        let inode = file.metadata().map_err(io)?.ino();
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Err(ListenError::Busy(path.to_owned())),
            Err((_, errno)) => return Err(io(errno.into())),
        };
        if lock_path.symlink_metadata().is_ok_and(|now| now.ino() == inode) {
            return Ok((lock_path, lock));
        }
    }
}

/// Removes a socket file on which no process listens.
fn clear(path: &Path) -> Result<(), ListenError> {
    let io = |source| ListenError::Io { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io(source)),
        Ok(there) if !there.file_type().is_socket() => return Err(ListenError::NotSocket(path.to_owned())),
        Ok(_) => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket::socket(AddressFamily::Unix, socket::SockType::SeqPacket, flags, None)
        .map_err(|errno| io(errno.into()))?;
    let address = UnixAddr::new(path).map_err(|errno| io(errno.into()))?;
    match socket::connect(probe.as_fd().as_raw_fd(), &address) {
        Err(Errno::ECONNREFUSED) => std::fs::remove_file(path).map_err(io),
        Ok(()) if is_systemd(&probe) => Err(ListenError::Held(path.to_owned())),
        _ => Err(ListenError::Busy(path.to_owned())),
    }
}

/// Whether systemd listens at the other end.
fn is_systemd(probe: &OwnedFd) -> bool {
    let Ok(listener) = sys::connector(probe.as_fd()) else { return false };
    std::fs::read_to_string(format!("/proc/{}/comm", listener.pid))
        .is_ok_and(|name| name.trim_end() == "systemd")
}

impl OwnSocket {
    /// The path of the socket, and its inode.
    pub(super) fn place(&self) -> SocketFile {
        SocketFile { path: self.path.clone(), inode: self.inode }
    }
}

/// The path of a socket's file, and its inode.
#[derive(Clone, Debug)]
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Whether the broker's file is still there.
    pub(super) fn is_ours(&self) -> bool {
        self.path.symlink_metadata().is_ok_and(|now| now.ino() == self.inode)
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        // Only the broker's own files are removed; the next broker replaces a file that cannot be removed.
        if self.place().is_ours() {
            drop(std::fs::remove_file(&self.path));
        }
        drop(std::fs::remove_file(&self.lock_path));
    }
}
