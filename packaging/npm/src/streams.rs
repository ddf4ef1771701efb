//! The stdin, stdout and stderr of a command, and this process's ends of those that are pipes. All are
//! close-on-exec.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use napi::bindgen_prelude::Result;
use nix::fcntl::OFlag;
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
    /// This process's ends.
    pub(crate) own: [Option<OwnedFd>; 3],
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
        Ok(Self { theirs, own: [stdin_end, stdout_end, stderr_end] })
    }
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
