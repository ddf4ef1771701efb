//! A launcher: a process that waits for one plan and becomes its command. What fails on the way is told to the broker,
//! step and errno, and never looks like an exit of the command's.
//!
//! Until then it lives in the nursery's memory (`sys/berth.rs`), where others run too: nothing here allocates, or can
//! panic, and what may well fail is asked of the kernel without `errno`.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, getppid, setsid};

use crate::limits::MESSAGE_BYTES_MAX;
use crate::sys::{self, Room};

use super::plan::Orders;

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
        let whole = sys::receive_now(stream.as_fd(), &mut report).ok()? == report.len();
        let [step, errno @ ..] = Some(report).filter(|_| whole)?;
        let step = *Step::ALL.get(usize::from(step))?;
        Some(Self { step, errno: Errno::from_raw(i32::from_le_bytes(errno)) })
    }
}

/// What a launcher is born with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth {
    /// Its stream, among the descriptors that it has copies of.
    pub(super) stream: RawFd,
    /// Its parent, which it does not outlive.
    pub(super) broker: Pid,
    /// The limit of descriptors that its command gets.
    pub(super) open_files: u64,
}

/// A launcher's whole life. Returns only when there is no command: the broker left, or a step failed.
pub(super) fn live(birth: Birth, room: Room) -> u8 {
    let stream = sys::alone_with(birth.stream);
    // The signal follows across exec; asked for before looking, so that a broker that dies in between is noticed.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != birth.broker {
        return FAILED;
    }
    let ready = prepare();
    let Ok(stdio) = sys::receive_three(stream.as_fd(), &mut [0]) else { return FAILED };
    let Some((bytes, rest)) = receive(stream.as_fd(), room) else { return FAILED };
    let Ok(orders) = Orders::read(bytes) else { return FAILED };
    let Err(failure) = ready.and_then(|()| become_command(&orders, &stdio, birth.open_files, rest));
    // A broker that is gone needs no report.
    sys::write(stream.as_fd(), &failure.encode()).ok();
    FAILED
}

/// How a launcher ends that did not become a command.
const FAILED: u8 = 1;

/// The plan, and what is left of the room: enough for a pointer to each text, of which each takes five bytes at least.
fn receive(stream: BorrowedFd<'_>, room: Room) -> Option<(&'static [u8], &'static mut [u8])> {
    let mut length = [0; 4];
    fill(stream, &mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    let room = room.take((length <= 4 * MESSAGE_BYTES_MAX).then_some(3 * length + 64)?)?;
    let (bytes, rest) = room.split_at_mut_checked(length)?;
    fill(stream, bytes)?;
    Some((bytes, rest))
}

fn fill(stream: BorrowedFd<'_>, bytes: &mut [u8]) -> Option<()> {
    let mut done = 0;
    while done < bytes.len() {
        match sys::read(stream, bytes.get_mut(done..)?) {
            Ok(read) if read > 0 => done += read,
            Ok(_) | Err(_) => return None,
        }
    }
    Some(())
}

/// What needs no plan: a session of its own, without a terminal, and the command's orphans.
fn prepare() -> Result<(), Failure> {
    at(Step::Setsid, setsid())?;
    at(Step::Subreaper, prctl::set_child_subreaper(true))
}

/// What else the command starts with: three descriptors, the rule's mask, place and environment. Signals are the nursery's already, and limits, but for the one of descriptors.
fn become_command(
    orders: &Orders<'_>,
    [stdin, stdout, stderr]: &[OwnedFd; 3],
    open_files: u64,
    room: &mut [u8],
) -> Result<Infallible, Failure> {
    at(Step::Limits, limit_descriptors(open_files))?;
    at(Step::Stdio, dup2_stdin(stdin).and_then(|()| dup2_stdout(stdout)).and_then(|()| dup2_stderr(stderr)))?;
    // All others are close-on-exec already; this holds when one day one is not.
    sys::close_on_exec_from(3).map_err(|source| Failure { step: Step::Stdio, errno: errno(&source) })?;
    umask(Mode::from_bits_truncate(orders.umask));
    at(Step::Chdir, sys::enter_directory(orders.cwd))?;
    let (argv, environment) = (orders.argv.iter(), orders.environment.iter());
    Err(Failure { step: Step::Exec, errno: sys::execute(orders.program, argv, environment, room) })
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
