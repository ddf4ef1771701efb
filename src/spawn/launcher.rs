//! A launcher: a process that waits for one plan and becomes its command. It has one thread, so it is ordinary code;
//! what fails on the way is told to the broker, step and errno, and never looks like an exit of the command's.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, getppid, setsid};

use crate::limits::{MESSAGE_BYTES_MAX, REQUEST_FDS};
use crate::sys;

use super::plan::{Plan, Stdio};

/// What a launcher could not do. Nothing of the command ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step.
    pub step: Step,
    /// What it gave.
    pub errno: Errno,
}

/// The steps of a launcher that can fail, as records name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Receiving the plan.
    Plan,
    /// Beginning a session of its own.
    Setsid,
    /// Setting the limit of descriptors.
    Limits,
    /// Putting stdin, stdout and stderr in place.
    Stdio,
    /// Becoming the one that inherits the command's orphans.
    Subreaper,
    /// Entering the working directory.
    Chdir,
    /// Becoming the program.
    Exec,
}

impl Step {
    const ALL: [Self; 7] =
        [Self::Plan, Self::Setsid, Self::Limits, Self::Stdio, Self::Subreaper, Self::Chdir, Self::Exec];

    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Setsid => "setsid",
            Self::Limits => "limits",
            Self::Stdio => "stdio",
            Self::Subreaper => "subreaper",
            Self::Chdir => "chdir",
            Self::Exec => "exec",
        }
    }
}

impl Failure {
    /// The plan could not be handed over.
    pub(super) fn of_plan(source: &io::Error) -> Self {
        Self { step: Step::Plan, errno: errno(source) }
    }

    /// Shape: the step's place in [`Step::ALL`], then the errno, `i32` little-endian.
    fn encode(self) -> [u8; 5] {
        let step = Step::ALL.iter().position(|step| *step == self.step).unwrap_or_default();
        let [a, b, c, d] = (self.errno as i32).to_le_bytes();
        [u8::try_from(step).unwrap_or_default(), a, b, c, d]
    }

    /// What a launcher reported before it ended; `None` when it became the command.
    pub(super) fn read(stream: &UnixStream) -> Option<Self> {
        let mut report = [0; 5];
        stream.set_nonblocking(true).ok()?;
        let mut stream = stream;
        stream.read_exact(&mut report).ok()?;
        let [step, errno @ ..] = report;
        let step = *Step::ALL.get(usize::from(step))?;
        Some(Self { step, errno: Errno::from_raw(i32::from_le_bytes(errno)) })
    }
}

/// The rest of a launcher's life. Returns only when there is no command: the broker left, or a step failed.
pub(super) fn run(stream: OwnedFd, broker: Pid, open_files: u64) -> ExitCode {
    // The signal follows across exec; asked for before looking, so that a broker that dies in between is noticed.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != broker {
        return ExitCode::FAILURE;
    }
    rehearse();
    let mut stream = UnixStream::from(stream);
    let Ok((plan, stdio)) = receive(&mut stream) else { return ExitCode::FAILURE };
    let Err(failure) = become_command(&plan, &stdio, open_files);
    // A broker that is gone needs no report.
    drop(stream.write_all(&failure.encode()));
    ExitCode::FAILURE
}

/// Goes once, to no effect, through what it will do: a copied process pays for each page that it touches for the first
/// time, and nobody waits for it yet.
fn rehearse() {
    let nothing = CString::default();
    let (argv, environment) = (vec![nothing.clone()], vec![nothing.clone()]);
    let plan = Plan { program: nothing.clone(), cwd: nothing, argv, environment, umask: 0 };
    if let Ok(plan) = Plan::decode(&plan.encode()[4..]) {
        // Nothing has no name: ENOENT.
        execve(&plan.program, &plan.argv, &plan.environment).ok();
    }
}

fn receive(stream: &mut UnixStream) -> io::Result<(Plan, Stdio)> {
    let head = sys::receive(stream.as_fd(), 4)?;
    let length = head.bytes.try_into().map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length.min(4 * MESSAGE_BYTES_MAX)];
    stream.read_exact(&mut bytes)?;
    let plan = Plan::decode(&bytes).map_err(io::Error::other)?;
    let stdio: [OwnedFd; REQUEST_FDS] =
        head.descriptors.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((plan, Stdio(stdio)))
}

/// What the command starts with: a session of its own without a terminal, three descriptors, the rule's mask, place
/// and environment. Signals are the nursery's already, and limits, but for the one of descriptors.
fn become_command(plan: &Plan, stdio: &Stdio, open_files: u64) -> Result<Infallible, Failure> {
    at(Step::Setsid, setsid())?;
    at(Step::Limits, limit_descriptors(open_files))?;
    at(Step::Subreaper, prctl::set_child_subreaper(true))?;
    let Stdio([stdin, stdout, stderr]) = stdio;
    at(Step::Stdio, dup2_stdin(stdin).and_then(|()| dup2_stdout(stdout)).and_then(|()| dup2_stderr(stderr)))?;
    // All others are close-on-exec already; this holds when one day one is not.
    sys::close_on_exec_from(3).map_err(|source| Failure { step: Step::Stdio, errno: errno(&source) })?;
    umask(Mode::from_bits_truncate(plan.umask));
    at(Step::Chdir, chdir(plan.cwd.as_c_str()))?;
    at(Step::Exec, execve(&plan.program, &plan.argv, &plan.environment))
}

fn limit_descriptors(open_files: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, open_files.min(hard), hard)
}

fn at<T>(step: Step, result: nix::Result<T>) -> Result<T, Failure> {
    result.map_err(|errno| Failure { step, errno })
}

fn errno(source: &io::Error) -> Errno {
    Errno::from_raw(source.raw_os_error().unwrap_or(0))
}
