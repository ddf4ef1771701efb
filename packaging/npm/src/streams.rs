//! The stdin, stdout and stderr of a command, and this process's ends of those that are pipes. All are
//! close-on-exec.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use napi::bindgen_prelude::Result;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::{c_int, dev_t, ino_t};
use nix::sys::stat::fstat;
use nix::unistd::pipe2;
use sluice::sys::copy_descriptor;

use crate::asking::thrown;

/// In the place of a descriptor's number: a new pipe.
pub(crate) const PIPE: i32 = -1;

/// In the place of a descriptor's number: /dev/null.
pub(crate) const NOTHING: i32 = -2;

/// What a command gets. Requests at several places share it.
pub(crate) type CommandStdio = [Arc<OwnedFd>; 3];

/// The streams of one call.
#[derive(Debug)]
pub(crate) struct CallStreams {
    pub(crate) theirs: CommandStdio,
    pub(crate) own: OwnEnds,
}

impl CallStreams {
    /// The streams that three numbers stand for. Errors: one of them is not open; too many descriptors.
    pub(crate) fn new(numbers: &[i32]) -> Result<Self> {
        let &[stdin, stdout, stderr] = numbers else {
            return Err(napi::Error::from_reason("stdio has three members"));
        };
        let (stdin, stdin_end) = stream(stdin, true).map_err(thrown)?;
        let (stdout, stdout_end) = stream(stdout, false).map_err(thrown)?;
        let (stderr, stderr_end) = stream(stderr, false).map_err(thrown)?;
        let theirs = [stdin, stdout, stderr].map(Arc::new);
        let own = OwnEnds::new([stdin_end, stdout_end, stderr_end]).map_err(thrown)?;
        Ok(Self { theirs, own })
    }
}

/// This process's ends of a command's pipes, until sockets of JavaScript's have them.
#[derive(Debug)]
pub(crate) struct OwnEnds([Option<OwnEnd>; 3]);

impl OwnEnds {
    fn new(ends: [Option<OwnedFd>; 3]) -> io::Result<Self> {
        let [stdin, stdout, stderr] = ends.map(|end| end.map(OwnEnd::new).transpose());
        Ok(Self([stdin?, stdout?, stderr?]))
    }

    /// Their numbers; -1 for one that is not there.
    pub(crate) fn numbers(&self) -> Vec<i32> {
        self.0.iter().map(|end| end.as_ref().map_or(-1, OwnEnd::number)).collect()
    }

    /// Leaves the end of this index to a socket, which closes it.
    pub(crate) fn release(&mut self, index: usize) {
        if let Some(end) = self.0.get_mut(index).and_then(Option::take) {
            end.leave();
        }
    }
}

/// An end of a pipe. JavaScript can be ended after a socket took its number and before it says so. That
/// socket is closed first, and the number may be another's by now: the end is closed where it is still that
/// of its pipe.
#[derive(Debug)]
struct OwnEnd {
    /// `None` once it was left.
    end: Option<OwnedFd>,
    pipe: PipeEnd,
}

/// A pipe and one of its ends: the numbers of its device and inode, and the way in which it was opened.
type PipeEnd = (dev_t, ino_t, c_int);

impl OwnEnd {
    fn new(end: OwnedFd) -> io::Result<Self> {
        let pipe = pipe_end(&end)?;
        Ok(Self { end: Some(end), pipe })
    }

    fn number(&self) -> i32 {
        self.end.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Does not close it.
    fn leave(mut self) {
        let_go(self.end.take());
    }
}

impl Drop for OwnEnd {
    fn drop(&mut self) {
        if self.end.as_ref().is_some_and(|end| pipe_end(end).ok() != Some(self.pipe)) {
            let_go(self.end.take());
        }
    }
}

fn let_go(end: Option<OwnedFd>) {
    end.map(OwnedFd::into_raw_fd);
}

fn pipe_end(end: &OwnedFd) -> io::Result<PipeEnd> {
    let file = fstat(end)?;
    let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL)?);
    Ok((file.st_dev, file.st_ino, (flags & OFlag::O_ACCMODE).bits()))
}

/// A command's descriptor, and this process's end of it.
fn stream(number: i32, is_read: bool) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    match number {
        PIPE => {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            Ok(if is_read { (read, Some(write)) } else { (write, Some(read)) })
        }
        NOTHING => Ok((OpenOptions::new().read(true).write(true).open("/dev/null")?.into(), None)),
        number => Ok((copy_descriptor(number)?, None)),
    }
}
