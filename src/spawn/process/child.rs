//! A launcher: a process that waits for one plan and becomes its command. What fails on the way is told to
//! the broker, step and errno, and never looks like an exit of the command's.
//!
//! Until then it may live in the nursery's memory (`sys/clone_vm.rs`): so nothing here allocates or can
//! panic, and its system calls are those that leave `errno` alone. A test of the house rules looks for what
//! is not allowed.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::convert::Infallible;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::limits::{MESSAGE_BYTES_MAX, REQUEST_FDS};
use crate::spawn::reap::call_reaper::{self, ReaperSide};
use crate::sys::in_child::{self, ChildFd};
use crate::sys::{self, ChildMemory, UnfitStdio};

use super::failure::{LaunchFailure, LaunchStep};
use super::received_plan::ReceivedPlan;

/// The values that a launcher is made with.
#[derive(Clone, Copy, Debug)]
pub(in crate::spawn) struct LauncherSetup {
    /// Its stream, among the descriptors that it has copies of.
    pub(in crate::spawn) stream: RawFd,
    /// Its parent, which it does not outlive.
    pub(in crate::spawn) broker: Pid,
    /// The limit of descriptors that its command gets.
    pub(super) open_files: u64,
}

/// A launcher's whole life. Returns only when there is no command: the broker left, or a step failed.
pub(in crate::spawn) fn live(setup: LauncherSetup, room: ChildMemory) -> u8 {
    let mut stream = in_child::alone_with(setup.stream);
    if !ends_with(setup.broker) {
        return FAILED;
    }
    let mut ready = prepare();
    let Some(mut source) = await_source(stream.as_fd()) else { return FAILED };
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
        let Some(next) = await_source(stream.as_fd()) else { return FAILED };
        source = next;
    }
    let Some(mut stdio) = take_stdio(stream.as_fd(), source) else { return FAILED };
    let planned = match receive(stream.as_fd(), room) {
        // The broker hung up: nobody wants a command, or a report.
        Ok(None) => return FAILED,
        Ok(Some(planned)) => Ok(planned),
        Err(failure) => Err(failure),
    };
    let Err(failure) = planned.and_then(|(orders, rest)| {
        ready?;
        take_place(&stdio, setup.open_files)?;
        if orders.opened.count() > 0 {
            // What came from the caller stays open, and goes with exec or with what takes its number.
            mem::forget(mem::take(&mut stdio));
            // The report has to be possible still.
            stream = at(LaunchStep::Open, sys::move_above(stream.as_fd(), orders.opened.count()))?;
            at(LaunchStep::Open, sys::open_places(orders.opened.iter()))?;
        }
        become_command(&orders, rest)
    });
    // A broker that is gone needs no report.
    in_child::write(stream.as_fd(), &failure.encode()).ok();
    FAILED
}

/// Has this process killed when `parent` dies. Gives whether that lives.
fn ends_with(parent: Pid) -> bool {
    // The signal follows across exec; asked for before looking, so that a parent that dies in between is
    // noticed.
    in_child::end_with_parent().is_ok() && in_child::parent() == parent
}

/// Where a command's stdin, stdout and stderr come from: the first byte that a launcher is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum StdioSource {
    /// Three descriptors that come with this byte.
    Given,
    /// The message that waits on the connection that comes with this byte. What became of it is reported.
    Connection,
    /// The same, and stdin is what the launcher has: `/dev/null`.
    ConnectionWithoutStdin,
    /// Another byte says it, to the process that this one makes to be the command: this one becomes its
    /// reaper.
    Reaper,
}

/// A byte that a launcher was sent, and what came with it.
struct SentByte {
    kind: u8,
    descriptors: [Option<ChildFd>; REQUEST_FDS],
}

/// `None` when the broker hung up.
fn await_source(stream: BorrowedFd<'_>) -> Option<SentByte> {
    let mut kind = [0];
    let (1, descriptors) = sys::receive_few::<REQUEST_FDS>(stream, &mut kind).ok()? else { return None };
    Some(SentByte { kind: kind[0], descriptors })
}

/// What a launcher reports when its command's descriptors are fit: as long as the report that they are not.
pub(super) const FIT: [u8; UnfitStdio::BYTES] = [0; UnfitStdio::BYTES];

/// How a launcher closes a connection instead of becoming a command: each byte that it is sent, with a
/// connection. It answers each with a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseMode {
    /// It takes out what waits there, so that the answer in the other direction is not lost, and lets go of
    /// its copy.
    Emptied = 16,
    /// It keeps its copy until it ends, with all that waits there: the kernel has the end of a process wait
    /// for no socket that lingers.
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
                // A caller that left with an answer unread is told once, ahead of what it sent.
                while matches!(sys::discard(connection.as_fd()), Ok(true) | Err(Errno::ECONNRESET)) {}
                drop(connection);
            }
            CloseMode::AsItIs => mem::forget(connection),
        }
        let Ok(1) = in_child::write(stream, &[how as u8]) else { return FAILED };
        let Some(next) = await_source(stream) else { return 0 };
        let Some(kind) = CloseMode::of(next.kind) else { return FAILED };
        (how, sent) = (kind, next);
    }
}

/// The command's descriptors; of stdin `None` where the launcher's own is the command's. `None` in all when
/// there are none to be had.
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
        // It stays open, and goes with exec: to close it may take as long as its caller likes.
        mem::forget(stdin);
        return Some([None, stdout, stderr]);
    }
    Some([stdin, stdout, stderr])
}

/// How a launcher ends that did not become a command.
const FAILED: u8 = 1;

/// The plan, and what is left of the room: enough for a pointer to each text, of which each takes five bytes
/// at least. `None` when the broker hung up.
fn receive(
    stream: BorrowedFd<'_>,
    room: ChildMemory,
) -> Result<Option<(ReceivedPlan<'static>, &'static mut [u8])>, LaunchFailure> {
    let mut length = [0; 4];
    let Some(()) = fill(stream, &mut length) else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    let failed = |errno| LaunchFailure { step: LaunchStep::Plan, errno };
    if length > 4 * MESSAGE_BYTES_MAX {
        return Err(failed(Errno::E2BIG));
    }
    let room = room.take(3 * length + 64).ok_or(failed(Errno::ENOMEM))?;
    let (bytes, rest) = room.split_at_mut_checked(length).ok_or(failed(Errno::ENOMEM))?;
    let Some(()) = fill(stream, bytes) else { return Ok(None) };
    Ok(Some((ReceivedPlan::read(bytes).map_err(|_| failed(Errno::EBADMSG))?, rest)))
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

/// What needs no plan: a session of its own, without a terminal, and the command's orphans.
fn prepare() -> Result<(), LaunchFailure> {
    at(LaunchStep::Setsid, in_child::begin_session())?;
    at(LaunchStep::Subreaper, in_child::adopt_orphans())
}

/// The command's three descriptors, and the limit of them.
fn take_place(
    [stdin, stdout, stderr]: &[Option<ChildFd>; REQUEST_FDS],
    open_files: u64,
) -> Result<(), LaunchFailure> {
    at(LaunchStep::Limits, in_child::limit_descriptors(open_files))?;
    for (place, fd) in (0..).zip([stdin, stdout, stderr]) {
        at(LaunchStep::Stdio, fd.as_ref().map_or(Ok(()), |fd| in_child::replace_stdio(fd.as_fd(), place)))?;
    }
    // All others are close-on-exec already; this holds when one day one is not.
    at(LaunchStep::Stdio, in_child::close_on_exec_from(3))
}

/// What else the command starts with: the rule's mask, place and environment. Signals are the nursery's
/// already, and limits, but for the one of descriptors.
fn become_command(orders: &ReceivedPlan<'_>, room: &mut [u8]) -> Result<Infallible, LaunchFailure> {
    in_child::set_umask(orders.umask);
    at(LaunchStep::Chdir, sys::enter_directory(orders.cwd))?;
    let (argv, environment) = (orders.argv.iter(), orders.environment.iter());
    Err(LaunchFailure {
        step: LaunchStep::Exec,
        errno: sys::execute(orders.program, argv, environment, room),
    })
}

fn at<T>(step: LaunchStep, result: nix::Result<T>) -> Result<T, LaunchFailure> {
    result.map_err(|errno| LaunchFailure { step, errno })
}
