//! The broker's side of the nursery: launchers that wait for a call.
//!
//! One thread receives each launcher as soon as the nursery has sent it: while a socket is in flight in a
//! message, the kernel searches for unreachable sockets whenever any socket on the machine is closed.
//! Launchers are asked for several at a time, when a call has been answered, or by a call that takes one of
//! the last few: a nursery at work takes processor time from a running call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;

use crate::confine::ViewSupport;
use crate::limits::{
    CALL_STACK_BYTES, LAUNCHERS_ASKED_MAX, LAUNCHERS_LEFT_MIN, NURSERY_WAIT, SEND_RETRY, SEND_WAIT,
};
use crate::spawn::contain::scope::CallScope;
use crate::spawn::contain::warm::WarmSet;
use crate::spawn::door::handle::FifoDoor;
use crate::spawn::reap::reaper::Reaper;
use crate::spawn::stream::relay::PendingRelay;
use crate::sys::{self, Locked};

use super::anchor::NewAnchor;
use super::answer::ProcessAnswer;
use super::launcher::{Launcher, dismiss};
use super::namespace;
use super::nursery::NurseryRequest;

/// The launchers that wait for calls.
#[derive(Debug)]
pub struct LauncherPool {
    state: Locked<PoolState>,
    changed: Condvar,
    reaper: Arc<Reaper>,
}

#[derive(Debug)]
struct PoolState {
    /// The channel to the present nursery.
    channel: Option<Arc<OwnedFd>>,
    /// The present nursery, or the last one.
    nursery: Option<Pid>,
    warm: WarmSet<Launcher>,
    /// The number of launchers that were asked for and have not come yet.
    coming: usize,
    /// Why the last launcher could not be made or received, until a waiting call takes the error.
    trouble: Option<Errno>,
    /// The last such error of the present nursery, whether or not a call waited.
    last_trouble: Option<Errno>,
    /// Whether the present nursery has made a launcher.
    has_made: bool,
}

impl LauncherPool {
    /// A pool without a nursery: [`Self::attach`] gives it one.
    pub fn new(reaper: Arc<Reaper>) -> Self {
        let warm = WarmSet::new(Instant::now());
        let state = PoolState {
            channel: None,
            nursery: None,
            warm,
            coming: 0,
            trouble: None,
            last_trouble: None,
            has_made: false,
        };
        Self { state: Locked::new(state), changed: Condvar::new(), reaper }
    }

    /// Takes launchers from the nursery `pid` behind `channel` from now on, and has the first ones made.
    pub fn attach(self: &Arc<Self>, pid: Pid, channel: OwnedFd) -> io::Result<()> {
        let channel = Arc::new(channel);
        let (pool, own) = (self.clone(), channel.clone());
        let work = move || {
            pool.receive_launchers(&own);
            // The nursery is gone, or its channel fails: calls no longer use it. A nursery that is still
            // there sees the end of the channel, ends, and is replaced.
            shutdown(own.as_raw_fd(), Shutdown::Both).ok();
            pool.lose(&own);
        };
        thread::Builder::new().name("launchers".into()).stack_size(CALL_STACK_BYTES).spawn(work)?;
        let mut state = self.state.lock();
        (state.channel, state.nursery, state.coming) = (Some(channel), Some(pid), 0);
        (state.last_trouble, state.has_made) = (None, false);
        state.ask();
        self.changed.notify_all();
        Ok(())
    }

    /// Whether the nursery has made a launcher, and if not, why.
    pub fn health(&self) -> Result<(), io::Error> {
        let state = self.state.lock();
        if state.has_made {
            return Ok(());
        }
        Err(state.last_trouble.map_or_else(|| io::Error::other("it ended without a word"), Into::into))
    }

    /// Forgets a nursery that is gone, and dismisses its launchers. Calls wait until there is another
    /// nursery.
    pub fn detach(&self) {
        let left = self.state.lock().forget();
        dismiss(left, &self.reaper);
    }

    /// Waits until the nursery has made a launcher, as a proof that processes can be made. The launcher stays
    /// for the first call.
    /// Errors: the kernel's, where it made no process; `UnexpectedEof` (the nursery ended), `TimedOut`.
    pub fn prove(&self) -> io::Result<()> {
        let give_up = Instant::now() + NURSERY_WAIT;
        let mut state = self.state.lock();
        state.warm.waiting += 1;
        let proved = loop {
            let left = give_up.saturating_duration_since(Instant::now());
            if !state.warm.ready.is_empty() {
                break Ok(());
            } else if let Some(errno) = state.trouble.take() {
                break Err(errno.into());
            } else if state.channel.is_none() {
                break Err(state.last_trouble.map_or(io::ErrorKind::UnexpectedEof.into(), Into::into));
            } else if left.is_zero() {
                break Err(io::ErrorKind::TimedOut.into());
            }
            state.ask();
            state = self.wait(state, left);
        };
        state.warm.waiting -= 1;
        proved
    }

    /// A launcher that is alive. Waits for one to be made, at most [`NURSERY_WAIT`], however often the
    /// nursery is replaced meanwhile.
    /// Errors: `TimedOut` (no nursery makes one), `EMFILE`, the kernel's, where it made no process.
    pub fn take(&self) -> io::Result<Launcher> {
        let give_up = Instant::now() + NURSERY_WAIT;
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            if let Some(launcher) = state.warm.take(now, Launcher::is_alive) {
                if state.warm.ready.len() < LAUNCHERS_LEFT_MIN {
                    state.ask();
                }
                return Ok(launcher);
            }
            if now >= give_up {
                return Err(none_in_time());
            }
            state.warm.waiting += 1;
            state.ask();
            state = self.wait(state, give_up - now);
            state.warm.waiting -= 1;
            if let Some(errno) = state.trouble.take() {
                return Err(errno.into());
            }
        }
    }

    /// A launcher that is there already, without waiting; if there is none, asks for more.
    pub fn try_take(&self) -> Option<Launcher> {
        let mut state = self.state.lock();
        let taken = state.warm.take(Instant::now(), Launcher::is_alive);
        if taken.is_none() || state.warm.ready.len() < LAUNCHERS_LEFT_MIN {
            state.ask();
        }
        taken
    }

    /// Like [`Self::try_take`]. Errors: there is none; the nursery's last trouble, where it had some.
    pub fn take_now(&self) -> io::Result<Launcher> {
        let trouble = || self.state.lock().last_trouble.unwrap_or(Errno::EAGAIN);
        self.try_take().ok_or_else(|| trouble().into())
    }

    /// Asks for launchers in the place of those that were taken, once at least half of the wanted number is
    /// missing.
    pub fn refill(&self) {
        let mut state = self.state.lock();
        if state.missing() * 2 >= state.warm.target(Instant::now()) {
            state.ask();
        }
    }

    /// Has a launcher made inside a call's group, and does not wait for it. With patience, for a call that
    /// needs it now, waits until the request can be sent.
    /// Errors: `TimedOut` (no nursery makes one), `EMFILE`, without patience `WouldBlock`; the group comes
    /// back.
    pub(in crate::spawn) fn order(
        &self,
        scope: CallScope,
        patience: OrderPatience,
    ) -> Result<OrderedLauncher, (CallScope, io::Error)> {
        let send = || {
            let (stream, far) = sys::stream_pair()?;
            let descriptors = [scope.cgroup().directory(), far.as_fd()];
            match patience {
                OrderPatience::Waits => self.send(&[NurseryRequest::LAUNCHER], &descriptors)?,
                OrderPatience::None => self.send_now(&[NurseryRequest::LAUNCHER], &descriptors)?,
            }
            Ok(stream)
        };
        match send() {
            Ok(stream) => Ok(OrderedLauncher { stream, scope, answer: None }),
            Err(source) => Err((scope, source)),
        }
    }

    /// Notes that the nursery has made a launcher in a group.
    pub(in crate::spawn) fn note_made(&self) {
        self.state.lock().has_made = true;
    }

    /// The present nursery, or the last one.
    pub(in crate::spawn) fn nursery(&self) -> Option<Pid> {
        self.state.lock().nursery
    }

    /// Has an anchor made, outside of any scope, and waits for it.
    /// Errors: `TimedOut` (no nursery makes one), `BrokenPipe`, the kernel's, where it made no process.
    pub(in crate::spawn) fn order_anchor(&self) -> io::Result<NewAnchor> {
        let (stream, far) = sys::stream_pair()?;
        self.send(&[NurseryRequest::ANCHOR], &[far.as_fd()])?;
        drop(far);
        NewAnchor::receive(stream)
    }

    /// Has a FIFO door made, and waits until its lanes can be opened.
    /// Errors: `TimedOut` (no nursery makes one), and those of [`FifoDoor::open`].
    pub fn order_door(&self, connection: BorrowedFd<'_>, directory: BorrowedFd<'_>) -> io::Result<FifoDoor> {
        let (stream, far) = sys::stream_pair()?;
        self.send(&[NurseryRequest::DOOR], &[far.as_fd()])?;
        drop(far);
        FifoDoor::open(stream, connection, directory)
    }

    /// Finds out how commands get mount namespaces.
    pub fn find_view_support(&self) -> ViewSupport {
        let ask = || {
            let (stream, far) = sys::stream_pair()?;
            self.send(&[NurseryRequest::NAMESPACE], &[far.as_fd()])?;
            Ok(stream)
        };
        match ask() {
            Ok(stream) => namespace::found(stream, |pid| self.reaper.reap_unused(pid)),
            Err(source) => {
                let source: io::Error = source;
                ViewSupport::Missing(Errno::from_raw(sys::errno_of(&source)))
            }
        }
    }

    /// Has a relay made, in the cgroup of a scope where there is one and the kernel allows it, and does not
    /// wait for it.
    /// Errors: `TimedOut` (no nursery makes one).
    pub fn summon(&self, scope: Option<&CallScope>) -> io::Result<PendingRelay> {
        let (channel, far) = sys::pair()?;
        let mut descriptors = vec![far.as_fd()];
        descriptors.extend(scope.map(|scope| scope.cgroup().directory()));
        self.send(&[NurseryRequest::RELAY], &descriptors)?;
        Ok(PendingRelay::new(channel, self.reaper.clone()))
    }

    /// Sends the nursery a request that takes descriptors.
    fn send(&self, wish: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let give_up = Instant::now() + NURSERY_WAIT;
        loop {
            let (channel, until) = (self.channel(give_up)?, Some(Instant::now() + SEND_WAIT));
            match sys::send_patiently(channel.as_fd(), wish, descriptors, until) {
                Err(source) if sys::is_hung_up(&source) => self.lose(&channel),
                sent => return sent.map(drop),
            }
        }
    }

    /// Sends the nursery such a request without waiting.
    fn send_now(&self, wish: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let channel = self.state.lock().channel.clone().ok_or(io::ErrorKind::WouldBlock)?;
        sys::send_patiently(channel.as_fd(), wish, descriptors, Some(Instant::now())).map(drop)
    }

    /// The thread that receives a nursery's launchers, until the nursery is gone.
    fn receive_launchers(&self, channel: &OwnedFd) {
        loop {
            let due = self.state.lock().warm.due();
            match sys::poll_until(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], due) {
                Ok(true) => {}
                Ok(false) => {
                    let surplus = self.state.lock().surplus();
                    dismiss(surplus, &self.reaper);
                    continue;
                }
                Err(_) => {
                    // poll(2) fails when the kernel has no memory for it now.
                    thread::sleep(SEND_RETRY);
                    continue;
                }
            }
            let received = receive(channel.as_fd());
            let mut state = self.state.lock();
            state.coming = state.coming.saturating_sub(1);
            match received {
                Ok(Some(launcher)) => {
                    state.has_made = true;
                    state.warm.ready.push_back(launcher);
                }
                Ok(None) => return,
                Err(errno) => {
                    state.last_trouble = Some(errno);
                    state.trouble = Some(errno).filter(|_| state.warm.waiting > 0);
                }
            }
            match (state.warm.waiting, state.trouble) {
                (0, _) => {}
                (_, None) => self.changed.notify_one(),
                // One waiting call takes the error and fails. The others wake too and ask again, as one
                // launcher fewer is on its way.
                (_, Some(_)) => self.changed.notify_all(),
            }
        }
    }

    fn channel(&self, give_up: Instant) -> io::Result<Arc<OwnedFd>> {
        let mut state = self.state.lock();
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(none_in_time());
            }
            if let Some(channel) = &state.channel {
                return Ok(channel.clone());
            }
            state = self.wait(state, left);
        }
    }

    /// Forgets the nursery behind `channel`, if no other has taken its place.
    fn lose(&self, channel: &Arc<OwnedFd>) {
        let mut state = self.state.lock();
        if state.channel.as_ref().is_some_and(|now| Arc::ptr_eq(now, channel)) {
            let left = state.forget();
            drop(state);
            dismiss(left, &self.reaper);
        }
    }

    /// Waits for a change of the state. Where no launcher is on its way, because the nursery's queue was
    /// full, waits only until it may have room again.
    fn wait<'s>(&self, state: MutexGuard<'s, PoolState>, at_most: Duration) -> MutexGuard<'s, PoolState> {
        let is_unasked = state.channel.is_some() && state.coming == 0;
        let at_most = if is_unasked { at_most.min(SEND_RETRY) } else { at_most };
        sys::wait_change_for(&self.changed, state, at_most)
    }
}

impl PoolState {
    /// How many launchers should be asked for.
    fn missing(&mut self) -> usize {
        let wanted = self.warm.target(Instant::now()) + self.warm.waiting;
        wanted.saturating_sub(self.warm.ready.len() + self.coming)
    }

    /// Asks for the missing launchers, without waiting: the queue of a nursery that does not answer fills up,
    /// and this runs under the lock that every call needs. A request that cannot be sent now is made again
    /// later.
    fn ask(&mut self) {
        let asked = self.missing().min(LAUNCHERS_ASKED_MAX);
        let Some(channel) = self.channel.as_ref().filter(|_| asked > 0) else { return };
        // An error needs no handling: the thread that receives from the nursery notices when it is gone.
        if sys::send_now(channel.as_fd(), &[NurseryRequest::LAUNCHER; LAUNCHERS_ASKED_MAX][..asked]).is_ok() {
            self.coming += asked;
        }
    }

    /// Takes out the launchers beyond the wanted number.
    fn surplus(&mut self) -> Vec<Launcher> {
        let kept = self.warm.target(Instant::now()).min(self.warm.ready.len());
        self.warm.ready.drain(kept..).collect()
    }

    /// Forgets the nursery, and gives its launchers that are left.
    fn forget(&mut self) -> Vec<Launcher> {
        (self.channel, self.coming) = (None, 0);
        self.warm.ready.drain(..).collect()
    }
}

fn none_in_time() -> io::Error {
    let text =
        format!("no launcher was made within {} s; the broker's stderr says why", NURSERY_WAIT.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Whether a request for a launcher waits for the nursery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spawn) enum OrderPatience {
    /// A call needs the launcher.
    Waits,
    /// It is for a later call.
    None,
}

/// A launcher that is being made.
#[derive(Debug)]
pub(in crate::spawn) struct OrderedLauncher {
    stream: OwnedFd,
    scope: CallScope,
    /// The nursery's answer, if it was taken already.
    answer: Option<io::Result<ProcessAnswer>>,
}

impl OrderedLauncher {
    /// Takes the nursery's answer if it is there, so that a call has that work behind it.
    pub(in crate::spawn) fn greet(&mut self) {
        if self.answer.is_none() {
            self.answer = ProcessAnswer::try_receive(self.stream.as_fd());
        }
    }

    /// Waits until the launcher is there.
    /// Errors: `TimedOut`, `BrokenPipe` (the nursery makes none any more), the kernel's, where it made no
    /// process; the group comes back.
    pub(in crate::spawn) fn arrive(self) -> Result<Launcher, (CallScope, io::Error)> {
        let Self { stream, scope, answer } = self;
        match answer.unwrap_or_else(|| ProcessAnswer::receive(stream.as_fd())) {
            Ok(ProcessAnswer { pid, pidfd }) => Ok(Launcher::new(pid, pidfd, stream.into(), Some(scope))),
            Err(source) => Err((scope, source)),
        }
    }

    /// The group that it is made in.
    pub(in crate::spawn) fn scope(&self) -> &CallScope {
        &self.scope
    }
}

/// The next launcher from the channel; `None` when the nursery is gone.
/// Errors: `EMFILE` (a launcher came, but its descriptors did not fit), the nursery's, where it made no
/// launcher.
fn receive(channel: BorrowedFd<'_>) -> Result<Option<Launcher>, Errno> {
    let Ok(message) = sys::receive(channel, 4) else { return Ok(None) };
    let Ok(number) = message.bytes.try_into().map(i32::from_le_bytes) else { return Ok(None) };
    if number < 0 {
        return Err(Errno::from_raw(-number));
    }
    let descriptors: Result<[OwnedFd; 2], _> = message.descriptors.try_into();
    let Ok([pidfd, stream]) = descriptors else { return Err(Errno::EMFILE) };
    Ok(Some(Launcher::new(Pid::from_raw(number), pidfd, stream.into(), None)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Longer than any of these tests takes on a busy machine, and shorter than a call waits for a launcher.
    const SOON: Duration = Duration::from_secs(8);

    #[test]
    fn a_nursery_that_stands_still_holds_up_no_call_that_needs_none() {
        let (near, far) = sys::pair().expect("a channel");
        while sys::send_now(near.as_fd(), &[NurseryRequest::LAUNCHER]).is_ok() {}
        let pool = Arc::new(LauncherPool::new(Arc::new(Reaper::begin().expect("children"))));
        let (tell, told) = channel();
        let own = pool.clone();
        thread::spawn(move || {
            own.attach(Pid::this(), near).expect("a thread");
            tell.send(own.try_take().is_none()).ok();
        });
        assert_eq!(told.recv_timeout(SOON), Ok(true), "the pool's lock is free");
        drop(far);
    }
}
