//! Programs that a test runs to their end: the two binaries, and Python for what only another process can do.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::skip::is_root;

/// The deadline of a program that only reads and prints.
const PROGRAM_MAX: &str = "120";

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    line: String,
    output: Output,
    took: Duration,
}

/// Runs `sluice` with these arguments.
pub(crate) fn sluice(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    run(sluice_bin(), args, b"")
}

/// Runs `sluicify` with these arguments and nothing on its stdin.
pub(crate) fn sluicify(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    run(sluicify_bin(), args, b"")
}

/// Runs `sluice serve` with these arguments.
pub(crate) fn serve(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    run(sluice_bin(), serve_words().iter().map(OsString::from).chain(args), b"")
}

/// The verb, with what it takes for whoever runs the tests: root has to say that it means it.
pub(crate) fn serve_words() -> &'static [&'static str] {
    if is_root() { &["serve", "--allow-root"] } else { &["serve"] }
}

/// Runs a Python program with these arguments.
pub(crate) fn python(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    run("python3".into(), [OsString::from("-c"), program.into()].into_iter().chain(args), b"")
}

/// The broker under test: the one that was built, or the one that `SLUICE_BIN` names.
pub(crate) fn sluice_bin() -> PathBuf {
    std::env::var_os("SLUICE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_sluice").into(), PathBuf::from)
}

/// The client under test: the one that was built, or the one that `SLUICIFY_BIN` names.
pub(crate) fn sluicify_bin() -> PathBuf {
    std::env::var_os("SLUICIFY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_sluicify").into(), PathBuf::from)
}

/// Runs a program to its end, with these bytes on its stdin; `timeout` sees to it that there is one.
pub(crate) fn run(
    program: PathBuf,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    stdin: &[u8],
) -> Ended {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", PROGRAM_MAX]).arg(program).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let line = format!("{command:?}");
    let began = Instant::now();
    let mut child = command.spawn().expect("coreutils are installed");
    let mut pipe = child.stdin.take().expect("stdin is a pipe");
    let bytes = stdin.to_vec();
    let feeder = std::thread::spawn(move || pipe.write_all(&bytes).ok());
    let output = child.wait_with_output().expect("a child can be waited for");
    feeder.join().expect("the feeder does not panic");
    Ended { line, output, took: began.elapsed() }
}

impl Ended {
    /// It exited with this code.
    #[track_caller]
    pub(crate) fn exited(self, code: i32) -> Self {
        assert_eq!(self.output.status.code(), Some(code), "{self}");
        self
    }

    /// Its stdout is exactly this.
    #[track_caller]
    pub(crate) fn printed(self, text: &str) -> Self {
        assert_eq!(self.stdout(), text, "{self}");
        self
    }

    /// Every part is in what it said on stdout or stderr.
    #[track_caller]
    pub(crate) fn said(self, parts: &[&str]) -> Self {
        let said = self.stdout() + &self.stderr();
        for part in parts {
            assert!(said.contains(part), "nothing of {part:?} in\n{self}");
        }
        self
    }

    /// Its stderr is one line, and holds every part.
    #[track_caller]
    pub(crate) fn complained(self, parts: &[&str]) -> Self {
        let stderr = self.stderr();
        assert_eq!(stderr.trim_end().lines().count(), 1, "one line on stderr\n{self}");
        for part in parts {
            assert!(stderr.contains(part), "nothing of {part:?} in\n{self}");
        }
        self
    }

    /// It took less than this.
    #[track_caller]
    pub(crate) fn in_less_than(self, limit: Duration) -> Self {
        assert!(self.took < limit, "took {:?}\n{self}", self.took);
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

    /// Its stderr as text.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Output { status, .. } = self.output;
        write!(f, "{}\n{status}\n--- stdout\n{}\n--- stderr\n{}", self.line, self.stdout(), self.stderr())
    }
}
