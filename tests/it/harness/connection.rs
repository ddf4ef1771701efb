//! One connection: any bytes with any descriptors out, one reply back under a deadline.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, connect, recv, sendmsg,
    shutdown, socket,
};

use super::frame::{MAGIC, Status, VERSION};
use super::wait::{SOON, within};

const REPLY_BYTES_MAX: usize = 128 * 1024;

/// What came back on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Twelve bytes: a status.
    Status(Status),
    /// Status 0 and a text.
    Listing(String),
    /// The broker closed without a word.
    Closed,
    /// Nothing before the deadline.
    Silent,
    /// Bytes that are no reply.
    Garbled(Vec<u8>),
}

impl From<Status> for Reply {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Connection(OwnedFd);

impl Connection {
    /// Connects, and waits while the backlog is full.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self(fd))
    }

    /// One message with these descriptors. A broker that closed already is not an error of the test; and
    /// while other tests have as many descriptors on their way as the kernel allows a user, this one waits.
    #[track_caller]
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        within(SOON, "the kernel takes the descriptors", || self.try_send(bytes, fds).then_some(()));
    }

    /// One message, unless too many descriptors are on their way.
    pub(crate) fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
        let sent = sendmsg::<UnixAddr>(
            self.0.as_raw_fd(),
            &[IoSlice::new(bytes)],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => true,
            Err(Errno::ETOOMANYREFS) => false,
            Err(error) => panic!("cannot send {} bytes and {} descriptors: {error}", bytes.len(), fds.len()),
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn stop_sending(&self) {
        shutdown(self.0.as_raw_fd(), Shutdown::Write).expect("it is connected");
    }

    /// The reply, or that none came in time.
    pub(crate) fn reply(&self) -> Reply {
        self.reply_within(SOON)
    }

    /// The reply, or that none came before this deadline.
    pub(crate) fn reply_within(&self, limit: Duration) -> Reply {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit).expect("a deadline of seconds");
        match poll(&mut fds, timeout) {
            Ok(0) => Reply::Silent,
            Ok(_) => self.receive(),
            Err(error) => panic!("cannot wait for a reply: {error}"),
        }
    }

    /// The reply that is there now.
    pub(crate) fn receive(&self) -> Reply {
        let mut buffer = vec![0; REPLY_BYTES_MAX];
        match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) | Err(Errno::ECONNRESET) => Reply::Closed,
            Ok(bytes) => read_reply(&buffer[..bytes]),
            Err(error) => panic!("cannot receive: {error}"),
        }
    }
}

impl Connection {
    /// The next message, byte for byte.
    #[track_caller]
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(SOON).expect("a deadline of seconds");
        assert_eq!(poll(&mut fds, timeout).expect("a socket can be waited for"), 1, "nothing comes");
        let mut buffer = vec![0; REPLY_BYTES_MAX];
        let bytes = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("a message");
        buffer.truncate(bytes);
        buffer
    }

    /// Every message until the broker closes, byte for byte.
    #[track_caller]
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let mut came = Vec::new();
        loop {
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(SOON).expect("a deadline of seconds");
            let events = poll(&mut fds, timeout).expect("a socket can be waited for");
            assert_eq!(events, 1, "the broker neither speaks nor closes; so far: {came:?}");
            let mut buffer = vec![0; REPLY_BYTES_MAX];
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(0) | Err(Errno::ECONNRESET) => return came,
                Ok(bytes) => came.push(buffer[..bytes].to_vec()),
                Err(error) => panic!("cannot receive: {error}"),
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Connection> for OwnedFd {
    fn from(connection: Connection) -> Self {
        connection.0
    }
}

fn read_reply(bytes: &[u8]) -> Reply {
    let word = |at: usize| {
        bytes.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")))
    };
    if (word(0), word(4)) != (Some(MAGIC), Some(VERSION)) {
        return Reply::Garbled(bytes.to_vec());
    }
    let status = word(8).map(|status| Status(status.cast_signed()));
    match (status, word(12)) {
        (Some(status), None) if bytes.len() == 12 => Reply::Status(status),
        (Some(Status(0)), Some(length)) if usize::try_from(length) == Ok(bytes.len() - 16) => {
            String::from_utf8(bytes[16..].to_vec())
                .map_or_else(|text| Reply::Garbled(text.into_bytes()), Reply::Listing)
        }
        (Some(_) | None, Some(_) | None) => Reply::Garbled(bytes.to_vec()),
    }
}
