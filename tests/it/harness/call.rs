//! One call over a connection of its own, with pipes that the test holds the other ends of. One loop feeds stdin and
//! drains stdout and stderr, so that no full pipe can hold a test up.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::answer::Answer;
use super::broker::Broker;
use super::connection::{Connection, Reply};
use super::frame::frame;
use super::process::Pid;
use super::wait::SOON;

/// What a pipe takes without blocking once it is writable.
const PIPE_BYTES: usize = 4096;

/// How long output may still come after the reply, where a command left something running.
const AFTERWARDS: Duration = Duration::from_millis(500);

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

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Running<'b> {
    broker: &'b Broker,
    words: Vec<Vec<u8>>,
    connection: Option<Connection>,
    reply: Option<Reply>,
    stdin: Option<std::io::PipeWriter>,
    feed: Vec<u8>,
    keeps_stdin: bool,
    outputs: [Output; 2],
    from: usize,
    began: Instant,
}

#[derive(Debug)]
struct Output {
    pipe: Option<std::io::PipeReader>,
    bytes: Vec<u8>,
}

impl Output {
    /// What the command gets, and what comes of it: nothing where the test gave a descriptor.
    fn through(given: Option<OwnedFd>) -> (OwnedFd, Self) {
        if let Some(given) = given {
            return (given, Self { pipe: None, bytes: Vec::new() });
        }
        let (read, write) = std::io::pipe().expect("a pipe can be made");
        (write.into(), Self { pipe: Some(read), bytes: Vec::new() })
    }

    fn read(&mut self) {
        let mut buffer = vec![0; 1 << 16];
        let bytes = self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(&mut buffer)).unwrap_or(0);
        self.bytes.extend(&buffer[..bytes]);
        if bytes == 0 {
            self.pipe = None;
        }
    }
}

impl<'b> Running<'b> {
    /// The first line on stdout, without its end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.until(SOON, "a line on stdout", |call| call.outputs[0].bytes.contains(&b'\n'));
        let end = self.outputs[0].bytes.iter().position(|&byte| byte == b'\n').expect("there is a line");
        let line: Vec<_> = self.outputs[0].bytes.drain(..=end).collect();
        String::from_utf8_lossy(&line[..end]).into_owned()
    }

    /// The first line on stdout, which is the pid of a process.
    #[track_caller]
    pub(crate) fn pid(&mut self) -> Pid {
        let line = self.line();
        Pid(line.trim().parse().unwrap_or_else(|_| panic!("{line:?} is no pid")))
    }

    /// Bytes on a stdin that is kept open.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is kept open");
        stdin.write_all(bytes).expect("the command reads");
    }

    /// The end of stdin.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The caller goes away: its connection closes.
    pub(crate) fn hang_up(&mut self) {
        self.connection = None;
    }

    /// The caller closes its end of stdout.
    pub(crate) fn close_stdout(&mut self) {
        self.outputs[0].pipe = None;
    }

    /// Stdout and stderr come to their end: nothing holds them any more.
    #[track_caller]
    pub(crate) fn outputs_end(&mut self) {
        self.until(SOON, "the end of stdout and stderr", |call| {
            call.outputs.iter().all(|output| output.pipe.is_none())
        });
    }

    /// Whether the reply came already.
    pub(crate) fn is_answered(&mut self) -> bool {
        self.step(Duration::ZERO);
        self.reply.is_some()
    }

    /// The reply, and all output.
    #[track_caller]
    pub(crate) fn wait(self) -> Answer<'b> {
        self.wait_within(Duration::from_secs(60))
    }

    /// The reply before this deadline, and all output.
    #[track_caller]
    pub(crate) fn wait_within(mut self, limit: Duration) -> Answer<'b> {
        self.until(limit, "the reply", |call| call.reply.is_some());
        let took = self.began.elapsed();
        let end = Instant::now() + AFTERWARDS;
        while Instant::now() < end && self.outputs.iter().any(|output| output.pipe.is_some()) {
            self.step(Duration::from_millis(50));
        }
        let [stdout, stderr] = self.outputs;
        let words = self.words.iter().map(|word| format!("{:?}", String::from_utf8_lossy(word)));
        Answer {
            broker: self.broker,
            asked: words.collect::<Vec<_>>().join(" "),
            reply: self.reply.unwrap_or(Reply::Silent),
            stdout: stdout.bytes,
            stderr: stderr.bytes,
            from: self.from,
            took,
        }
    }

    #[track_caller]
    fn until(&mut self, limit: Duration, what: &str, ready: impl Fn(&Self) -> bool) {
        let end = Instant::now() + limit;
        while !ready(self) {
            if Instant::now() >= end {
                let [stdout, stderr] = &self.outputs;
                let [out, err] = [stdout, stderr].map(|output| String::from_utf8_lossy(&output.bytes));
                let reply = &self.reply;
                panic!(
                    "not within {limit:?}: {what}; reply {reply:?}\n--- stdout\n{out}\n--- stderr\n{err}{}",
                    self.broker.transcript(self.from)
                );
            }
            self.step(Duration::from_millis(50));
        }
    }

    /// Moves what can be moved now, or waits for that.
    fn step(&mut self, limit: Duration) {
        let mut fds = Vec::new();
        let reading = PollFlags::POLLIN;
        let fed = self.stdin.as_ref().filter(|_| !self.feed.is_empty());
        let waiting = self.connection.as_ref().filter(|_| self.reply.is_none());
        fds.extend(fed.map(|fd| (0, PollFd::new(fd.as_fd(), PollFlags::POLLOUT))));
        fds.extend(waiting.map(|fd| (1, PollFd::new(fd.as_fd(), reading))));
        for (number, output) in self.outputs.iter().enumerate() {
            fds.extend(output.pipe.as_ref().map(|fd| (2 + number, PollFd::new(fd.as_fd(), reading))));
        }
        let (numbers, mut polled): (Vec<_>, Vec<_>) = fds.into_iter().unzip();
        poll(&mut polled, PollTimeout::try_from(limit).expect("a short time")).expect("poll works");
        let ready: Vec<_> =
            numbers.into_iter().zip(&polled).filter(|(_, fd)| fd.any() == Some(true)).collect();
        let ready: Vec<usize> = ready.into_iter().map(|(number, _)| number).collect();
        ready.into_iter().for_each(|number| self.serve(number));
    }

    fn serve(&mut self, number: usize) {
        match number {
            0 => self.feed_stdin(),
            1 => self.reply = self.connection.as_ref().map(Connection::receive),
            _ => self.outputs[number - 2].read(),
        }
    }

    fn feed_stdin(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        let bytes = self.feed.len().min(PIPE_BYTES);
        let written = stdin.write(&self.feed[..bytes]);
        match written {
            Ok(written) => drop(self.feed.drain(..written)),
            Err(_) => self.feed.clear(),
        }
        if self.feed.is_empty() && !self.keeps_stdin {
            self.stdin = None;
        }
    }
}
