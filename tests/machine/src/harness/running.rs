//! A call that runs while a test looks at it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::process::Pid;

/// A caller, and what its command prints.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a caller. Its rule must see to it that the command ends.
    pub(crate) fn begin(words: &[String]) -> Self {
        let (program, args) = words.split_first().expect("there is a program");
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a caller can be started");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, stdout }
    }

    /// The next line that the command prints, a pid.
    #[track_caller]
    pub(crate) fn pid(&mut self) -> Pid {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a pipe can be read");
        Pid(line.trim().parse().unwrap_or_else(|_| panic!("no pid: {line:?}")))
    }

    /// Kills the caller.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// What the caller exits with.
    pub(crate) fn code(mut self) -> Option<i32> {
        self.child.wait().expect("a child can be waited for").code()
    }
}
