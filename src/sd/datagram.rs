//! Sends datagrams to one of systemd's sockets. If the reader does not read, a send waits for a bounded time
//! only.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr};
use nix::sys::socket::{sendmsg, setsockopt, socket};
use nix::sys::time::TimeVal;

/// A socket for datagrams to one address.
#[derive(Debug)]
pub(super) struct DatagramChannel {
    socket: OwnedFd,
    address: UnixAddr,
}

/// What to do when the other side's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueuePolicy {
    /// Wait, at most for the channel's limit.
    Bounded,
    /// Fail at once.
    None,
}

impl DatagramChannel {
    /// A channel whose sends wait at most `limit`. The socket is not connected, because a reader that is
    /// restarted has a new socket at the same address.
    pub(super) fn new(address: UnixAddr, limit: Duration) -> io::Result<Self> {
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let limit = TimeVal::new(limit.as_secs().cast_signed(), limit.subsec_micros().into());
        setsockopt(&socket, SendTimeout, &limit)?;
        Ok(Self { socket, address })
    }

    /// Sends one datagram, with a descriptor if one is given.
    pub(super) fn send(
        &self,
        message: &[u8],
        rights: Option<&OwnedFd>,
        patience: QueuePolicy,
    ) -> nix::Result<()> {
        let flags = match patience {
            QueuePolicy::Bounded => MsgFlags::MSG_NOSIGNAL,
            QueuePolicy::None => MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        };
        let rights: Vec<_> = rights.map(AsRawFd::as_raw_fd).into_iter().collect();
        let control = [ControlMessage::ScmRights(&rights)];
        let control = if rights.is_empty() { &[][..] } else { &control };
        loop {
            let parts = [io::IoSlice::new(message)];
            match sendmsg(self.socket.as_raw_fd(), &parts, control, flags, Some(&self.address)) {
                Err(Errno::EINTR) => {}
                result => return result.map(drop),
            }
        }
    }
}
