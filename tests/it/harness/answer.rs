//! What came of a call, and what a test can say about it. Each assertion gives the answer back, so that a
//! test reads as a transcript; a failing one shows everything there is to see.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::connection::Reply;
use super::frame::Status;
use super::manifest::Record;
use super::process::Pid;

/// The reply to a call, its output, and where in the manifest it begins.
#[derive(Debug)]
pub(crate) struct Answer<'b> {
    pub(crate) broker: &'b Broker,
    pub(crate) asked: String,
    pub(crate) reply: Reply,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) from: usize,
    pub(crate) took: Duration,
}

impl<'b> Answer<'b> {
    /// Sends any bytes with any descriptors, and waits for what comes back.
    pub(crate) fn raw(broker: &'b Broker, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Self {
        let from = broker.records().len();
        let began = Instant::now();
        let connection = broker.connect();
        connection.send(bytes, fds);
        let reply = connection.reply();
        let head = bytes[..bytes.len().min(48)].escape_ascii().to_string();
        let asked = format!("{} bytes with {} descriptors: {head}", bytes.len(), fds.len());
        Self { broker, asked, reply, stdout: Vec::new(), stderr: Vec::new(), from, took: began.elapsed() }
    }

    /// The command ran and exited with this.
    #[track_caller]
    pub(crate) fn exited(self, code: i32) -> Self {
        self.answered(Status(code))
    }

    /// A signal ended the command.
    #[track_caller]
    pub(crate) fn died_of(self, signal: nix::sys::signal::Signal) -> Self {
        self.answered(Status(128 + nix::libc::c_int::from(signal as i32)))
    }

    /// The broker's own word, instead of an exit status.
    #[track_caller]
    pub(crate) fn refused(self, status: Status) -> Self {
        self.answered(status)
    }

    /// The reply is this status and nothing else.
    #[track_caller]
    pub(crate) fn answered(self, status: Status) -> Self {
        if self.reply != Reply::Status(status) {
            self.fail(&format!("want status {status:?}"));
        }
        self
    }

    /// Stdout is exactly this.
    #[track_caller]
    pub(crate) fn printed(self, text: &str) -> Self {
        if self.stdout != text.as_bytes() {
            self.fail(&format!("want stdout {text:?}"));
        }
        self
    }

    /// Stderr is exactly this.
    #[track_caller]
    pub(crate) fn complained(self, text: &str) -> Self {
        if self.stderr != text.as_bytes() {
            self.fail(&format!("want stderr {text:?}"));
        }
        self
    }

    /// Stdout is a pid, and its process does not run any more.
    #[track_caller]
    pub(crate) fn printed_pid_is_gone(self) -> Self {
        let pids: Vec<_> = self.text().split_whitespace().map(|pid| pid.parse().map(Pid)).collect();
        if pids.is_empty() || pids.iter().any(Result::is_err) {
            self.fail("want pids on stdout");
        }
        if let Some(pid) = pids.into_iter().flatten().find(|pid| pid.runs()) {
            let line = pid.command_line();
            pid.signal(nix::sys::signal::Signal::SIGKILL);
            self.fail(&format!("process {} outlives its call: {line}", pid.0));
        }
        self
    }

    /// The reply took at least this, and less than that.
    #[track_caller]
    pub(crate) fn took(self, least: Duration, most: Duration) -> Self {
        if self.took < least || self.took >= most {
            self.fail(&format!("want a reply between {least:?} and {most:?}"));
        }
        self
    }

    /// The call's records are exactly these, in order.
    #[track_caller]
    pub(crate) fn audited<const N: usize>(self, patterns: [&str; N]) -> Self {
        let records = self.records();
        let fit =
            records.len() == N && records.iter().zip(patterns).all(|(record, pattern)| record.is(pattern));
        if !fit {
            self.fail(&format!("want records {patterns:?}"));
        }
        self
    }

    /// The only record of this kind since the call began.
    #[track_caller]
    pub(crate) fn record(&self, kind: &str) -> Record {
        let mut records = self.records().into_iter().filter(|record| record.kind() == kind);
        match (records.next(), records.next()) {
            (Some(record), None) => record,
            (Some(_) | None, _) => self.fail(&format!("want one record of kind {kind:?}")),
        }
    }

    /// Stdout as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails with everything there is to see.
    #[track_caller]
    pub(crate) fn fail(&self, want: &str) -> ! {
        let Self { asked, reply, took, .. } = self;
        let stdout = self.stdout.escape_ascii();
        let stderr = self.stderr.escape_ascii();
        let rest = self.broker.transcript(self.from);
        panic!(
            "{want}\n--- asked\n{asked}\n--- reply after {took:?}\n{reply:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}{rest}"
        )
    }

    fn records(&self) -> Vec<Record> {
        let records = self.broker.records().into_iter().skip(self.from);
        records.filter(|record| ["start", "exit", "reject"].contains(&record.kind())).collect()
    }
}
