//! The maker of user namespaces: a copy of the nursery that finds out how a command can get a mount
//! namespace, tries it, and ends. A launcher cannot begin a user namespace itself, because it shares the
//! nursery's memory until its exec, but it can join one that is there.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getegid, geteuid, getppid};

use crate::confine::ViewSupport;
use crate::limits::{NURSERY_WAIT, SEND_WAIT};
use crate::sys::mounts::{self, MountFlags};
use crate::sys::{self, in_child};

use super::answer::ProcessAnswer;

/// What the broker says once it has the nursery's answer: the process may say what it found out.
const ORDER: [u8; 1] = [1];

/// The values that the process is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamespaceSetup {
    /// The number of its stream, among the nursery's descriptors that it has copies of.
    pub(super) stream: RawFd,
    /// Its parent, which it does not outlive.
    pub(super) broker: Pid,
}

/// The process's whole life; its result is the exit code.
pub(super) fn live(setup: NamespaceSetup) -> u8 {
    let stream = OwnedFd::from(in_child::alone_with(setup.stream));
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != setup.broker {
        return 1;
    }
    let (errno, namespace) = match try_mounts().map(|()| None).or_else(|_| user_namespace().map(Some)) {
        Ok(namespace) => (0, namespace),
        Err(source) => (sys::errno_of(&source), None),
    };
    // The nursery's answer goes first on the same stream, and looks alike.
    if sys::receive(stream.as_fd(), ORDER.len()).is_err() {
        return 1;
    }
    let descriptors: Vec<_> = namespace.iter().map(AsFd::as_fd).collect();
    let give_up = Some(Instant::now() + SEND_WAIT);
    sys::send_patiently(stream.as_fd(), &errno.to_le_bytes(), &descriptors, give_up).map_or(1, |_| 0)
}

/// Gives this process a mount namespace, and changes it by the calls of a launcher: a kernel that lets an
/// ordinary user have a namespace may still deny the mounts, and a container's filter some of the calls.
/// Errors: `EPERM`, `EACCES`, `ENOSYS`.
fn try_mounts() -> nix::Result<()> {
    mounts::own_mounts()?;
    let place = mounts::open_unlinked(c"/tmp")?;
    let tree = mounts::copy_tree(place.as_fd())?;
    mounts::change_tree(tree.as_fd(), MountFlags::DATA)?;
    mounts::place_tree(tree.as_fd(), place.as_fd())?;
    let temporary = mounts::new_tmpfs(&[(c"mode", c"1777")], 0)?;
    mounts::place_tree(temporary.as_fd(), mounts::open_unlinked(c"/tmp")?.as_fd())?;
    mounts::make_all_read_only()
}

/// A new user namespace in which this user has the same number as outside.
fn user_namespace() -> io::Result<OwnedFd> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // The /proc files of a process that is not dumpable belong to root.
    prctl::set_dumpable(true)?;
    // Where the kernel has no such file, groups need not be given up.
    match fs::write("/proc/self/setgroups", "deny") {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(source),
        _ => {}
    }
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    let namespace = fs::File::open("/proc/self/ns/user")?;
    try_mounts()?;
    Ok(namespace.into())
}

/// What the process found out; called with the broker's end of its stream, and the function that reaps it.
pub(super) fn found(stream: OwnedFd, reap: impl FnOnce(Pid)) -> ViewSupport {
    let errno = |source: io::Error| ViewSupport::Missing(Errno::from_raw(sys::errno_of(&source)));
    let process = match ProcessAnswer::receive(stream.as_fd()) {
        Ok(process) => process,
        Err(source) => return errno(source),
    };
    let told = sys::send_patiently(stream.as_fd(), &ORDER, &[], Some(Instant::now() + SEND_WAIT));
    let told = told.and_then(|_| receive(&stream));
    let mut end = [PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN)];
    if !sys::poll_until(&mut end, Some(Instant::now() + SEND_WAIT)).unwrap_or(false) {
        sys::send_signal(process.pidfd.as_fd(), Signal::SIGKILL).ok();
    }
    reap(process.pid);
    told.unwrap_or_else(errno)
}

fn receive(stream: &OwnedFd) -> io::Result<ViewSupport> {
    let mut look = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    if !sys::poll_until(&mut look, Some(Instant::now() + NURSERY_WAIT))? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let message = sys::receive(stream.as_fd(), size_of::<i32>())?;
    let errno = message.bytes.try_into().map(i32::from_le_bytes).map_err(|_| io::ErrorKind::BrokenPipe)?;
    match (errno, message.descriptors.into_iter().next()) {
        (0, None) => Ok(ViewSupport::Capable),
        (0, Some(namespace)) => Ok(ViewSupport::UserNamespace(Arc::new(namespace))),
        (errno, _) => Ok(ViewSupport::Missing(Errno::from_raw(errno))),
    }
}
