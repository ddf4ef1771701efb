//! Programs that a test runs to their end.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::process::{Command, Output, Stdio};

/// The deadline of any program.
const PROGRAM_MAX: &str = "60";

/// What `sluicify` exits with when the broker stops.
pub(crate) const STOPPING: i32 = 138;

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    line: String,
    output: Output,
}

/// Runs a program with nothing on its stdin; `timeout` sees to it that it ends.
pub(crate) fn run(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", PROGRAM_MAX]).args(words).stdin(Stdio::null());
    // Messages are looked for in English, and on lines of their own.
    command.env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
    let line = format!("{command:?}");
    Ended { line, output: command.output().expect("coreutils are installed") }
}

/// Runs `sluice` with these words.
pub(crate) fn sluice(words: &[&str]) -> Ended {
    let program = env::var("SLUICE_BIN").unwrap_or_else(|_| "sluice".to_owned());
    run([&[&*program], words].concat())
}

impl Ended {
    /// It exited with this code.
    #[track_caller]
    pub(crate) fn exited(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        self
    }

    /// It did not exit with 0.
    #[track_caller]
    pub(crate) fn failed(self) -> Self {
        assert!(!self.output.status.success(), "{self}");
        self
    }

    /// Its stdout is exactly this.
    #[track_caller]
    pub(crate) fn printed(self, text: &str) -> Self {
        assert_eq!(self.stdout(), text, "{self}");
        self
    }

    /// It said nothing on stdout or stderr.
    #[track_caller]
    pub(crate) fn silent(self) -> Self {
        assert!(self.output.stdout.is_empty() && self.output.stderr.is_empty(), "{self}");
        self
    }

    /// Every part is in what it said on stdout or stderr.
    #[track_caller]
    pub(crate) fn said(self, parts: &[&str]) -> Self {
        let said = self.to_string();
        for part in parts {
            assert!(said.contains(part), "nothing of {part:?} in\n{self}");
        }
        self
    }

    /// Its exit code, if it had one.
    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Its stdout as text.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output { status, stdout, stderr } = &self.output;
        let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        write!(f, "{}\n{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", self.line)
    }
}
