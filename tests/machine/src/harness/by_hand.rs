//! A broker that somebody starts in a terminal: no unit is its own, and nothing ends what it leaves when it
//! is killed.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::Signal;

use super::gate::Gate;
use super::process::Pid;

/// A broker without a unit, with a gate's rules at a gate's socket. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct ByHand {
    child: Child,
    /// It has somewhere to write to.
    _stderr: BufReader<ChildStderr>,
}

impl ByHand {
    /// Starts one, and waits until callers can come.
    #[track_caller]
    pub(crate) fn start(gate: &Gate) -> Self {
        let socket = gate.socket();
        fs::create_dir_all(socket.parent().expect("it is a path")).expect("an own directory can be made");
        let program = env::var("SLUICE_BIN").unwrap_or_else(|_| "sluice".to_owned());
        let mut command = Command::new(program);
        command.args(["serve", "--rules"]).arg(gate.rules_file()).arg("--socket").arg(socket);
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let mut said = String::new();
        while !said.lines().any(|line| line.starts_with("sluice: ready")) {
            let bytes = stderr.read_line(&mut said).expect("a pipe can be read");
            assert!(bytes > 0, "the broker did not start: {said}");
        }
        Self { child, _stderr: stderr }
    }

    /// Tells it to read its rules again, and to look where its manifest is.
    pub(crate) fn reload(&self) {
        Pid(i32::try_from(self.child.id()).expect("a pid")).signal(Signal::SIGHUP);
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().expect("a child can be waited for");
    }
}
