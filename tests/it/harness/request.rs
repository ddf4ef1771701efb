//! A call before it is sent: its words, its stdio, the socket it goes to.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::answer::Answer;
use super::broker::Broker;
use super::call::Running;
use super::connection::Connection;
use super::frame::frame;
use super::output::Output;

/// A call that is not sent yet.
#[derive(Debug)]
pub(crate) struct Request<'b> {
    broker: &'b Broker,
    socket: PathBuf,
    words: Vec<Vec<u8>>,
    stdin: Vec<u8>,
    keeps_stdin: bool,
    given: [Option<OwnedFd>; 3],
    from: Option<usize>,
}

impl<'b> Request<'b> {
    pub(crate) fn new(broker: &'b Broker, words: &[impl AsRef<[u8]>]) -> Self {
        let words = words.iter().map(|word| word.as_ref().to_vec()).collect();
        let given = [None, None, None];
        Self {
            broker,
            socket: broker.socket(),
            words,
            stdin: Vec::new(),
            keeps_stdin: false,
            given,
            from: None,
        }
    }

    /// These bytes on stdin, then its end.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Stdin stays open until the test closes it.
    pub(crate) fn stdin_open(mut self) -> Self {
        self.keeps_stdin = true;
        self
    }

    /// This descriptor instead of a pipe, as the command's 0, 1 or 2.
    pub(crate) fn given(mut self, number: usize, fd: impl Into<OwnedFd>) -> Self {
        self.given[number] = Some(fd.into());
        self
    }

    /// One of many: the manifest is not read to see where this call begins in it.
    pub(crate) fn quick(mut self) -> Self {
        self.from = Some(0);
        self
    }

    /// Another socket than the broker's first.
    pub(crate) fn over(mut self, socket: &Path) -> Self {
        self.socket = socket.to_owned();
        self
    }

    /// Connects and sends.
    #[track_caller]
    pub(crate) fn begin(self) -> Running<'b> {
        let from = self.from.unwrap_or_else(|| self.broker.records().len());
        let (in_read, in_write) = std::io::pipe().expect("a pipe can be made");
        let [stdin, stdout, stderr] = self.given;
        let stdin = stdin.unwrap_or_else(|| in_read.into());
        let (stdout, out) = Output::through(stdout);
        let (stderr, err) = Output::through(stderr);
        let connection = Connection::open(&self.socket).expect("the broker listens");
        connection.send(&frame(&self.words), &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
        let feed = (self.keeps_stdin || !self.stdin.is_empty()).then_some(in_write);
        Running {
            broker: self.broker,
            words: self.words,
            connection: Some(connection),
            reply: None,
            stdin: feed,
            feed: self.stdin,
            keeps_stdin: self.keeps_stdin,
            outputs: [out, err],
            from,
            began: Instant::now(),
        }
    }

    /// Connects, sends, and waits for the answer.
    #[track_caller]
    pub(crate) fn run(self) -> Answer<'b> {
        self.begin().wait()
    }
}
