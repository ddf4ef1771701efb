//! A launcher: a process that waits for one plan and becomes the plan's command. If a step fails, the
//! launcher reports the step and the errno to the broker, so that a failed launch never looks like an exit of
//! the command's.
//!
//! Until its exec a launcher may live in the nursery's memory (`sys/clone_vm.rs`): so nothing here allocates
//! or can panic, and system calls are made by `sys/in_child.rs`, which leaves `errno` alone. A test of the
//! house rules (`what_runs_in_shared_memory_is_fenced`) looks for other calls.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::convert::Infallible;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::limits::{FIRST_HANDED_FD, MESSAGE_BYTES_MAX, REQUEST_FDS};
use crate::spawn::reap::call_reaper::{self, ReaperSide};
use crate::sys::in_child::{self, ChildFd};
use crate::sys::{self, ChildMemory, UnfitStdio};

use super::adapter::{ADAPT, adapt};
use super::confined::{self, RestrictionFds};
use super::failure::{LaunchFailure, LaunchStep};
use super::plan::{PLAN_FDS_MAX, PLAN_LENGTH_BYTES};
use super::received_plan::ReceivedPlan;
use super::sent::{FAILED, SentByte, await_sent};

/// The values that a launcher is made with.
#[derive(Clone, Copy, Debug)]
pub(in crate::spawn) struct LauncherSetup {
    /// The number of its stream, among the nursery's descriptors that it has copies of.
    pub(in crate::spawn) stream: RawFd,
    /// Its parent, which it does not outlive.
    pub(in crate::spawn) broker: Pid,
    /// The limit of descriptors that its command gets.
    pub(super) open_files: u64,
}

/// A launcher's whole life; its result is the exit code. Returns only when there is no command: the broker
/// hung up, a step failed, or the launcher served as a closer of connections, an adapter or a call reaper.
pub(in crate::spawn) fn live(setup: LauncherSetup, room: ChildMemory) -> u8 {
    let mut stream = in_child::alone_with(setup.stream);
    if !ends_with(setup.broker) {
        return FAILED;
    }
    let mut ready = prepare();
    let Some(mut source) = await_sent(stream.as_fd()) else { return FAILED };
    if source.kind == ADAPT {
        return adapt(stream.as_fd(), room, source);
    }
    if let Some(how) = CloseMode::of(source.kind) {
        return close_connections(stream.as_fd(), how, source);
    }
    if source.kind == StdioSource::Reaper as u8 {
        match call_reaper::part(&room) {
            Ok(ReaperSide::Reaper(command)) => return call_reaper::reap(stream.as_fd(), command),
            Ok(ReaperSide::Command(reaper)) if ends_with(reaper) => ready = prepare(),
            // The broker sees its stream end.
            Ok(ReaperSide::Command(_)) | Err(_) => return FAILED,
        }
        let Some(next) = await_sent(stream.as_fd()) else { return FAILED };
        source = next;
    }
    let Some(mut stdio) = take_stdio(stream.as_fd(), source) else { return FAILED };
    let planned = match receive(stream.as_fd(), room) {
        // The broker hung up: it wants neither a command nor a report.
        Ok(None) => return FAILED,
        Ok(Some(planned)) => Ok(planned),
        Err(failure) => Err(failure),
    };
    let Err(failure) = planned.and_then(|ReceivedOrders { plan, mut fds, rest }| {
        ready?;
        take_place(&stdio, setup.open_files)?;
        let handed = plan.opened.count() + plan.files.count();
        if handed > 0 {
            // The caller's descriptors are not closed here, where a close could block: exec closes them, or
            // dup2(2) on their numbers does.
            mem::forget(mem::take(&mut stdio));
            // The descriptors that are still used are moved out of the way of those to be opened.
            let moved = |fd: &ChildFd| at(LaunchStep::Open, sys::move_above(fd.as_fd(), handed));
            stream = moved(&stream)?;
            fds.move_by(moved)?;
        }
        if let Some(restrictions) = &plan.restrictions {
            confined::enter_view(restrictions, &fds)?;
        }
        at(LaunchStep::Open, sys::open_places(plan.opened.iter()))?;
        let first = FIRST_HANDED_FD.cast_unsigned() + plan.opened.count();
        at(LaunchStep::Secret, sys::place_contents(plan.files.iter(), first))?;
        become_command(&plan, &fds, rest)
    });
    // A broker that is gone needs no report.
    in_child::write(stream.as_fd(), &failure.encode()).ok();
    FAILED
}

/// Has the kernel kill this process when `parent` dies. Gives whether `parent` is alive.
fn ends_with(parent: Pid) -> bool {
    // The setting lasts across exec. It is made before the parent is looked at, so that a parent that dies in
    // between is noticed.
    in_child::end_with_parent().is_ok() && in_child::parent() == parent
}

/// The source of a command's stdin, stdout and stderr; the first byte that a launcher is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum StdioSource {
    /// Three descriptors that come with this byte.
    Given,
    /// The request that waits on a connection; the connection comes with this byte. The launcher reports
    /// whether it took the descriptors.
    Connection,
    /// Like `Connection`, but stdin is the launcher's own: `/dev/null`.
    ConnectionWithoutStdin,
    /// A later byte names the source. This process makes another, which reads that byte and becomes the
    /// command, and is itself the command's reaper.
    Reaper,
}

/// The launcher's report that the command's descriptors are fit; as long as the report that they are not.
pub(super) const FIT: [u8; UnfitStdio::BYTES] = [0; UnfitStdio::BYTES];

/// How a launcher closes a connection instead of becoming a command: the byte that comes with the connection.
/// The launcher answers each with a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseMode {
    /// It receives and drops the messages that wait on the connection, because closing a socket on which data
    /// waits resets the connection, and the caller could lose its answer; then it closes its copy.
    Emptied = 16,
    /// It keeps its copy, with the messages that wait there, until it ends: close(2) may block on a socket
    /// that lingers, but the end of a process does not.
    AsItIs,
}

impl CloseMode {
    fn of(kind: u8) -> Option<Self> {
        [Self::Emptied, Self::AsItIs].into_iter().find(|how| *how as u8 == kind)
    }
}

/// The life of a launcher that closes connections.
fn close_connections(stream: BorrowedFd<'_>, mut how: CloseMode, mut sent: SentByte) -> u8 {
    loop {
        let [Some(connection), ..] = sent.descriptors else { return FAILED };
        match how {
            CloseMode::Emptied => {
                // `ECONNRESET` comes once, before the waiting messages, from a caller that closed with an
                // answer unread.
                while matches!(sys::discard(connection.as_fd()), Ok(true) | Err(Errno::ECONNRESET)) {}
                drop(connection);
            }
            CloseMode::AsItIs => mem::forget(connection),
        }
        let Ok(1) = in_child::write(stream, &[how as u8]) else { return FAILED };
        let Some(next) = await_sent(stream) else { return 0 };
        let Some(kind) = CloseMode::of(next.kind) else { return FAILED };
        (how, sent) = (kind, next);
    }
}

/// The command's descriptors, with `None` for stdin where the command gets the launcher's own. `None` as a
/// whole when the descriptors could not be taken.
fn take_stdio(stream: BorrowedFd<'_>, sent: SentByte) -> Option<[Option<ChildFd>; REQUEST_FDS]> {
    let SentByte { kind, descriptors: given } = sent;
    if kind == StdioSource::Given as u8 {
        return given.iter().all(Option::is_some).then_some(given);
    }
    let [connection, ..] = given;
    let taken = sys::take_stdio(connection.as_ref()?.as_fd());
    // Closed before the report: after it, the connection is the broker's alone again.
    drop(connection);
    let report = taken.as_ref().map_or_else(|unfit| unfit.encode(), |_| FIT);
    in_child::write(stream, &report).ok()?;
    let [stdin, stdout, stderr] = taken.ok()?.map(Some);
    if kind == StdioSource::ConnectionWithoutStdin as u8 {
        // The caller's stdin stays open until exec: a close of a caller's descriptor can block for as long as
        // the caller likes.
        mem::forget(stdin);
        return Some([None, stdout, stderr]);
    }
    Some([stdin, stdout, stderr])
}

/// A plan that was received.
struct ReceivedOrders {
    plan: ReceivedPlan<'static>,
    /// The descriptors of what confines the command.
    fds: RestrictionFds,
    /// The rest of the room: enough for a pointer to each text, since each text takes at least five bytes of
    /// the plan.
    rest: &'static mut [u8],
}

/// Receives the plan. `None` when the broker hung up.
fn receive(stream: BorrowedFd<'_>, room: ChildMemory) -> Result<Option<ReceivedOrders>, LaunchFailure> {
    let mut length = [0; PLAN_LENGTH_BYTES];
    // A failure shows in the read.
    in_child::await_readable(stream).ok();
    let Ok((PLAN_LENGTH_BYTES, carried)) = sys::receive_few::<PLAN_FDS_MAX>(stream, &mut length) else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    let failed = |errno| LaunchFailure { step: LaunchStep::Plan, errno };
    if length > 4 * MESSAGE_BYTES_MAX {
        return Err(failed(Errno::E2BIG));
    }
    let room = room.take(3 * length + 64).ok_or(failed(Errno::ENOMEM))?;
    let (bytes, rest) = room.split_at_mut_checked(length).ok_or(failed(Errno::ENOMEM))?;
    let Some(()) = fill(stream, bytes) else { return Ok(None) };
    let plan = ReceivedPlan::read(bytes).map_err(|_| failed(Errno::EBADMSG))?;
    let mut carried = carried.into_iter().flatten();
    let fds = plan.restrictions.as_ref().map(|of| RestrictionFds::take(of, &mut carried));
    Ok(Some(ReceivedOrders { plan, fds: fds.unwrap_or_default(), rest }))
}

fn fill(stream: BorrowedFd<'_>, bytes: &mut [u8]) -> Option<()> {
    let mut done = 0;
    while done < bytes.len() {
        match in_child::read(stream, bytes.get_mut(done..)?) {
            Ok(read) if read > 0 => done += read,
            Ok(_) | Err(_) => return None,
        }
    }
    Some(())
}

/// The steps that need no plan: begins a session, which has no terminal, and becomes the subreaper of the
/// command's orphans.
fn prepare() -> Result<(), LaunchFailure> {
    at(LaunchStep::Setsid, in_child::begin_session())?;
    at(LaunchStep::Subreaper, in_child::adopt_orphans())
}

/// Puts the command's three descriptors in their places, and sets the limit of open descriptors.
fn take_place(
    [stdin, stdout, stderr]: &[Option<ChildFd>; REQUEST_FDS],
    open_files: u64,
) -> Result<(), LaunchFailure> {
    at(LaunchStep::Limits, in_child::limit_descriptors(open_files))?;
    for (place, fd) in (0..).zip([stdin, stdout, stderr]) {
        at(LaunchStep::Stdio, fd.as_ref().map_or(Ok(()), |fd| in_child::replace_stdio(fd.as_fd(), place)))?;
    }
    // All other descriptors are close-on-exec already; this call is for a descriptor that a later change to
    // the code forgets.
    at(LaunchStep::Stdio, in_child::close_on_exec_from(3))
}

/// Sets the rule's umask and working directory, is confined, and becomes the program with the rule's
/// environment. Signal dispositions and all other limits were set by the nursery.
fn become_command(
    orders: &ReceivedPlan<'_>,
    fds: &RestrictionFds,
    room: &mut [u8],
) -> Result<Infallible, LaunchFailure> {
    in_child::set_umask(orders.umask);
    at(LaunchStep::Chdir, sys::enter_directory(orders.cwd))?;
    if let Some(restrictions) = &orders.restrictions {
        confined::restrict(restrictions, fds)?;
    }
    let (argv, environment) = (orders.argv.iter(), orders.environment.iter().chain(orders.secrets.iter()));
    Err(LaunchFailure {
        step: LaunchStep::Exec,
        errno: sys::execute(orders.program, argv, environment, room),
    })
}

fn at<T>(step: LaunchStep, result: nix::Result<T>) -> Result<T, LaunchFailure> {
    result.map_err(|errno| LaunchFailure { step, errno })
}
