//! One call over a connection of its own, with pipes that the test holds the other ends of. One loop feeds
//! stdin and drains stdout and stderr, so that no full pipe can hold a test up.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};

use super::answer::Answer;
use super::broker::Broker;
use super::connection::{Connection, Reply};
use super::invariants;
use super::output::Output;
use super::process::Pid;
use super::wait::SOON;

/// What a pipe takes without blocking once it is writable.
const PIPE_BYTES: usize = 4096;

/// How long output may still come after the reply, where a command left something running.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Running<'b> {
    pub(super) broker: &'b Broker,
    pub(super) words: Vec<Vec<u8>>,
    pub(super) connection: Option<Connection>,
    pub(super) reply: Option<Reply>,
    pub(super) stdin: Option<std::io::PipeWriter>,
    pub(super) feed: Vec<u8>,
    pub(super) keeps_stdin: bool,
    pub(super) outputs: [Output; 2],
    pub(super) from: usize,
    pub(super) began: Instant,
}

impl<'b> Running<'b> {
    /// The first line on stdout, without its end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.until(SOON, "a line on stdout", |call| call.outputs[0].bytes.contains(&b'\n'));
        let end = self.outputs[0].bytes.iter().position(|&byte| byte == b'\n').expect("there is a line");
        let line: Vec<_> = self.outputs[0].bytes.drain(..=end).collect();
        self.outputs[0].taken.extend(&line);
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

    /// The caller has no more to say; it still listens.
    pub(crate) fn close_sending(&mut self) {
        let fd = self.connection.as_ref().map(|connection| connection.as_fd().as_raw_fd());
        shutdown(fd.expect("the caller is there"), Shutdown::Write)
            .expect("a connected socket can be shut down");
    }

    /// The caller's connection alone, to be held while the broker is killed: a call whose caller is gone
    /// ends.
    pub(crate) fn stay(mut self) -> Connection {
        self.connection.take().expect("the caller is there")
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
        let outputs = [("stdout", stdout.came()), ("stderr", stderr.came())];
        let argv: Vec<_> = self.words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        invariants::what_came_is_captured(self.broker, self.from, &argv, outputs);
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
