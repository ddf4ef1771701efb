//! A caller of version 2 that is already running: sends one request with `/dev/null` thrice and two pipes of
//! its own, on a new connection or on one that it keeps, and reads the frames until the end.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{pipe2, read};
use sluice::ids::ClaimedWord;
use sluice::wire::v2::{Frame, FrameReader, PipedRequest};

use crate::caller::dial;

/// A wait for frames that takes longer than this is a failure.
const FRAME_MS_MAX: u16 = 30_000;

/// One request, encoded once and sent any number of times, by any number of threads.
#[derive(Debug)]
pub struct PipedCaller {
    socket: PathBuf,
    message: Vec<u8>,
    null: File,
    /// The connection of all its requests; `None` where each has its own.
    kept: Option<OwnedFd>,
}

impl PipedCaller {
    /// A caller of `words` on the broker at `socket`, with a new connection for each call.
    pub fn new(socket: &Path, words: &[&str]) -> io::Result<Self> {
        let words = words.iter().filter_map(|word| ClaimedWord::new(*word)).collect();
        let message = PipedRequest::Call(words).encode().ok_or(io::ErrorKind::InvalidInput)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Self { socket: socket.to_owned(), message, null, kept: None })
    }

    /// The same with one connection for all calls. The first of them is made here: a broker closes a
    /// connection on which nothing comes.
    pub fn kept(socket: &Path, words: &[&str]) -> io::Result<Self> {
        let caller = Self { kept: Some(dial(socket)?), ..Self::new(socket, words)? };
        caller.call().map(|_| caller)
    }

    /// One call: the status that the broker answers.
    pub fn call(&self) -> io::Result<i32> {
        match &self.kept {
            Some(connection) => self.ask(connection),
            None => self.ask(&dial(&self.socket)?),
        }
    }

    fn ask(&self, connection: &OwnedFd) -> io::Result<i32> {
        let (reply, far_reply) = pipe2(OFlag::O_CLOEXEC)?;
        let (far_control, control) = pipe2(OFlag::O_CLOEXEC)?;
        let null = self.null.as_raw_fd();
        let fds = [null, null, null, far_reply.as_raw_fd(), far_control.as_raw_fd()];
        let (payload, rights) = ([IoSlice::new(&self.message)], [ControlMessage::ScmRights(&fds)]);
        sendmsg::<()>(connection.as_raw_fd(), &payload, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
        drop((far_reply, far_control));
        let status = status(reply.as_fd());
        // Its close before the end would end the call.
        drop(control);
        status
    }
}

fn status(reply: BorrowedFd<'_>) -> io::Result<i32> {
    let mut frames = FrameReader::new();
    let mut piece = [0; 256];
    loop {
        match frames.next_frame().map_err(io::Error::other)? {
            Some(Frame::Done(end)) => return Ok(end.status.get()),
            Some(Frame::Refused { reason, .. }) => return Err(io::Error::other(reason)),
            Some(Frame::Listing(_)) => return Err(io::Error::other("a listing, unasked")),
            Some(Frame::Queued { .. } | Frame::Started { .. }) => continue,
            None => {}
        }
        if poll(&mut [PollFd::new(reply, PollFlags::POLLIN)], PollTimeout::from(FRAME_MS_MAX))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match read(reply, &mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => frames.push(&piece[..length]),
        }
    }
}
