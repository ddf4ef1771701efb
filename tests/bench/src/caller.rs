//! A caller that is already running: connects, sends one request with `/dev/null` thrice, waits for the
//! reply.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, sendmsg,
    setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};
use sluice::ids::ClaimedWord;
use sluice::wire::{Reply, Request};

/// A reply that takes longer than this is a failure.
const REPLY_SECONDS_MAX: i64 = 30;

/// One request, encoded once and sent any number of times.
#[derive(Debug)]
pub struct Caller {
    socket: PathBuf,
    message: Vec<u8>,
    null: File,
}

impl Caller {
    /// A caller of `words` on the broker at `socket`.
    pub fn new(socket: &Path, words: &[&str]) -> io::Result<Self> {
        let words = words.iter().filter_map(|word| ClaimedWord::new(*word)).collect();
        let message = Request::Call(words).encode().ok_or(io::ErrorKind::InvalidInput)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Self { socket: socket.to_owned(), message, null })
    }

    /// One call: the status that the broker answers.
    pub fn call(&self) -> io::Result<i32> {
        status(&self.begin()?)
    }

    /// A call that is asked for and not waited for. It is given up when the connection is closed.
    pub fn begin(&self) -> io::Result<OwnedFd> {
        let connection = dial(&self.socket)?;
        let fds = [self.null.as_raw_fd(); 3];
        let payload = [IoSlice::new(&self.message)];
        let control = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(connection.as_raw_fd(), &payload, &control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(connection)
    }
}

/// A connection to the broker at `path`, with a bound on the wait for its reply.
pub fn dial(path: &Path) -> io::Result<OwnedFd> {
    let connection = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&connection, ReceiveTimeout, &TimeVal::seconds(REPLY_SECONDS_MAX))?;
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(connection)
}

/// Asks for the listing, and waits for an answer.
pub fn ask_listing(path: &Path) -> io::Result<()> {
    let connection = dial(path)?;
    let message = Request::List.encode().ok_or(io::ErrorKind::InvalidInput)?;
    send(connection.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL)?;
    match recv(connection.as_raw_fd(), &mut [0; 64], MsgFlags::empty())? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn status(connection: &OwnedFd) -> io::Result<i32> {
    let mut reply = [0; 64];
    let bytes = recv(connection.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    match Reply::decode(&reply[..bytes]) {
        Ok(Reply::Status(status)) => Ok(status.get()),
        Ok(Reply::Listing(_)) => Err(io::Error::other("a listing, unasked")),
        Err(malformed) => Err(io::Error::other(malformed)),
    }
}
