//! The relay of one call, as the broker holds it: a process that moves the bytes of the call's captured
//! streams. Only the relay reads, writes and closes the descriptors that the caller passed. So a signalfd of
//! the caller's gives the relay's signals, a socket shows the relay's credentials, and a file system of the
//! caller's can block the relay alone, which holds nothing else and can be killed.
//!
//! Every wait for a relay has a deadline. A relay that dies cuts its streams; then the sizes of the captures'
//! files count. Read `relay/process.rs` for its life, `transfer.rs` for the order in which bytes move.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::audit::CapturedBytes;
use crate::limits::{RELAY_KILL_GRACE, REQUEST_FDS, SEND_WAIT, TAKING_MAX};
use crate::refusal::{DescriptorFault, Refusal};
use crate::rules::{AuditMode, StdinMode, TtyMode};
use crate::sys;

use crate::spawn::caller_line::CallerLine;
use crate::spawn::process::launcher::{Launcher, await_word, has_heard};
use crate::spawn::reap::reaper::Reaper;
use crate::spawn::stop::StopSignal;

use messages::{RelayOrder, RelayReport, StreamNews, TaskMessage, WORD_BYTES_MAX};

pub(in crate::spawn) use process::{RelaySetup, live, tell_failure};

mod messages;
mod process;

/// A relay that the nursery was asked for.
#[derive(Debug)]
pub struct PendingRelay {
    channel: OwnedFd,
    reaper: Arc<Reaper>,
}

/// A relay's task.
#[derive(Debug)]
pub struct RelayTask<'a> {
    /// The connection on which the request with the caller's descriptors waits.
    pub connection: BorrowedFd<'a>,
    /// The files of the captures, each with the most bytes that it may hold.
    pub captures: [Option<(File, u64)>; REQUEST_FDS],
    /// Whether the command gets the caller's stdin, or `/dev/null`.
    pub stdin: StdinMode,
    /// Whether terminals are hidden.
    pub tty: TtyMode,
    /// Whether a capture that fails ends the call.
    pub audit: AuditMode,
}

/// A relay that has equipped the launcher of its call.
#[derive(Debug)]
pub struct Relay {
    channel: OwnedFd,
    process: RelayProcess,
    /// The broker's copies of the captures' files, until the relay's last report.
    captures: RefCell<[Option<File>; REQUEST_FDS]>,
    /// The relay's latest report.
    news: Cell<StreamNews>,
    /// Whether the channel has ended.
    is_gone: Cell<bool>,
    is_finishing: Cell<bool>,
}

impl PendingRelay {
    /// A relay that will have the other end of `channel`.
    pub(in crate::spawn) fn new(channel: OwnedFd, reaper: Arc<Reaper>) -> Self {
        Self { channel, reaper }
    }

    /// Has the relay take the caller's descriptors, put pipes in the place of captured and of hidden ones,
    /// and send the launcher the command's stdin, stdout and stderr. Until this returns, no other code may
    /// receive or peek at the messages on the connection. Waits as long as the caller stays and the broker
    /// does not stop.
    /// Errors: the descriptors are not fit for a command, they are not there in time, the broker stops, the
    /// caller left, the relay has ended, or there was none to be had.
    pub fn equip(
        self,
        launcher: &Launcher,
        task: RelayTask<'_>,
        caller: Option<CallerLine<'_>>,
        stop: StopSignal<'_>,
    ) -> Result<Relay, Refusal> {
        let RelayTask { connection, captures, stdin, tty, audit } = task;
        let most = captures.each_ref().map(|capture| capture.as_ref().map(|(_, most)| *most));
        let captures = captures.map(|capture| capture.map(|(file, _)| file));
        let mut descriptors = vec![connection, launcher.stream()];
        descriptors.extend(captures.iter().flatten().map(AsFd::as_fd));
        let (channel, now) = (self.channel.as_fd(), Instant::now());
        let words = TaskMessage { audit, tty, stdin, captures: most }.encode();
        let sent = sys::send_patiently(channel, &words, &descriptors, Some(now + SEND_WAIT));
        // If the relay hung up, its report of the error is in the channel already.
        sent.map(drop)
            .or_else(|source| sys::is_hung_up(&source).then_some(()).ok_or(Refusal::no_launcher(source)))?;
        if !await_word(channel, now + TAKING_MAX, caller, stop)? {
            let late = Refusal::Descriptors(DescriptorFault::Late);
            return Err(if has_heard(channel) { late } else { Refusal::LauncherSilent });
        }
        let message = sys::receive(channel, WORD_BYTES_MAX).map_err(Refusal::no_launcher)?;
        match RelayReport::decode(&message.bytes) {
            Ok(RelayReport::Equipped { pid, is_inside }) => {
                let handle = message.descriptors.into_iter().next();
                let pidfd = handle.ok_or(Refusal::NoLauncher(Errno::EMFILE.into()))?;
                let process = RelayProcess::new(Pid::from_raw(pid), pidfd, is_inside, self.reaper);
                Ok(Relay::new(self.channel, process, captures))
            }
            Ok(RelayReport::Unfit(unfit)) => Err(Refusal::Descriptors(unfit.into())),
            Ok(RelayReport::Failed(errno)) => Err(Refusal::no_launcher(io::Error::from_raw_os_error(errno))),
            Ok(RelayReport::News(_)) | Err(_) => Err(Refusal::LauncherEnded),
        }
    }
}

impl Relay {
    fn new(channel: OwnedFd, process: RelayProcess, captures: [Option<File>; REQUEST_FDS]) -> Self {
        let (news, is_gone, is_finishing) = Default::default();
        Self { channel, process, captures: RefCell::new(captures), news, is_gone, is_finishing }
    }

    /// Readable when there is news.
    pub fn told(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// The channel to poll for news; `None` if the relay is gone, for then its channel stays readable and
    /// each poll(2) would return at once.
    pub(in crate::spawn) fn poll_fd(&self) -> Option<PollFd<'_>> {
        (!self.is_gone()).then(|| PollFd::new(self.told(), PollFlags::POLLIN))
    }

    /// The relay's process, where that is in the call's cgroup.
    pub(in crate::spawn) fn process_inside(&self) -> Option<Pid> {
        Some(self.process.pid).filter(|_| self.process.is_inside && !self.is_gone.get())
    }

    /// Receives the news that has come, without waiting.
    pub(in crate::spawn) fn hear(&self) {
        let mut word = [0; WORD_BYTES_MAX];
        while !self.is_gone.get() {
            match sys::receive_now(self.told(), &mut word) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The kernel reports once that the relay ended before it read an order; the relay's earlier
                // reports can still be received.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Ok(bytes) if bytes > 0 => {
                    if let Ok(RelayReport::News(news)) = RelayReport::decode(&word[..bytes]) {
                        self.news.set(news);
                        if news.is_over {
                            // The broker's copies are closed too, so that the captures' file system can be
                            // unmounted as soon as the caller has its answer.
                            drop(self.captures.take());
                        }
                    }
                }
                Ok(_) | Err(_) => self.is_gone.set(true),
            }
        }
    }

    /// Whether the call is to end: a capture failed, or the relay died.
    pub(in crate::spawn) fn is_lost(&self) -> bool {
        let news = self.news.get();
        let has_died = self.is_gone.get() && !news.is_over && !self.is_finishing.get();
        news.is_lost || has_died
    }

    /// Whether all bytes that were written before [`Self::settle`] have been delivered.
    pub(in crate::spawn) fn is_calm(&self) -> bool {
        self.news.get().is_calm || self.is_over()
    }

    /// Whether the relay is gone, and all its reports have been received.
    pub(in crate::spawn) fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    /// Whether the relay moves no more bytes.
    pub fn is_over(&self) -> bool {
        self.is_gone.get() || self.news.get().is_over
    }

    /// Asks for a report when all bytes that were written so far have been delivered.
    pub(in crate::spawn) fn settle(&self) {
        self.tell(RelayOrder::Settle);
    }

    /// Has the relay end, after it has moved the bytes that it can move until `until` without waiting long.
    pub fn finish(&self, until: Instant) {
        self.is_finishing.set(true);
        self.tell(RelayOrder::Finish(until.saturating_duration_since(Instant::now())));
    }

    fn tell(&self, order: RelayOrder) {
        // Errors are ignored: a relay that is gone shows in the end of its channel, and a relay that does not
        // read is killed.
        sys::send_now(self.told(), &order.encode()).ok();
    }

    /// The first capture that failed, by its descriptor, and why.
    pub fn failure(&self) -> Option<(usize, io::Error)> {
        self.news.get().failure.map(|(index, errno)| (index, io::Error::from_raw_os_error(errno)))
    }

    /// The bytes that the captures hold. Without the relay's last report the files' sizes count, and the
    /// captures are taken to be incomplete.
    pub fn captured(&self) -> CapturedBytes {
        let StreamNews { is_over, is_cut, captured, .. } = self.news.get();
        if is_over {
            return CapturedBytes { drain_timeout: is_cut, ..captured };
        }
        let files = self.captures.borrow();
        let bytes = files.each_ref().map(|file| Some(file.as_ref()?.metadata().ok()?.len()));
        let truncated = captured.truncated || bytes.iter().any(Option::is_some);
        CapturedBytes { bytes, truncated, drain_timeout: true, ..captured }
    }

    /// The bytes that the captures hold so far, while they go on.
    pub(in crate::spawn) fn captured_so_far(&self) -> CapturedBytes {
        CapturedBytes { goes_on: true, ..self.news.get().captured }
    }

    /// Waits until the relay is over, at most until `until`, or until the broker stops.
    pub fn wait_over(&self, until: Option<Instant>, stopping: BorrowedFd<'_>) -> io::Result<()> {
        while !self.is_over() {
            let mut looked_at = [stopping, self.told()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if !sys::poll_until(&mut looked_at, until)? || looked_at[0].any() == Some(true) {
                return Ok(());
            }
            self.hear();
        }
        Ok(())
    }

    /// Kills the relay if it is not over, and waits up to [`RELAY_KILL_GRACE`] for its end, so that the
    /// captures do not grow any more.
    pub fn cut_off(&self) {
        self.hear();
        if !self.is_over() {
            self.process.end();
            self.hear();
        }
    }

    /// Kills the relay and waits for its end. Gives the relay back if it has not ended in time.
    pub fn end(self) -> Option<Self> {
        let has_ended = self.process.end();
        (!has_ended).then_some(self)
    }

    /// Waits until a relay that did not end in time has ended, or the broker stops.
    pub fn outlast(self, stopping: BorrowedFd<'_>) {
        let ended = self.process.pidfd.as_fd();
        let mut looked_at = [ended, stopping].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // If poll(2) fails, there is no further wait.
        sys::poll_until(&mut looked_at, None).ok();
    }
}

/// The process of a relay. Dropping this kills it. If it does not end at once, the reaper reaps it later: a
/// killed process can stay blocked in a file system of the caller's for as long as that does not answer.
#[derive(Debug)]
struct RelayProcess {
    pid: Pid,
    pidfd: OwnedFd,
    is_inside: bool,
    reaper: Arc<Reaper>,
}

impl RelayProcess {
    fn new(pid: Pid, pidfd: OwnedFd, is_inside: bool, reaper: Arc<Reaper>) -> Self {
        reaper.note_relay(pid);
        Self { pid, pidfd, is_inside, reaper }
    }

    /// Kills it, and waits up to [`RELAY_KILL_GRACE`] for its end. Gives whether it has ended.
    fn end(&self) -> bool {
        // A relay that has ended needs no signal.
        sys::send_signal(self.pidfd.as_fd(), Signal::SIGKILL).ok();
        let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        sys::poll_until(&mut ended, Some(Instant::now() + RELAY_KILL_GRACE)).unwrap_or(false)
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        self.end();
        self.reaper.let_go(self.pid);
    }
}
