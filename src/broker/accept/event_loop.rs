//! The main thread's loop. It reads no request and accepts no connection: it keeps time and limits, obeys
//! signals, and starts a thread when there is something to do and no thread is idle.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Shutdown, shutdown};

use crate::broker::call::reply::turn_out;
use crate::broker::connection::Connection;
use crate::broker::door_setup::{close_doors, settle_doors};
use crate::broker::notice::Notice;
use crate::broker::nursery_supervisor::NurserySupervisor;
use crate::broker::reload::Reloader;
use crate::broker::ruleset::Ruleset;
use crate::broker::service_status::ServiceStatus;
use crate::broker::signals::{BrokerSignals, SignalOrder};
use crate::broker::state::Broker;
use crate::limits::ACCEPT_BACKOFF;
use crate::refusal::Refusal;
use crate::spawn::ask_kept;
use crate::sys;

use super::call_work::{CallWork, refuse_silent};
use super::thread_pool::ThreadPool;
use super::token::MainEvent;

/// The main thread's own state.
pub(in crate::broker) struct EventLoop {
    broker: Arc<Broker>,
    epoll: Arc<Epoll>,
    threads: ThreadPool<CallWork>,
    /// The time at which a thread is to be started again, after the kernel could not make one.
    next_start: Option<Instant>,
    signals: BrokerSignals,
    supervisor: NurserySupervisor,
    service_status: ServiceStatus,
    reloader: Reloader,
    /// The rulesets with counts of refusals that are not written yet.
    counting: Vec<Arc<Ruleset>>,
}

impl EventLoop {
    /// A loop that has not begun, and no thread yet.
    pub(in crate::broker) fn new(
        broker: Arc<Broker>,
        signals: BrokerSignals,
        service_status: ServiceStatus,
        open_files: u64,
    ) -> io::Result<Self> {
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        watch(&epoll, signals.as_fd(), MainEvent::Signal)?;
        watch(&epoll, broker.events.wakes().as_fd(), MainEvent::Wake)?;
        let threads = ThreadPool::new(CallWork(broker.clone()), epoll.clone(), MainEvent::Incoming.encode())?;
        Ok(Self {
            broker,
            epoll,
            threads,
            next_start: None,
            signals,
            supervisor: NurserySupervisor::new(open_files),
            service_status,
            reloader: Reloader::default(),
            counting: Vec::new(),
        })
    }

    /// Starts the nursery, and sees it make a launcher: before that, the service manager must not be told
    /// `READY=1`.
    pub(in crate::broker) fn prove(&mut self) -> io::Result<()> {
        self.start_nursery()?;
        self.broker.pool.prove()
    }

    /// Serves until the broker stops and every call has ended, or has waited long enough.
    pub(in crate::broker) fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 4];
        self.service_status.ready(&self.broker);
        settle_doors(&self.broker);
        while !self.is_done() {
            let count = self.wait(&mut events)?;
            for event in &events[..count] {
                self.attend(MainEvent::decode(event.data()))?;
            }
            self.reloader.advance(&self.broker, &mut self.service_status);
            self.expire();
            self.retry();
            self.attend_piped();
            settle_doors(&self.broker);
            self.replace_nursery()?;
            self.settle();
            self.service_status.speak(&self.broker);
        }
        if !self.is_idle() {
            (self.broker.say)(&Notice::CallsLeft);
        }
        Ok(())
    }

    /// Closes the FIFO doors and ends the nursery: no call runs any more.
    pub(in crate::broker) fn end(&mut self) -> io::Result<()> {
        close_doors(&self.broker);
        self.supervisor.end(&self.broker.pool, &self.broker.reaper)
    }

    /// Closes the broker's own sockets to new connections, and closes the connections that came too late to
    /// be answered: their requests stay unread, so their callers see `ECONNRESET`.
    pub(in crate::broker) fn turn_away(&self) {
        let broker = &self.broker;
        for index in (0..broker.sockets.len()).filter(|&index| broker.incoming.is_own(index)) {
            let listener = broker.incoming.listener(index);
            // A socket that cannot be shut down is closed by the end of this process.
            shutdown(listener.as_raw_fd(), Shutdown::Read).ok();
            while let Ok(fd) = sys::accept(listener) {
                drop(Connection::new(fd, index, broker.closing.clone()));
            }
        }
    }

    /// Whether the broker has stopped. Nothing is accepted any more where all calls have ended.
    fn is_done(&self) -> bool {
        let events = &self.broker.events;
        // A thread may have accepted a connection after the first look.
        let is_over = || self.is_idle() && self.broker.incoming.end() && self.is_idle();
        events.is_stopping() && (events.is_late() || is_over())
    }

    /// Whether no request is to be answered and no call waits.
    pub(in crate::broker) fn is_idle(&self) -> bool {
        self.broker.incoming.is_answered()
            && self.broker.sockets.iter().all(|socket| socket.admission.is_idle())
    }

    /// Writes the counts of refusals that are due.
    fn settle(&mut self) {
        self.broker.take_counting(&mut self.counting);
        let now = Instant::now();
        self.counting.retain(|ruleset| {
            let due = ruleset.manifest().next_due();
            if due.is_some_and(|due| due <= now) {
                ruleset.heed(ruleset.manifest().settle());
                return ruleset.manifest().next_due().is_some();
            }
            due.is_some()
        });
    }

    fn wait(&self, events: &mut [EpollEvent]) -> io::Result<usize> {
        let count = self.counting.iter().filter_map(|ruleset| ruleset.manifest().next_due()).min();
        let dates = [
            self.broker.incoming.due(),
            self.next_start,
            self.supervisor.due(),
            count,
            self.service_status.due(&self.broker.board),
            self.broker.events.late_at(),
            self.broker.next_queued(),
            self.broker.adapters.due(),
            self.broker.doors.due(),
        ];
        let next = dates.into_iter().flatten().min();
        let milliseconds = next
            .map(|next| next.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000))
            .map(|milliseconds| i32::try_from(milliseconds).unwrap_or(i32::MAX));
        let timeout = milliseconds
            .map_or(EpollTimeout::NONE, |ms| EpollTimeout::try_from(ms).unwrap_or(EpollTimeout::MAX));
        match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            result => Ok(result?),
        }
    }

    fn attend(&mut self, event: MainEvent) -> io::Result<()> {
        match event {
            MainEvent::Signal => return self.obey(),
            MainEvent::Wake => self.broker.events.woken(),
            MainEvent::Nursery => return self.lose_nursery(),
            MainEvent::Incoming => self.start_thread(),
        }
        Ok(())
    }

    /// Starts a thread, for an event that no thread attends to.
    fn start_thread(&mut self) {
        self.next_start = None;
        if let Err(source) = self.threads.attend() {
            self.broker.note_exhausted(&source);
            self.next_start = Some(Instant::now() + ACCEPT_BACKOFF);
        }
    }

    /// Goes on after a shortage: opens sockets that were closed, and starts a thread where none could be
    /// started before.
    fn retry(&mut self) {
        if self.broker.incoming.reopen() {
            (self.broker.say)(&Notice::ExhaustedOver);
        }
        if self.next_start.take_if(|at| *at <= Instant::now()).is_some() {
            self.threads.watch();
        }
    }

    /// Does what is due for requests of version 2 under way.
    fn attend_piped(&self) {
        let now = Instant::now();
        self.broker.tell_queued(now);
        if self.broker.adapters.due().is_some_and(|due| due <= now) {
            self.broker.adapters.tidy();
        }
    }

    /// Obeys signals: HUP reloads, TERM and INT stop the broker, a second TERM or INT hurries the stop.
    fn obey(&mut self) -> io::Result<()> {
        while let Some(order) = self.signals.next() {
            if order == SignalOrder::Reload {
                self.reloader.ask(&self.broker, &mut self.service_status);
            } else if self.broker.events.is_stopping() {
                self.broker.events.hurry();
            } else {
                self.stop();
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        (self.broker.say)(&Notice::Stopping);
        self.broker.events.stop();
        self.broker.scopes.stop();
        // Kept processes that cannot be signalled now are killed at the end of the stop.
        ask_kept(&self.broker.reaper).ok();
        self.service_status.stopping(&self.broker);
        self.broker.incoming.stop();
        for socket in &self.broker.sockets {
            socket.turn_out().iter().for_each(|admitted| turn_out(&self.broker, socket, admitted));
        }
    }

    /// Refuses connections that were silent for too long, and has requests tried again that have rested.
    fn expire(&self) {
        self.broker.incoming.rouse(Instant::now());
        while let Some(silent) = self.broker.incoming.take_expired(Instant::now()) {
            refuse_silent(&self.broker, silent, &Refusal::Silence);
        }
    }

    fn start_nursery(&mut self) -> io::Result<()> {
        let epoll = &self.epoll;
        self.supervisor
            .start(&self.broker.pool, &self.broker.reaper, |channel| watch_hangup(epoll, channel.as_fd()))
    }

    /// Makes another nursery when it is time.
    fn replace_nursery(&mut self) -> io::Result<()> {
        if self.supervisor.due().is_none_or(|due| Instant::now() < due) {
            return Ok(());
        }
        match self.start_nursery() {
            Ok(()) if self.supervisor.is_news() => (self.broker.say)(&Notice::NurseryReplaced),
            Ok(()) => {}
            Err(source) => {
                self.supervisor.fail();
                if self.supervisor.is_news() {
                    (self.broker.say)(&Notice::NoNursery(&source));
                }
                self.supervisor.end(&self.broker.pool, &self.broker.reaper)?;
            }
        }
        Ok(())
    }

    fn lose_nursery(&mut self) -> io::Result<()> {
        let trouble = self.supervisor.lose(&self.broker.pool, &self.broker.reaper)?;
        if let Some(source) = trouble.filter(|_| self.supervisor.is_news()) {
            (self.broker.say)(&Notice::NoNursery(&source));
        }
        Ok(())
    }
}

fn watch(epoll: &Epoll, descriptor: BorrowedFd<'_>, event: MainEvent) -> io::Result<()> {
    Ok(epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, event.encode()))?)
}

/// Watches for the hangup of the other side alone: the pool reads the channel's messages.
fn watch_hangup(epoll: &Epoll, channel: BorrowedFd<'_>) -> io::Result<()> {
    Ok(epoll.add(channel, EpollEvent::new(EpollFlags::empty(), MainEvent::Nursery.encode()))?)
}
