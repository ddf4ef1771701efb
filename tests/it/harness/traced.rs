//! strace on a running broker: one of its system calls fails, or is its last.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use super::broker::Broker;
use super::needs::needs_strace;
use super::process::Pid;
use super::wait::{SOON, found};

/// An strace that is attached to every thread of a broker. Counts of system calls are each thread's own.
#[derive(Debug)]
pub(crate) struct Traced(Child);

impl Traced {
    /// From its `from`th on, the system call fails with this error, in every thread.
    pub(crate) fn failing(broker: &Broker, call: &str, errno: &str, from: u32) -> Option<Self> {
        Self::attach(broker, &["-e", &format!("inject={call}:error={errno}:when={from}+")])
    }

    /// Each thread's `at`th system call of this name fails with this error.
    pub(crate) fn failing_once(broker: &Broker, call: &str, errno: &str, at: u32) -> Option<Self> {
        Self::attach(broker, &["-e", &format!("inject={call}:error={errno}:when={at}")])
    }

    /// Each system call of these names, separated by commas, takes 20 s longer. A broker that ends meanwhile
    /// is seen to have ended when they are over.
    pub(crate) fn hanging(broker: &Broker, calls: &str) -> Option<Self> {
        Self::attach(broker, &["-e", &format!("inject={calls}:delay_enter=20000000")])
    }

    /// The first thread to reach its `at`th system call of this name takes the broker with it.
    pub(crate) fn fatal(broker: &Broker, call: &str, at: u32) -> Option<Self> {
        Self::attach(broker, &["-e", &format!("inject={call}:signal=KILL:when={at}")])
    }

    /// Each process below the broker is killed when it begins its first system call of this name.
    pub(crate) fn commands_killed(broker: &Broker, call: &str) -> Option<Self> {
        // One that was being made by one that was not traced yet is not traced either.
        loop {
            let pids: Vec<_> = broker.pid().children().iter().map(|pid| pid.0.to_string()).collect();
            let traced = Self::attach_to(&pids, &["-e", &format!("inject={call}:signal=KILL")])?;
            if broker.pid().children().iter().all(|pid| pid.status("TracerPid").is_some_and(|pid| pid > 0)) {
                return Some(traced);
            }
        }
    }

    /// Writes every system call to this file.
    pub(crate) fn listing(broker: &Broker, path: &std::path::Path) -> Option<Self> {
        Self::attach(broker, &["-o", &path.to_string_lossy()])
    }

    fn attach(broker: &Broker, args: &[&str]) -> Option<Self> {
        Self::attach_to(&[broker.pid().0.to_string()], args)
    }

    /// Returns when it is attached to all of these, and all that they start from then on; `None` where there
    /// is no strace, and for a process that has ended.
    fn attach_to(pids: &[String], args: &[&str]) -> Option<Self> {
        if !needs_strace() {
            return None;
        }
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pids.join(",")]);
        if !args.contains(&"-o") {
            command.args(["-o", "/dev/null"]);
        }
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("strace can be started");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        for _ in pids {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && !line.contains(" attached") {}
            if !line.contains(" attached") {
                child.kill().ok();
                child.wait().expect("a child can be waited for");
                return None;
            }
        }
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Some(Self(child))
    }

    /// Lets the broker go on alone.
    pub(crate) fn end(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        Pid(i32::try_from(self.0.id()).expect("a pid fits")).signal(Signal::SIGINT);
        let ended = found(SOON, || self.0.try_wait().ok().flatten());
        if ended.is_none() {
            // It waits for a thread whose process is gone.
            self.0.kill().expect("a child of ours can be killed");
            self.0.wait().expect("a child can be waited for");
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.finish();
        }
    }
}
