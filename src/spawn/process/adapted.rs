//! An adapter as the broker holds it (`adapter.rs` is the process).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

use crate::limits::TAKING_MAX;
use crate::refusal::{DescriptorFault, Refusal};
use crate::spawn::stop::StopSignal;
use crate::sys;

use super::adapter::{ADAPT, AdapterReport};
use super::launcher::{EndingLauncher, Launcher, await_word, has_heard};

/// A launcher that serves requests of version 2.
#[derive(Debug)]
pub struct Adapter(Launcher);

/// How far an adapter is with its last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterProgress {
    /// It has closed all that came with the request, and can serve another one.
    Free,
    /// Not as far.
    Busy,
    /// It has ended, or is of no use any more.
    Ended,
}

impl Adapter {
    /// An adapter of a launcher that was told nothing yet.
    pub fn new(launcher: Launcher) -> Self {
        Self(launcher)
    }

    /// Has the adapter take the request that waits on `connection`, and serve it on `line`. Until
    /// [`Self::await_taken`] has returned, no other code may receive or peek at the messages on `connection`.
    /// Errors: `ETOOMANYREFS`, until `give_up`, `BrokenPipe` (it has ended). Then it was told nothing.
    pub fn send(&self, connection: BorrowedFd<'_>, line: BorrowedFd<'_>, give_up: Instant) -> io::Result<()> {
        sys::send_patiently(self.0.stream(), &[ADAPT], &[connection, line], Some(give_up)).map(drop)
    }

    /// Waits until the adapter has taken the request, and gives the number of descriptors that came with it.
    /// When this succeeds, or says that the descriptors are unfit, the adapter's copy of the connection is
    /// closed, and the request is not in it any more.
    /// Errors: the descriptors are unfit, or could not be sent on; the broker stops; the adapter has ended,
    /// or says nothing in time. After an error the adapter is of no use.
    pub fn await_taken(&self, stop: StopSignal<'_>) -> Result<usize, Refusal> {
        let until = Instant::now() + TAKING_MAX;
        loop {
            match self.report() {
                Ok(Some(AdapterReport::Taken(count))) => return Ok(count),
                Ok(Some(AdapterReport::Unfit(unfit))) => return Err(Refusal::PipedDescriptors(unfit.into())),
                Ok(Some(AdapterReport::Unsent)) => return Err(Refusal::InFlight),
                Ok(Some(AdapterReport::Free)) | Err(_) => return Err(Refusal::LauncherEnded),
                Ok(None) => {}
            }
            if !await_word(self.0.stream(), until, None, stop)? {
                let is_late = has_heard(self.0.stream());
                self.0.kill();
                let late = Refusal::PipedDescriptors(DescriptorFault::Late);
                return Err(if is_late { late } else { Refusal::LauncherSilent });
            }
        }
    }

    /// Kills it, and says whether it has ended by `give_up`.
    pub fn end(&self, give_up: Instant) -> bool {
        self.0.kill();
        sys::poll_until(&mut [PollFd::new(self.0.pidfd(), PollFlags::POLLIN)], Some(give_up)).unwrap_or(false)
    }

    /// Whether it waits for something else than a processor.
    pub fn is_asleep(&self) -> bool {
        !self.0.is_running()
    }

    /// How far the adapter is with its last request.
    pub fn progress(&self) -> AdapterProgress {
        match self.report() {
            Ok(Some(AdapterReport::Free)) => AdapterProgress::Free,
            Ok(None) => AdapterProgress::Busy,
            Ok(Some(_)) | Err(_) => AdapterProgress::Ended,
        }
    }

    /// Readable when [`Self::progress`] has news.
    pub fn news(&self) -> BorrowedFd<'_> {
        self.0.stream()
    }

    /// The next report, if one is there.
    fn report(&self) -> io::Result<Option<AdapterReport>> {
        let mut report = [0; AdapterReport::BYTES];
        match sys::receive_now(self.0.stream().as_fd(), &mut report) {
            Ok(AdapterReport::BYTES) => {
                AdapterReport::decode(report).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
            }
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(source),
        }
    }

    /// Has it end: at once where it has nothing to do, and where `is_stuck`, by SIGKILL.
    pub fn dismiss(self, is_stuck: bool) -> EndingLauncher {
        if is_stuck {
            self.0.kill();
        }
        self.0.let_go()
    }
}
