//! The test's end of a command's stdout or stderr.

use std::io::Read as _;
use std::os::fd::OwnedFd;

/// One end of a pipe, and what came out of it.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) pipe: Option<std::io::PipeReader>,
    pub(super) bytes: Vec<u8>,
    /// What came before these, and was looked at already.
    pub(super) taken: Vec<u8>,
}

impl Output {
    /// What the command gets, and what comes of it: nothing where the test gave a descriptor.
    pub(super) fn through(given: Option<OwnedFd>) -> (OwnedFd, Self) {
        if let Some(given) = given {
            return (given, Self { pipe: None, bytes: Vec::new(), taken: Vec::new() });
        }
        let (read, write) = std::io::pipe().expect("a pipe can be made");
        (write.into(), Self { pipe: Some(read), bytes: Vec::new(), taken: Vec::new() })
    }

    /// All that ever came out.
    pub(super) fn came(&self) -> Vec<u8> {
        [&*self.taken, &*self.bytes].concat()
    }

    /// What is there now; at the end, the pipe is let go.
    pub(super) fn read(&mut self) {
        let mut buffer = vec![0; 1 << 16];
        let bytes = self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(&mut buffer)).unwrap_or(0);
        self.bytes.extend(&buffer[..bytes]);
        if bytes == 0 {
            self.pipe = None;
        }
    }
}
