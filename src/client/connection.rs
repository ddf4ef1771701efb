//! A connection to a broker: opening it, sending a request on it, and what the broker answers there in
//! version 1.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::limits::{EXPLANATION_BYTES_MAX, EXPLANATION_WAIT};
use crate::sys;
use crate::wire::{Explanation, Status};

use super::failure::CallFailure;
use super::lane::wait_again;
use super::unreached::ConnectFailure;

/// The place where a broker is asked.
#[derive(Clone, Debug)]
pub enum BrokerAddress {
    /// A socket's path. Each request has a connection of its own, and falls back to version 1.
    Path(PathBuf),
    /// A connection that is open, on which others may ask as well. Requests of version 2 only.
    Open(SharedConnection),
    /// The directory of a FIFO door. The bytes of stdin, stdout and stderr are moved by threads of this
    /// process, which read stdin ahead of the command.
    Fifo(PathBuf),
}

/// An open connection to a broker, for any number of requests of version 2 at once.
#[derive(Clone, Debug)]
pub struct SharedConnection(Arc<OwnedFd>);

impl SharedConnection {
    /// Connects to the broker at `path`, and waits while its backlog is full.
    pub fn open(path: &Path) -> Result<Self, ConnectFailure> {
        reach(path).map(Arc::new).map(Self)
    }

    /// A connected `SOCK_SEQPACKET` socket that another process opened.
    pub fn inherited(socket: OwnedFd) -> Self {
        Self(Arc::new(socket))
    }
}

impl AsFd for SharedConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the sending of a request has come to. Its user learns of it, because signals are to be caught when
/// the command may begin, and to have their usual effect in a wait of any length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendPhase {
    /// The request is about to be sent.
    Sending,
    /// There is no room for it, which is waited for.
    Waiting,
}

/// Connects to the broker at `path`.
pub(super) fn reach(path: &Path) -> Result<OwnedFd, ConnectFailure> {
    let socket = sys::unconnected().map_err(ConnectFailure::Forbidden)?;
    sys::connect(socket.as_fd(), path).map_err(|error| ConnectFailure::at(path, error))?;
    Ok(socket)
}

/// Connects to the broker at `path` for a request that is ready, and tells `phase` that it is about to be
/// sent: between the two, the broker should find nothing to wait for. The connection is non-blocking, unless
/// the broker's backlog was full.
pub(super) fn reach_at_once(
    path: &Path,
    phase: &mut dyn FnMut(SendPhase),
) -> Result<OwnedFd, ConnectFailure> {
    let socket = sys::unconnected_now().map_err(ConnectFailure::Forbidden)?;
    phase(SendPhase::Sending);
    let connected = match sys::connect(socket.as_fd(), path) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            phase(SendPhase::Waiting);
            wait_again(&socket).and_then(|()| sys::connect(socket.as_fd(), path))
        }
        connected => connected,
    };
    connected.map_err(|error| ConnectFailure::at(path, error))?;
    Ok(socket)
}

/// Sends a request on a connection that this process opened. A message has to fit the send buffer whole: the
/// usual buffer fits every request but the largest, so it is enlarged only for a request that did not fit.
pub(super) fn send(
    broker: BorrowedFd<'_>,
    request: &[u8],
    fds: &[BorrowedFd<'_>],
    phase: &mut dyn FnMut(SendPhase),
) -> io::Result<()> {
    match send_as_is(broker, request, fds, phase) {
        Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
            sys::enlarge_send_buffer(broker, request.len())?;
            send_as_is(broker, request, fds, phase)
        }
        sent => sent,
    }
}

/// Sends a request without a change to the socket. Where the kernel takes no more descriptors in flight, this
/// process raises its own limit, which the kernel compares with their number; where that does not help, it
/// waits until other callers' requests were received.
pub(super) fn send_as_is(
    broker: BorrowedFd<'_>,
    request: &[u8],
    fds: &[BorrowedFd<'_>],
    phase: &mut dyn FnMut(SendPhase),
) -> io::Result<()> {
    phase(SendPhase::Sending);
    match sys::send_patiently(broker, request, fds, Some(Instant::now())) {
        Err(error) if error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32) => raise_descriptor_limit(),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
        sent => return sent.map(drop),
    }
    phase(SendPhase::Waiting);
    sys::send_patiently(broker, request, fds, None)?;
    phase(SendPhase::Sending);
    Ok(())
}

/// Raises the soft limit of descriptors to the hard one. `RLIMIT_NOFILE`, `unix(7)` (`ETOOMANYREFS`).
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Without the higher limit the wait is longer, and nothing else changes.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok();
    }
}

/// The failure for a status that is no exit status, with the broker's explanation, which may come up to
/// [`EXPLANATION_WAIT`] later. A broker that has none closes the connection at once; an explanation that
/// cannot be read is left out, because the status says enough.
pub(super) fn refused(status: Status, broker: BorrowedFd<'_>) -> CallFailure {
    let deadline = Instant::now().checked_add(EXPLANATION_WAIT);
    let mut buffer = [0; EXPLANATION_BYTES_MAX];
    let waited = sys::poll_until(&mut [PollFd::new(broker, PollFlags::POLLIN)], deadline);
    let came = waited.is_ok_and(|is_there| is_there).then(|| sys::receive_into(broker, &mut buffer));
    let message = came.and_then(Result::ok).and_then(|length| buffer.get(..length));
    CallFailure::Refused(status, message.and_then(|message| Explanation::decode(message).ok()))
}

/// The failure for an error of receiving an answer. The kernel gives `ECONNRESET` only for a connection that
/// was closed with the request still unread in it, or that was never accepted. Where the request was read,
/// the connection ends without an error.
pub(super) fn unanswered(error: io::Error) -> CallFailure {
    let is_unread = error.kind() == io::ErrorKind::ConnectionReset;
    if is_unread { CallFailure::Unsent(error) } else { CallFailure::Unanswered }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn a_full_backlog_is_waited_for_and_told() {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let path = directory.path().join("sock");
        let listener = sys::bind_listener(&path, 1).expect("it listens");
        let one_more = || {
            let socket = sys::unconnected_now().expect("a socket");
            sys::connect(socket.as_fd(), &path).map(|()| socket)
        };
        let crowd: Vec<_> = std::iter::from_fn(|| one_more().ok()).collect();
        assert!(!crowd.is_empty());
        let (told, phases) = channel();
        thread::scope(|scope| {
            let path = &path;
            let caller =
                scope.spawn(move || reach_at_once(path, &mut |phase| told.send(phase).expect("it is heard")));
            assert_eq!(phases.recv(), Ok(SendPhase::Sending));
            assert_eq!(phases.recv(), Ok(SendPhase::Waiting));
            sys::accept(listener.as_fd()).expect("one of the crowd");
            caller.join().expect("no panic").expect("a connection");
        });
    }
}
