//! The nursery: a process of one thread that makes launchers and nothing else. It is this program, started again
//! with a hidden argument, so that what it copies is small and holds no lock, no rules and no caller's descriptor.
//!
//! One `SOCK_SEQPACKET` channel joins it to the broker. The broker sends a byte for each launcher that it wants; the
//! nursery answers with a message per launcher: its pid, and two descriptors, a pidfd and the launcher's stream. What
//! waits in the channel's queue is the pool. A launcher that is wanted in a certain cgroup is asked for with two
//! descriptors, the cgroup's directory and the launcher's stream; the answer, its pid and pidfd, comes on that stream.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, dup2_stdin, getppid};

use crate::sys;

use super::cradle;
use super::launcher;
use super::privileges::shed_capabilities;

/// The hidden argument that makes this program the nursery.
#[derive(Clone, Copy, Debug)]
pub struct Role;

impl Role {
    /// Its first argument.
    pub const ARGUMENT: &'static str = "nursery";
}

/// A running nursery, as the broker holds it.
#[derive(Debug)]
pub struct Nursery {
    process: Child,
    channel: OwnedFd,
}

impl Nursery {
    /// Starts a nursery whose commands get `open_files` as their soft limit of descriptors.
    pub fn start(open_files: u64) -> io::Result<Self> {
        let (channel, far) = sys::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("sluice")
            .args([Role::ARGUMENT, &std::process::id().to_string(), &open_files.to_string()])
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(far)
            .stdout(Stdio::null());
        Ok(Self { process: cradle::start(command)?, channel })
    }

    /// The broker's end of the channel.
    pub fn channel(&self) -> io::Result<OwnedFd> {
        self.channel.try_clone()
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// Ends the nursery and waits for it.
    pub fn end(mut self) -> io::Result<()> {
        drop(self.channel);
        self.process.kill()?;
        self.process.wait().map(drop)
    }
}

/// The nursery's whole life, and, in each copy, a launcher's. Both end when the broker does.
/// Errors: it could not become what a command may inherit from, and the next one will not either.
pub fn run(broker: Pid, open_files: u64) -> io::Result<ExitCode> {
    let channel = prepare(broker)?;
    // The broker sees the channel close, says so, and starts another.
    Ok(serve(channel, broker, open_files).unwrap_or(ExitCode::FAILURE))
}

/// Everything that a command inherits is made right once, here.
fn prepare(broker: Pid) -> io::Result<OwnedFd> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != broker {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // First: the files in /proc of a process that cannot be dumped are root's.
    spare_from_oom_favours()?;
    prctl::set_dumpable(false)?;
    // The program's file may have given some anew.
    shed_capabilities().map_err(io::Error::other)?;
    sys::close_on_exec_from(3)?;
    sys::default_dispositions()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // The kernel measures what is on its way between processes by the sender's limit.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(fs::File::open("/dev/null")?)?;
    Ok(channel)
}

/// A broker that the kernel should spare must not lend that to its commands.
fn spare_from_oom_favours() -> io::Result<()> {
    let path = "/proc/self/oom_score_adj";
    if fs::read_to_string(path)?.starts_with('-') { fs::write(path, "0") } else { Ok(()) }
}

/// Answers each byte of the broker with a launcher.
fn serve(channel: OwnedFd, broker: Pid, open_files: u64) -> io::Result<ExitCode> {
    loop {
        let message = sys::receive(channel.as_fd(), 64)?;
        if message.bytes.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let born = match <[OwnedFd; 2]>::try_from(message.descriptors) {
            Ok([group, stream]) => place(&group, stream)?,
            Err(_) => make(&channel, message.bytes.len())?,
        };
        if let Some(stream) = born {
            drop(channel);
            return Ok(launcher::run(stream, broker, open_files));
        }
    }
}

/// Makes launchers for whoever asks next. In each of them, gives its stream.
fn make(channel: &OwnedFd, wanted: usize) -> io::Result<Option<OwnedFd>> {
    for _ in 0..wanted {
        let (near, far) = sys::stream_pair()?;
        let sys::Clone3::Parent { child, pidfd } = sys::clone_sibling(None)? else { return Ok(Some(near)) };
        let descriptors = [pidfd.as_fd(), far.as_fd()];
        sys::send_patiently(channel.as_fd(), &child.as_raw().to_le_bytes(), &descriptors, None)?;
    }
    Ok(None)
}

/// Makes a launcher in `group`, and says so on its stream: its pid, or the error, negative. In the launcher, gives the
/// stream. That there is none in one group is that group's matter, not the nursery's end.
fn place(group: &OwnedFd, stream: OwnedFd) -> io::Result<Option<OwnedFd>> {
    let told = match sys::clone_sibling(Some(group.as_fd())) {
        Ok(sys::Clone3::Child) => return Ok(Some(stream)),
        Ok(sys::Clone3::Parent { child, pidfd }) => {
            sys::send_patiently(stream.as_fd(), &child.as_raw().to_le_bytes(), &[pidfd.as_fd()], None)
        }
        Err(source) => {
            let errno = source.raw_os_error().unwrap_or(libc::EIO);
            sys::send(stream.as_fd(), &(-errno).to_le_bytes(), &[])
        }
    };
    match told {
        // Nobody waits for it any more; it sees that itself.
        Err(source) if source.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        told => told.map(|_| None),
    }
}
