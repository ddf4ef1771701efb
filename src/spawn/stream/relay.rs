//! The relay of one call, as the broker holds it: a process that moves the bytes of its captured streams. It
//! is the relay that reads, writes and closes what the caller passed, so its signals are what a signalfd
//! gives, its credentials what a socket sees, and it alone waits for a file system of the caller's. It holds
//! nothing else, and can be killed.
//!
//! Nobody waits for a relay without a deadline. One that dies has cut its streams: what the files of the
//! captures hold counts then. Read `relay/process.rs` for its life, `transfer.rs` for what moves when.

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

/// What a relay is to do.
#[derive(Debug)]
pub struct RelayTask<'a> {
    /// The connection on which the request with the caller's descriptors waits.
    pub connection: BorrowedFd<'a>,
    /// The files of the captures, each with the most bytes that it may hold.
    pub captures: [Option<(File, u64)>; REQUEST_FDS],
    /// Whose the command's stdin is.
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
    /// Until its last word.
    captures: RefCell<[Option<File>; REQUEST_FDS]>,
    /// The last that it said.
    news: Cell<StreamNews>,
    /// The channel has ended.
    is_gone: Cell<bool>,
    is_finishing: Cell<bool>,
}

impl PendingRelay {
    /// A relay that will speak at the other end of `channel`.
    pub(in crate::spawn) fn new(channel: OwnedFd, reaper: Arc<Reaper>) -> Self {
        Self { channel, reaper }
    }

    /// Has the relay take the caller's descriptors, put pipes in the place of captured and of hidden ones,
    /// and give the launcher what becomes the command's stdin, stdout and stderr. Until then nobody else may
    /// take or look at what waits on the connection. Waits for it as long as somebody wants the command.
    /// Errors: the descriptors are not fit for a command, they are not there in time, the broker stops, the
    /// caller left, the relay has ended, or there was none to be had.
    pub fn equip(
        self,
        launcher: &Launcher,
        task: RelayTask<'_>,
        caller: Option<BorrowedFd<'_>>,
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
        // One that could not be made has said why.
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

    /// What to poll for news: nothing of one that is gone, whose channel stays readable and would be all that
    /// is ever heard.
    pub(in crate::spawn) fn poll_fd(&self) -> Option<PollFd<'_>> {
        (!self.is_gone()).then(|| PollFd::new(self.told(), PollFlags::POLLIN))
    }

    /// Its process, where that is in the call's cgroup.
    pub(in crate::spawn) fn process_inside(&self) -> Option<Pid> {
        Some(self.process.pid).filter(|_| self.process.is_inside && !self.is_gone.get())
    }

    /// Takes in the news that there is, without waiting.
    pub(in crate::spawn) fn hear(&self) {
        let mut word = [0; WORD_BYTES_MAX];
        while !self.is_gone.get() {
            match sys::receive_now(self.told(), &mut word) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Told once, of a relay that ended before it read an order; what it said before is still
                // there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Ok(bytes) if bytes > 0 => {
                    if let Ok(RelayReport::News(news)) = RelayReport::decode(&word[..bytes]) {
                        self.news.set(news);
                        if news.is_over {
                            // Its copies are closed too: a file system can be unmounted when the caller has
                            // its answer.
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

    /// Whether all that was written before [`Self::settle`] has been given.
    pub(in crate::spawn) fn is_calm(&self) -> bool {
        self.news.get().is_calm || self.is_over()
    }

    /// Whether its process is gone, and all that it said is heard.
    pub(in crate::spawn) fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    /// Whether nothing moves any more.
    pub fn is_over(&self) -> bool {
        self.is_gone.get() || self.news.get().is_over
    }

    /// Asks to be told when all that was written so far has been given.
    pub(in crate::spawn) fn settle(&self) {
        self.tell(RelayOrder::Settle);
    }

    /// Has it end, after what can be moved until then without waiting long.
    pub fn finish(&self, until: Instant) {
        self.is_finishing.set(true);
        self.tell(RelayOrder::Finish(until.saturating_duration_since(Instant::now())));
    }

    fn tell(&self, order: RelayOrder) {
        // One that is gone is known by the end of its channel, and one that does not listen is killed.
        sys::send_now(self.told(), &order.encode()).ok();
    }

    /// The first capture that failed, by its descriptor, and why.
    pub fn failure(&self) -> Option<(usize, io::Error)> {
        self.news.get().failure.map(|(index, errno)| (index, io::Error::from_raw_os_error(errno)))
    }

    /// What the captures hold. Of a relay that did not say its last word nobody knows what they lack.
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

    /// The same while they go on.
    pub(in crate::spawn) fn captured_so_far(&self) -> CapturedBytes {
        CapturedBytes { goes_on: true, ..self.news.get().captured }
    }

    /// Waits until all is over, as long as `until` says and the broker does not stop.
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

    /// Kills it where it is not over, and waits a while for its end: then its captures do not grow any more.
    pub fn cut_off(&self) {
        self.hear();
        if !self.is_over() {
            self.process.end();
            self.hear();
        }
    }

    /// Sees it to its end. Gives the relay back where that does not come, though it was killed.
    pub fn end(self) -> Option<Self> {
        let has_ended = self.process.end();
        (!has_ended).then_some(self)
    }

    /// Waits until it has ended after all, or the broker stops.
    pub fn outlast(self, stopping: BorrowedFd<'_>) {
        let ended = self.process.pidfd.as_fd();
        let mut looked_at = [ended, stopping].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // A wait that fails is over.
        sys::poll_until(&mut looked_at, None).ok();
    }
}

/// The process of a relay. Dropped, it is killed, and left to be reaped by whoever looks when it does not end
/// at once: in a file system of the caller's, even a process that was killed stays for as long as that does
/// not answer.
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

    /// Kills it, and waits a while for its end. Gives whether that came.
    fn end(&self) -> bool {
        // One that has ended needs no signal.
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
