//! The life of a relay: a copy of the nursery that has closed all else, and holds the ends of one call's
//! streams and its captures. It ends with its call, with the broker, or by SIGKILL. It blocks all other
//! signals, because a signal to all processes of a call's scope is meant for the command.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, getpid, getppid, setsid};

use crate::audit::CapturedBytes;
use crate::limits::{RELAY_PATIENCE, SEND_WAIT};
use crate::rules::{StdinMode, TtyMode};
use crate::spawn::process::launcher::equip;
use crate::spawn::process::plan::CommandStdio;
use crate::spawn::stream::fds::{FdUse, StreamFds};
use crate::spawn::stream::interpose::CallStreams;
use crate::spawn::stream::interpose::divert;
use crate::spawn::stream::transfer::CallStream;
use crate::sys::in_child;
use crate::sys::{self, UnfitStdio};

use super::messages::{ORDER_BYTES_MAX, RelayOrder, RelayReport, StreamNews, TASK_BYTES, TaskMessage};

/// The values that a relay is made with.
#[derive(Clone, Copy, Debug)]
pub(in crate::spawn) struct RelaySetup {
    /// The number of its channel, among the nursery's descriptors that it has copies of.
    pub(in crate::spawn) channel: RawFd,
    /// Its parent, which it does not outlive.
    pub(in crate::spawn) broker: Pid,
    /// Whether it is in its call's cgroup.
    pub(in crate::spawn) is_inside: bool,
}

/// The exit code of a relay that has done its task.
const DONE: u8 = 0;
/// The exit code of a relay that could not begin.
const FAILED: u8 = 1;

/// A relay's whole life; its result is the exit code.
pub(in crate::spawn) fn live(setup: RelaySetup) -> u8 {
    let channel = OwnedFd::from(in_child::alone_with(setup.channel));
    // The setting is made before the parent is looked at, so that a broker that dies in between is noticed.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != setup.broker {
        return FAILED;
    }
    let begun = settle_in().map_err(RelayError::Io).and_then(|()| begin(channel.as_fd(), setup.is_inside));
    match begun {
        Ok(streams) => RelayWork::new(streams, channel).run(),
        Err(RelayError::Io(source)) => {
            tell_failure(channel.as_fd(), &source);
            return FAILED;
        }
        Err(RelayError::Unfit(unfit)) => {
            // The call may have hung up already.
            sys::send_now(channel.as_fd(), &RelayReport::Unfit(unfit).encode()).ok();
            return FAILED;
        }
    }
    DONE
}

/// Reports that there is no relay. Errors are ignored: the call may have hung up already.
pub(in crate::spawn) fn tell_failure(channel: BorrowedFd<'_>, source: &io::Error) {
    let errno = sys::errno_of(source);
    sys::send_now(channel, &RelayReport::Failed(errno).encode()).ok();
}

/// Blocks signals, begins a session, and replaces the nursery's stdin, stdout and stderr by `/dev/null`.
fn settle_in() -> io::Result<()> {
    sys::block_signals()?;
    prctl::set_dumpable(false)?;
    prctl::set_name(c"sluice-relay")?;
    // In a session of its own the relay is not stopped by job control when it reads a terminal of the
    // caller's.
    setsid()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

/// Why a relay does not begin.
enum RelayError {
    Unfit(UnfitStdio),
    Io(io::Error),
}

impl From<io::Error> for RelayError {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

/// Receives the task and the caller's descriptors, and sends the launcher the command's descriptors.
fn begin(channel: BorrowedFd<'_>, is_inside: bool) -> Result<CallStreams, RelayError> {
    let message = sys::receive(channel, TASK_BYTES)?;
    let task =
        TaskMessage::decode(&message.bytes).map_err(|_| RelayError::Io(io::ErrorKind::BrokenPipe.into()))?;
    let mut descriptors = message.descriptors.into_iter();
    let mut next = || descriptors.next().ok_or(io::Error::from(io::ErrorKind::BrokenPipe));
    let (connection, launcher) = (next()?, next()?);
    let mut captures = [None, None, None];
    for (capture, most) in captures.iter_mut().zip(task.captures) {
        *capture = most.map(|most| next().map(|file| (File::from(file), most))).transpose()?;
    }
    let taken = sys::take_stdio(connection.as_fd()).map_err(RelayError::Unfit)?;
    let [mut stdin, stdout, stderr] = taken.map(OwnedFd::from);
    // Closed before the report: after it, only the broker holds the connection.
    drop(connection);
    if task.stdin == StdinMode::Null {
        // The caller's stdin stays open until this process ends: closing it can block for as long as the
        // caller likes.
        mem::forget(mem::replace(&mut stdin, File::open("/dev/null")?.into()));
    }
    let hides_terminals = task.tty == TtyMode::Hide;
    let (stdio, streams) =
        divert(CommandStdio([stdin, stdout, stderr]), captures, hides_terminals, task.audit)?;
    equip(launcher.as_fd(), &stdio)?;
    let pidfd = sys::open_pidfd(getpid())?;
    let equipped = RelayReport::Equipped { pid: getpid().as_raw(), is_inside };
    let give_up = Some(Instant::now() + SEND_WAIT);
    sys::send_patiently(channel, &equipped.encode(), &[pidfd.as_fd()], give_up)?;
    Ok(streams)
}

/// A relay at work.
struct RelayWork {
    streams: Vec<(usize, CallStream<StreamFds>)>,
    channel: OwnedFd,
    order: RelayOrder,
    /// Until when it moves bytes, once it was told to finish.
    until: Option<Instant>,
    /// The latest report to the call.
    news: StreamNews,
    /// Whether a report is still to be sent, because the channel was full.
    is_owing: bool,
}

impl RelayWork {
    fn new(CallStreams(streams): CallStreams, channel: OwnedFd) -> Self {
        let news = StreamNews::default();
        Self { streams, channel, order: RelayOrder::Flow, until: None, news, is_owing: false }
    }

    /// Moves bytes until nothing is left to do, the call has it finish, or the call's end of the channel is
    /// closed.
    fn run(mut self) {
        let mut last_moved = Instant::now();
        let mut heard = RelayOrder::Flow;
        loop {
            let order = self.order;
            let moved = self.pump();
            if moved {
                last_moved = Instant::now();
            }
            self.report();
            let now = Instant::now();
            let deadline = self.until.map(|until| until.min(last_moved + RELAY_PATIENCE));
            if self.is_done() || deadline.is_some_and(|deadline| now >= deadline) {
                break;
            }
            // After bytes have moved, or a new order has come, the ends are polled without waiting: only that
            // shows whether there is more.
            let until = if moved || order != heard { Some(now) } else { deadline };
            heard = order;
            if self.look(until).is_err() {
                break;
            }
            let is_calm =
                order == RelayOrder::Settle && self.streams.iter().all(|(_, stream)| stream.is_calm());
            if is_calm && !self.news.is_calm {
                self.news.is_calm = true;
                self.tell();
            }
        }
        self.end();
    }

    /// Whether nothing is left to do. After a capture failed, the command's stdin stays open until the
    /// command has ended, because the command must not take a cut stdin for a complete one. Until then the
    /// command may also read bytes that are still in its stdin's pipe.
    fn is_done(&self) -> bool {
        let is_asked = self.order != RelayOrder::Flow;
        let may_close = self.until.is_some() || !self.streams.iter().any(|(_, stream)| stream.is_lost());
        let is_done = |stream: &CallStream<_>| stream.is_over() && (is_asked || stream.is_known());
        may_close && self.streams.iter().all(|(_, stream)| is_done(stream))
    }

    /// Moves the bytes that can be moved now, and closes ends that are done with. Gives whether any moved.
    fn pump(&mut self) -> bool {
        let mut moved = false;
        for (_, stream) in &mut self.streams {
            if self.until.is_some() {
                stream.hurry();
            }
            moved |= stream.take();
        }
        // Writing to the sinks may block, so a failed capture is reported first.
        self.report();
        for (_, stream) in &mut self.streams {
            moved |= stream.give();
            stream.release();
        }
        moved
    }

    /// Reports a failed capture that ends the call, or sends again a report that the channel had no room for.
    fn report(&mut self) {
        let is_lost = self.streams.iter().any(|(_, stream)| stream.is_lost());
        if (is_lost && !self.news.is_lost) || self.is_owing {
            self.news.is_lost |= is_lost;
            self.tell();
        }
    }

    /// Notes the sizes and failures of the captures for the next report.
    fn note(&mut self) {
        let (mut captured, mut failure) = (CapturedBytes::default(), None);
        for (index, stream) in &self.streams {
            captured.bytes[*index] = stream.captured();
            captured.stdin_unread += stream.unread();
            captured.truncated |= stream.is_truncated();
            let errno = |loss: &io::Error| (*index, sys::errno_of(loss));
            failure = failure.or_else(|| stream.loss().map(errno));
        }
        (self.news.captured, self.news.failure) = (captured, failure);
    }

    /// Reports the present state to the call. If the channel is full, the report is sent later.
    fn tell(&mut self) {
        self.note();
        self.send();
    }

    fn send(&mut self) {
        let told = sys::send_now(self.channel.as_fd(), &RelayReport::News(self.news).encode());
        self.is_owing = told.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    }

    /// Waits until bytes can be moved, an end has hung up, an order has come, or the time is up.
    /// Errors: there is no call any more.
    fn look(&mut self, until: Option<Instant>) -> io::Result<()> {
        let answers = if self.is_owing { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let mut looked_at = vec![PollFd::new(self.channel.as_fd(), answers)];
        let mut places = Vec::new();
        for (place, (_, stream)) in self.streams.iter().enumerate().filter(|(_, (_, s))| !s.is_over()) {
            let wants = stream.wants();
            if let Some(source) = stream.ends.source().filter(|_| wants.source) {
                places.push((place, FdUse::Read));
                looked_at.push(PollFd::new(source, PollFlags::POLLIN));
            }
            // With no events asked for, poll(2) tells only that the reader is gone.
            let room = if wants.sink { PollFlags::POLLOUT } else { PollFlags::empty() };
            if let Some(sink) = stream.ends.sink() {
                places.push((place, FdUse::Write));
                looked_at.push(PollFd::new(sink, room));
            }
        }
        sys::poll_until(&mut looked_at, until)?;
        let seen: Vec<PollFlags> =
            looked_at.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        drop(looked_at);
        for (place, (_, stream)) in self.streams.iter_mut().enumerate() {
            let of = |used| places.iter().position(|at| *at == (place, used)).map(|at| seen[at + 1]);
            stream.heed(of(FdUse::Read), of(FdUse::Write));
        }
        if seen[0].intersects(!PollFlags::POLLOUT) { self.obey() } else { Ok(()) }
    }

    /// Receives the orders that have come; the last one counts. Errors: the call's end of the channel is
    /// closed.
    fn obey(&mut self) -> io::Result<()> {
        let mut bytes = [0; ORDER_BYTES_MAX];
        loop {
            let length = match sys::receive_now(self.channel.as_fd(), &mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                received => received?,
            };
            self.order = RelayOrder::decode(&bytes[..length]).map_err(|_| io::ErrorKind::BrokenPipe)?;
            if let RelayOrder::Finish(left) = self.order {
                self.until = Instant::now().checked_add(left);
            }
        }
    }

    /// Closes the streams' ends, for which the command and the reader may wait, and then sends the last
    /// report.
    fn end(mut self) {
        let is_cut = self.streams.iter().any(|(_, stream)| !stream.is_over());
        // The relay ends without an order to finish: it has failed.
        self.news.is_lost |= is_cut && self.until.is_none();
        for (_, stream) in &mut self.streams {
            stream.close();
        }
        self.note();
        self.streams.clear();
        (self.news.is_over, self.news.is_cut) = (true, is_cut);
        self.send();
    }
}
