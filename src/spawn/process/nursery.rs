//! The nursery: a process of one thread that makes launchers and relays. It is this program, started again
//! with a hidden argument, so that the memory that it shares with launchers is small and holds no lock, no
//! rules and no caller's descriptor.
//!
//! One `SOCK_SEQPACKET` channel joins it to the broker. The broker sends a byte for each launcher that it
//! wants; the nursery answers with a message per launcher: its pid, and two descriptors, a pidfd and the
//! launcher's stream; or, where none could be made, the negative errno. The broker's `pool.rs` receives them.
//! For a launcher in a certain cgroup the broker sends two descriptors along, the cgroup's directory and the
//! launcher's stream; the answer, the pid and the pidfd, comes on that stream. For an anchor it sends another
//! byte with the anchor's stream, and has the same answer there; likewise for a FIFO door. For a relay it
//! sends a third byte with the relay's channel and, where the relay is to be in a cgroup, the cgroup's
//! directory; the relay itself answers.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, dup2_stdin, getppid};

use crate::limits::{LAUNCHERS_ASKED_MAX, NURSERY_END_MAX, SEND_WAIT};
use crate::spawn::door::process::{self, DoorSetup};
use crate::spawn::stream::relay;
use crate::sys::in_child;
use crate::sys::{self, ChildMemory, ChildSlots};

use super::anchor;
use super::child::{LauncherSetup, live};
use super::namespace::{self, NamespaceSetup};
use super::parent_thread;
use super::privileges::shed_capabilities;

/// The hidden argument that makes this program the nursery.
#[derive(Clone, Copy, Debug)]
pub struct NurseryRole;

impl NurseryRole {
    /// The program's first argument.
    pub const ARGUMENT: &'static str = "nursery";
}

/// The broker's request: the first byte of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct NurseryRequest;

impl NurseryRequest {
    /// A launcher for each byte of the message; or one launcher, where descriptors come with it.
    pub(super) const LAUNCHER: u8 = 0;
    /// A relay.
    pub(super) const RELAY: u8 = 1;
    /// An anchor.
    pub(super) const ANCHOR: u8 = 2;
    /// A FIFO door.
    pub(super) const DOOR: u8 = 3;
    /// A process that finds out how commands get mount namespaces.
    pub(super) const NAMESPACE: u8 = 4;
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
            .args([NurseryRole::ARGUMENT, &std::process::id().to_string(), &open_files.to_string()])
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(far)
            .stdout(Stdio::null());
        Ok(Self { process: parent_thread::start(command)?, channel })
    }

    /// The broker's end of the channel.
    pub fn channel(&self) -> io::Result<OwnedFd> {
        self.channel.try_clone()
    }

    /// The nursery's pid.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// Kills the nursery and waits for it, at most [`NURSERY_END_MAX`]. Gives whether it has ended.
    pub fn end(mut self) -> io::Result<bool> {
        let pidfd = sys::open_pidfd(self.pid())?;
        drop(self.channel);
        self.process.kill()?;
        let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if !sys::poll_until(&mut ended, Some(Instant::now() + NURSERY_END_MAX))? {
            return Ok(false);
        }
        self.process.wait().map(|_| true)
    }
}

/// The nursery's whole life, which ends when the broker's does.
/// Errors: the state that commands inherit could not be set up; another nursery would fail alike.
pub fn run(broker: Pid, open_files: u64) -> io::Result<ExitCode> {
    // Descriptor 0 is the channel until all is prepared; a broker that is gone needs no report.
    let channel = prepare(broker).inspect_err(|why| drop(report(io::stdin().as_fd(), why)))?;
    let work = NurseryWork {
        channel,
        broker,
        open_files,
        slots: ChildSlots::default(),
        memory: LauncherMemory::Shared,
    };
    // After an error the broker sees the channel close, reports it, and starts another nursery.
    Ok(work.serve().unwrap_or(ExitCode::FAILURE))
}

/// Sets up, once, the process state that every command inherits.
fn prepare(broker: Pid) -> io::Result<OwnedFd> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != broker {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // Before PR_SET_DUMPABLE: the /proc files of a process that is not dumpable belong to root.
    spare_from_oom_favours()?;
    prctl::set_dumpable(false)?;
    // File capabilities of the program may have given this process some anew at exec.
    shed_capabilities().map_err(io::Error::other)?;
    in_child::close_on_exec_from(3)?;
    sys::default_dispositions()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // The kernel limits the descriptors in flight in messages by the sender's RLIMIT_NOFILE.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(fs::File::open("/dev/null")?)?;
    Ok(channel)
}

/// Raises a negative `oom_score_adj` to 0: a broker may be protected from the OOM killer, but its commands
/// must not inherit that.
fn spare_from_oom_favours() -> io::Result<()> {
    let path = "/proc/self/oom_score_adj";
    if fs::read_to_string(path)?.starts_with('-') { fs::write(path, "0") } else { Ok(()) }
}

/// Sends the errno for which there is no launcher.
fn report(to: BorrowedFd<'_>, why: &io::Error) -> io::Result<()> {
    let errno = sys::errno_of(why);
    sys::send_patiently(to, &(-errno).to_le_bytes(), &[], None).map(drop)
}

/// Sends a process's pid and pidfd, or the negative errno, on its stream.
fn answer(stream: &OwnedFd, made: io::Result<(Pid, OwnedFd)>) -> io::Result<()> {
    let give_up = Some(Instant::now() + SEND_WAIT);
    let told = made.and_then(|(child, pidfd)| {
        sys::send_patiently(stream.as_fd(), &child.as_raw().to_le_bytes(), &[pidfd.as_fd()], give_up)
    });
    match told.map(drop).or_else(|source| report(stream.as_fd(), &source)) {
        // The broker no longer waits for this process, which sees the end of its stream and ends.
        Err(source) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told,
    }
}

/// A nursery at work.
struct NurseryWork {
    channel: OwnedFd,
    broker: Pid,
    open_files: u64,
    slots: ChildSlots,
    memory: LauncherMemory,
}

/// The memory of a launcher until its exec.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LauncherMemory {
    /// The nursery's memory, with nothing to copy or to free.
    Shared,
    /// A copy of the nursery's memory.
    Copied,
}

/// A launcher in a copy of this process's memory.
fn copy(group: Option<BorrowedFd<'_>>, setup: LauncherSetup) -> io::Result<(Pid, OwnedFd)> {
    sys::copy_sibling(group, || live(setup, ChildMemory::of_copy()))
}

impl NurseryWork {
    /// Answers each byte of the broker with a launcher.
    fn serve(mut self) -> io::Result<ExitCode> {
        loop {
            let message = sys::receive(self.channel.as_fd(), LAUNCHERS_ASKED_MAX)?;
            if message.bytes.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            if message.bytes == [NurseryRequest::RELAY] {
                self.relay(message.descriptors);
                continue;
            }
            if message.bytes == [NurseryRequest::ANCHOR] {
                self.anchor(message.descriptors);
                continue;
            }
            if message.bytes == [NurseryRequest::DOOR] {
                self.door(message.descriptors);
                continue;
            }
            if message.bytes == [NurseryRequest::NAMESPACE] {
                self.namespace(message.descriptors);
                continue;
            }
            match <[OwnedFd; 2]>::try_from(message.descriptors) {
                Ok([group, stream]) => self.place(&group, &stream)?,
                Err(_) => self.make(message.bytes.len())?,
            }
        }
    }

    /// Makes launchers without a cgroup of their own, for the pool.
    fn make(&mut self, wanted: usize) -> io::Result<()> {
        for _ in 0..wanted {
            // A launcher that cannot be made or sent fails the call that waits for it, but does not end the
            // nursery.
            self.make_one().or_else(|source| report(self.channel.as_fd(), &source))?;
        }
        Ok(())
    }

    fn make_one(&mut self) -> io::Result<()> {
        let (near, far) = sys::stream_pair()?;
        let (child, pidfd) = self.make_launcher(None, &near)?;
        let (number, descriptors) = (child.as_raw().to_le_bytes(), [pidfd.as_fd(), far.as_fd()]);
        let give_up = Some(Instant::now() + SEND_WAIT);
        sys::send_patiently(self.channel.as_fd(), &number, &descriptors, give_up).map(drop)
    }

    /// Makes a launcher in `group`, and sends its pid, or the negative errno, on its stream. A failure in one
    /// group does not end the nursery.
    fn place(&mut self, group: &OwnedFd, stream: &OwnedFd) -> io::Result<()> {
        let made = self.make_launcher(Some(group.as_fd()), stream);
        answer(stream, made)
    }

    /// Makes an anchor, and answers like [`Self::place`]. A failure does not end the nursery.
    fn anchor(&self, descriptors: Vec<OwnedFd>) {
        // A message without its descriptor: the broker sees the end of the stream.
        let Some(stream) = descriptors.into_iter().next() else { return };
        let setup = anchor::AnchorSetup { stream: stream.as_raw_fd(), broker: self.broker };
        answer(&stream, sys::copy_sibling(None, || anchor::live(setup))).ok();
    }

    /// Makes a door, and answers like [`Self::place`]. A failure does not end the nursery.
    fn door(&self, descriptors: Vec<OwnedFd>) {
        let Some(stream) = descriptors.into_iter().next() else { return };
        let setup = DoorSetup { stream: stream.as_raw_fd(), broker: self.broker };
        answer(&stream, sys::copy_sibling(None, || process::live(setup))).ok();
    }

    /// Makes a maker of user namespaces, and answers like [`Self::place`].
    fn namespace(&self, descriptors: Vec<OwnedFd>) {
        let Some(stream) = descriptors.into_iter().next() else { return };
        let setup = NamespaceSetup { stream: stream.as_raw_fd(), broker: self.broker };
        answer(&stream, sys::copy_sibling(None, || namespace::live(setup))).ok();
    }

    /// Makes a relay in the cgroup that comes with its channel or, where the kernel does not allow that, in
    /// this process's cgroup. A failure is sent to the call, and does not end the nursery.
    fn relay(&self, descriptors: Vec<OwnedFd>) {
        let mut descriptors = descriptors.into_iter();
        // A message without its descriptors: the call sees the end of its channel.
        let Some(channel) = descriptors.next() else { return };
        let make = |group: Option<&OwnedFd>| {
            let (channel, broker) = (channel.as_raw_fd(), self.broker);
            let setup = relay::RelaySetup { channel, broker, is_inside: group.is_some() };
            sys::copy_sibling(group.map(AsFd::as_fd), || relay::live(setup))
        };
        let inside = descriptors.next().and_then(|group| make(Some(&group)).ok());
        if let Err(source) = inside.map_or_else(|| make(None), Ok) {
            relay::tell_failure(channel.as_fd(), &source);
        }
    }

    /// A launcher that listens to its copy of `stream`.
    fn make_launcher(
        &mut self,
        group: Option<BorrowedFd<'_>>,
        stream: &OwnedFd,
    ) -> io::Result<(Pid, OwnedFd)> {
        let setup =
            LauncherSetup { stream: stream.as_raw_fd(), broker: self.broker, open_files: self.open_files };
        if self.memory == LauncherMemory::Copied {
            return copy(group, setup);
        }
        let shared = self.share(group, setup);
        let refusals = [Errno::ENOSYS, Errno::EINVAL, Errno::EPERM].map(|errno| errno as i32);
        if !shared.as_ref().is_err_and(|source| refusals.contains(&sys::errno_of(source))) {
            return shared;
        }
        // The kernel, or a seccomp filter, refused shared memory. If it refuses a copy too, the cause is
        // another one, and the first error counts.
        let Ok(copied) = copy(group, setup) else { return shared };
        self.memory = LauncherMemory::Copied;
        Ok(copied)
    }

    /// Makes a launcher in this process's memory.
    #[allow(unsafe_code, reason = "the launcher is this folder's, and so is what it may do in shared memory")]
    fn share(&mut self, group: Option<BorrowedFd<'_>>, setup: LauncherSetup) -> io::Result<(Pid, OwnedFd)> {
        // SAFETY: `live` and every function that it calls allocate nothing, do not panic and leave errno
        // alone; the house rules' test `what_runs_in_shared_memory_is_fenced` looks at the files where they
        // stand.
        unsafe { sys::clone_sibling(&mut self.slots, group, live, setup) }
    }
}
