//! A running broker, what a test can ask of it, and the checks of its end.

use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::answer::Answer;
use super::call::Running;
use super::connection::{Connection, Reply};
use super::frame::header;
use super::invariants::{self, Fate};
use super::process::Pid;
use super::request::Request;
use super::setup::Setup;
use super::stderr::Stderr;
use super::wait::{SOON, found};

/// A rule that runs any shell script, for tests of what happens around a command.
pub(crate) const SHELL: &str = "/bin/sh -c #script\n  allow_any = script\n";

/// A broker of the test's own, stopped and checked when it is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(super) setup: Setup,
    pub(super) process: Option<Process>,
    fate: Fate,
    calm: Calm,
}

/// What a broker holds while no call runs; `None` for descriptors that it hides from us.
#[derive(Clone, Copy, Debug, Default)]
struct Calm {
    descriptors: Option<usize>,
    threads: u64,
}

/// A started program and what it says.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) stderr: Stderr,
}

impl Process {
    /// Follows a child's stderr.
    pub(crate) fn new(mut child: Child) -> Self {
        let stderr = Stderr::follow(child.stderr.take().expect("stderr is a pipe"));
        Self { child, stderr }
    }

    /// Its pid.
    pub(super) fn pid(&self) -> Pid {
        Pid(i32::try_from(self.child.id()).expect("a pid fits"))
    }

    /// Its exit code, when it ends soon; a signal counts as 128 and more.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let said = self.stderr.clone();
        let status = found(SOON, || self.child.try_wait().expect("a child can be waited for"));
        let status = status.unwrap_or_else(|| panic!("the broker does not end; it said:\n{}", said.text()));
        status.code().or(status.signal().map(|signal| 128 + signal))
    }
}

impl Broker {
    /// The rules of a broker to be.
    #[expect(clippy::new_ret_no_self, reason = "a transcript begins with `Broker::new(rules)`")]
    pub(crate) fn new(rules: &str) -> Setup {
        Setup::new(rules)
    }

    /// A running broker with the one rule that runs any shell script.
    #[track_caller]
    pub(crate) fn shell() -> Self {
        Self::new(SHELL).start()
    }

    pub(crate) fn stopped(setup: Setup) -> Self {
        Self { setup, process: None, fate: Fate::default(), calm: Calm::default() }
    }

    /// Starts it on the same directory, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.start_until("sluice: ready");
    }

    /// Starts it on the same directory, and waits until it says this.
    #[track_caller]
    pub(super) fn start_until(&mut self, said: &str) {
        assert!(self.process.is_none(), "it runs already");
        let process = self.setup.spawn();
        let stderr = process.stderr.clone();
        self.process = Some(process);
        self.setup.knock(&stderr);
        let line = stderr.line_with(said, 0, SOON);
        assert!(
            line.is_some(),
            "the broker does not say {said:?}; it said:\n{}\nrules:\n{}",
            stderr.text(),
            self.setup.text()
        );
        self.fate.is_dead = false;
        self.calm = Calm { descriptors: self.descriptors(), threads: self.threads() };
    }

    /// Starts it on the same directory, where it may refuse to; gives what it said.
    pub(crate) fn try_start_again(&mut self) -> String {
        let mut process = self.setup.spawn();
        let ready = process.stderr.line_with("sluice: ready", 0, SOON);
        if ready.is_some() {
            process.pid().signal(Signal::SIGTERM);
        }
        process.exit_code();
        process.stderr.whole(SOON)
    }

    // What a caller does.

    /// One call with pipes of its own and nothing on stdin, to its end.
    #[track_caller]
    pub(crate) fn call<const N: usize>(&self, words: [&str; N]) -> Answer<'_> {
        self.request(&words).begin().wait()
    }

    /// One call of a shell script, under the rule of [`SHELL`].
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Answer<'_> {
        self.call(["/bin/sh", "-c", script])
    }

    /// A shell script that a test talks to while it runs.
    pub(crate) fn begin_sh(&self, script: &str) -> Running<'_> {
        self.request(&["/bin/sh", "-c", script]).begin()
    }

    /// A call that is not sent yet.
    pub(crate) fn request(&self, words: &[impl AsRef<[u8]>]) -> Request<'_> {
        Request::new(self, words)
    }

    /// Any bytes with any descriptors, and what came back.
    pub(crate) fn raw(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Answer<'_> {
        Answer::raw(self, bytes, fds)
    }

    /// A connection that has said nothing yet.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.socket()).expect("the broker listens")
    }

    /// The listing; the test fails when there is none.
    #[track_caller]
    pub(crate) fn listing(&self) -> String {
        let null =
            std::fs::File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null");
        let fd = std::os::fd::AsFd::as_fd(&null);
        let answer = self.raw(&header(super::MAGIC, super::VERSION, 0), &[fd, fd, fd]);
        match &answer.reply {
            Reply::Listing(text) => text.clone(),
            Reply::Status(_) | Reply::Closed | Reply::Silent | Reply::Garbled(_) => answer.fail("no listing"),
        }
    }

    /// It still answers.
    #[track_caller]
    pub(crate) fn serves_on(&self) {
        self.listing();
    }

    // What an operator does.

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.pid().signal(signal);
    }

    /// Writes other rules, has them loaded, and gives the line that says how that went.
    #[track_caller]
    pub(crate) fn reload(&mut self, rules: &str) -> String {
        self.rewrite(rules);
        self.hup()
    }

    /// Writes other rules, for a later reload or start.
    pub(crate) fn rewrite(&mut self, rules: &str) {
        self.setup.rewrite(rules);
    }

    /// Has the rules file loaded again, and gives the line that says how that went.
    #[track_caller]
    pub(crate) fn hup(&self) -> String {
        let from = self.process().stderr.count();
        self.signal(Signal::SIGHUP);
        let said = self.process().stderr.line_with("sluice: reload", from, SOON);
        said.unwrap_or_else(|| panic!("no word on the reload{}", self.transcript(0)))
    }

    /// Stops it by SIGTERM; it must leave with 0.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.ends_with(0);
    }

    /// Stops it, and gives all that it said.
    #[track_caller]
    pub(crate) fn stop_and_read(&mut self) -> String {
        let said = self.process().stderr.clone();
        self.stop();
        said.whole(SOON)
    }

    /// It ends soon, and with this code.
    #[track_caller]
    pub(crate) fn ends_with(&mut self, code: i32) {
        let mut process = self.process.take().expect("the broker runs");
        let said = process.stderr.clone();
        assert_eq!(process.exit_code(), Some(code), "the broker's exit; it said:\n{}", said.text());
        assert!(!said.text().contains("panicked at"), "a thread of the broker's; it said:\n{}", said.text());
        self.fate.lost_records |= said.text().contains("cannot write /");
    }

    /// Kills it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        (self.fate.was_killed, self.fate.is_dead) = (true, true);
        let mut process = self.process.take().expect("the broker runs");
        process.child.kill().expect("a child of ours can be killed");
        process.child.wait().expect("a child can be waited for");
    }

    /// The running program.
    pub(super) fn process(&self) -> &Process {
        self.process.as_ref().expect("the broker runs")
    }

    /// Whether every call on record has ended, and none was let go on.
    fn is_calm(&self) -> bool {
        let count = |kind| self.records_of(kind).len();
        let keeps = ["background", "on_hangup"].iter().any(|key| self.rules().contains(key));
        !keeps && count("start") <= count("exit") + count("lost")
    }

    /// Stops it, and nothing that it ran is left.
    #[track_caller]
    fn end(&mut self) {
        if self.is_calm() {
            self.comes_back_to(self.calm.descriptors, self.calm.threads);
            self.runs_nothing();
        }
        let below = self.pid().descendants();
        let named: Vec<_> = below.iter().map(|pid| format!("{} {}", pid.0, pid.command_line())).collect();
        self.stop();
        let gone = found(Duration::from_secs(5), || below.iter().all(|pid| !pid.runs()).then_some(()));
        assert!(gone.is_some(), "processes outlive the broker, of: {named:?}");
    }
}

impl Broker {
    /// Below it there is nothing but its own: the nursery, and launchers that wait.
    #[track_caller]
    fn runs_nothing(&self) {
        // What could not be ended is said to be left.
        if self.records_of("exit left").is_empty() {
            let others = || {
                let below = self.pid().descendants().into_iter().filter(|pid| pid.runs());
                let named: Vec<_> = below.map(|pid| (pid, pid.command_line())).collect();
                named
                    .into_iter()
                    .filter(|(_, line)| !line.is_empty() && !line.starts_with("sluice nursery"))
                    .collect::<Vec<_>>()
            };
            let none = found(SOON, || others().is_empty().then_some(()));
            assert!(none.is_some(), "a call is over and runs on: {:?}{}", others(), self.transcript(0));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(process) = &mut self.process {
                process.child.kill().ok();
                process.child.wait().ok();
            }
            return;
        }
        if self.process.is_some() {
            self.end();
        }
        invariants::check(&self.manifest_path(), self.fate);
    }
}
