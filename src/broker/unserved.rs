//! A broker whose rules cannot be put in force, on sockets that systemd handed over. If it ended, systemd
//! would start it again for the caller that waits, until the start limit closes the socket, and mended rules
//! would not open the socket again. So it stays: each request is refused and recorded, the status says what
//! is wrong, and the rules are read again when their file changes, when a caller comes, and at HUP. No
//! command is run; its only processes close connections.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::resource::{Resource, getrlimit};

use crate::audit::{JournalNews, RefusedRequest, UnfiledRefusals};
use crate::broker::call::request::look;
use crate::ids::ClaimedWord;
use crate::limits::{
    ACCEPT_BACKOFF, NOTIFY_RETRY, SILENCE_CROWDED, SILENCE_MAX, UNSERVED_CONNECTIONS_MAX, UNSERVED_ROUND,
    UNSERVED_TRY_MIN,
};
use crate::refusal::Refusal;
use crate::sd::Notifier;
use crate::spawn::{LauncherPool, Nursery, Reaper};
use crate::sys;
use crate::wire::v2::PipedRequest;
use crate::wire::{Malformed, Request, VERSION_2, version_of};

use super::client_request::ClientRequest;
use super::closing::ConnectionCloser;
use super::connection::Connection;
use super::notice::{Notice, SayNotice};
use super::service_status::one_line;
use super::signals::{BrokerSignals, SignalOrder};
use super::sockets::ListeningSocket;

/// The event that ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnservedNext {
    /// The rules are to be tried again.
    Try,
    /// The broker is to leave.
    Stop,
}

/// The sockets, and the connections that wait there for a refusal.
pub(super) struct UnservedBroker<'a> {
    listeners: &'a [ListeningSocket],
    signals: &'a BrokerSignals,
    notifier: &'a Notifier,
    say: SayNotice,
    /// The rules files, and how they looked when they were last tried.
    files: Vec<PathBuf>,
    tried: Vec<Option<FileLikeness>>,
    /// Whether they are different by now.
    is_stale: bool,
    /// The time at which the last try began, and how long it took.
    try_began: Instant,
    try_took: Duration,
    /// Connections on which nothing was sent yet: each with its socket's index, and the time of its accept.
    clients: Vec<(usize, Connection, Instant)>,
    /// The time at which connections are accepted again, while the kernel is out of a resource.
    exhausted: Option<Instant>,
    refusals: UnfiledRefusals,
    /// Made at the first wait.
    closer: Option<CloserNursery>,
    /// The command that shows the fault to the operator.
    shown_by: String,
    /// The fault, as it was said last.
    said: String,
    /// The status with which the manager was told that the broker is there.
    told: Option<String>,
    next_ping: Instant,
}

/// The marks of a file's version: its inode, size, and times in nanoseconds.
type FileLikeness = (u64, u64, i64, i64, i64, i64);

impl<'a> UnservedBroker<'a> {
    /// No connections yet. Errors: there is no socket for the journal.
    pub(super) fn new(
        listeners: &'a [ListeningSocket],
        files: Vec<PathBuf>,
        signals: &'a BrokerSignals,
        notifier: &'a Notifier,
        say: SayNotice,
    ) -> io::Result<Self> {
        let hear = move |news: &JournalNews<'_>| say(&Notice::Journal(news));
        let now = Instant::now();
        let mut unserved = Self {
            listeners,
            signals,
            notifier,
            say,
            files,
            tried: Vec::new(),
            is_stale: false,
            try_began: now,
            try_took: Duration::ZERO,
            clients: Vec::new(),
            exhausted: None,
            refusals: UnfiledRefusals::new(Box::new(hear))?,
            closer: None,
            shown_by: status_command(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default()),
            said: String::new(),
            told: None,
            next_ping: now,
        };
        unserved.begin_try();
        Ok(unserved)
    }

    /// Notes that the rules are tried from now on.
    pub(super) fn begin_try(&mut self) {
        (self.tried, self.is_stale) = (self.look(), false);
        self.try_began = Instant::now();
    }

    /// Refuses all requests because of `why`, until there is a reason to try the rules again, or to stop.
    pub(super) fn wait(&mut self, why: &str) -> io::Result<UnservedNext> {
        self.try_took = self.try_began.elapsed();
        if self.closer.is_none() {
            self.closer = Some(CloserNursery::begin(self.listeners.len())?);
        }
        let first = why.lines().next().unwrap_or_default();
        let status = one_line(&format!("no rules in force, callers are refused: {first}"));
        if self.said != why {
            (self.say)(&Notice::Unserved(why));
            why.clone_into(&mut self.said);
        }
        loop {
            let is_told = self.tell(&status);
            self.poll(is_told)?;
            if let Some(next) = self.obey() {
                return Ok(next);
            }
            self.is_stale = self.has_changed();
            if self.may_try() && (self.is_stale || self.is_asked()?) {
                return Ok(UnservedNext::Try);
            }
            // A caller that comes after a change of the file is answered by the changed rules.
            if !self.is_stale {
                self.accept_some();
            }
            self.answer(first);
            self.refusals.settle();
        }
    }

    /// Tells the manager that the broker is there, once for each status, and that it lives. Returns whether
    /// the manager has the status.
    fn tell(&mut self, status: &str) -> bool {
        let now = Instant::now();
        if let Some(interval) = self.notifier.ping_interval().filter(|_| self.next_ping <= now) {
            self.notifier.ping().ok();
            self.next_ping = now + interval;
        }
        if self.told.as_deref() == Some(status) {
            return true;
        }
        let told = self.notifier.ready(status);
        let is_full = told.as_ref().is_err_and(|source| source.kind() == io::ErrorKind::WouldBlock);
        if !is_full {
            told.unwrap_or_else(|source| (self.say)(&Notice::NoManager(&source)));
            self.told = Some(status.to_owned());
        }
        !is_full
    }

    fn poll(&self, is_told: bool) -> io::Result<()> {
        let now = Instant::now();
        let rests = self.exhausted.filter(|&until| now < until);
        let has_room = rests.is_none() && !self.is_stale && self.clients.len() < self.most_connections(now);
        let wanted = |is_wanted| if is_wanted { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut looked_at = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        looked_at.extend(
            self.listeners.iter().map(|listener| PollFd::new(listener.socket.as_fd(), wanted(has_room))),
        );
        let clients = self.clients.iter();
        looked_at
            .extend(clients.map(|(_, connection, _)| PollFd::new(connection.as_fd(), PollFlags::POLLIN)));
        let again = if is_told { UNSERVED_ROUND } else { NOTIFY_RETRY };
        let ping = self.notifier.ping_interval().map(|_| self.next_ping);
        let patience = if has_room { SILENCE_MAX } else { SILENCE_CROWDED };
        let silence = self.clients.first().map(|(_, _, since)| *since + patience);
        let trial = self.is_stale.then(|| self.next_try());
        let dates = [Some(now + again), ping, silence, trial, rests, self.refusals.next_due()];
        sys::poll_until(&mut looked_at, dates.into_iter().flatten().min()).map(drop)
    }

    /// Obeys signals: at HUP the rules are tried again, TERM and INT end the broker.
    fn obey(&mut self) -> Option<UnservedNext> {
        let mut next = None;
        while let Some(order) = self.signals.next() {
            if order == SignalOrder::Stop {
                // If the manager has no room for this message, it sees the process end.
                self.notifier.stopping("stopping, no rules were in force").ok();
                return Some(UnservedNext::Stop);
            }
            self.notifier.reloading().ok();
            (self.told, next) = (None, Some(UnservedNext::Try));
        }
        next
    }

    /// Whether enough time has passed since the last try: trying broken rules must not keep a processor busy,
    /// however many calls come.
    fn may_try(&self) -> bool {
        self.next_try() <= Instant::now()
    }

    fn next_try(&self) -> Instant {
        self.try_began + UNSERVED_TRY_MIN.max(10 * self.try_took)
    }

    fn has_changed(&self) -> bool {
        self.look() != self.tried
    }

    fn look(&self) -> Vec<Option<FileLikeness>> {
        let likeness = |file: fs::Metadata| {
            (file.ino(), file.size(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec())
        };
        self.files.iter().map(|file| fs::metadata(file).ok().map(likeness)).collect()
    }

    /// Whether a connection waits to be accepted. The rules are tried then, too, because the fault may be
    /// elsewhere than in their files.
    fn is_asked(&self) -> io::Result<bool> {
        let listeners = self.listeners.iter();
        let mut look: Vec<_> =
            listeners.map(|listener| PollFd::new(listener.socket.as_fd(), PollFlags::POLLIN)).collect();
        sys::poll_until(&mut look, Some(Instant::now()))
    }

    /// The number of connections that may be held: each that was silent for a while makes room for another
    /// one.
    fn most_connections(&self, now: Instant) -> usize {
        let is_old = |(_, _, since): &&(usize, Connection, Instant)| *since + SILENCE_CROWDED <= now;
        UNSERVED_CONNECTIONS_MAX + self.clients.iter().filter(is_old).count().min(UNSERVED_CONNECTIONS_MAX)
    }

    fn accept_some(&mut self) {
        let now = Instant::now();
        if self.exhausted.is_some_and(|until| now < until) {
            return;
        }
        match self.accept() {
            Ok(()) if self.exhausted.take().is_some() => (self.say)(&Notice::ExhaustedOver),
            Ok(()) => {}
            Err(source) => {
                if self.exhausted.replace(now + ACCEPT_BACKOFF).is_none() {
                    (self.say)(&Notice::Exhausted(&source));
                }
            }
        }
    }

    /// Accepts connections at all sockets, as long as there is room.
    fn accept(&mut self) -> io::Result<()> {
        let Some(CloserNursery { closing, .. }) = &self.closer else { return Ok(()) };
        let most = self.most_connections(Instant::now());
        for (index, listener) in self.listeners.iter().enumerate() {
            while self.clients.len() < most && closing.has_room(index) {
                match sys::accept(listener.socket.as_fd()) {
                    Ok(fd) => {
                        let connection = Connection::new(fd, index, closing.clone());
                        self.clients.push((index, connection, Instant::now()));
                    }
                    Err(source) if source.kind() == io::ErrorKind::WouldBlock => break,
                    Err(source) if source.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(source) => return Err(source),
                }
            }
        }
        Ok(())
    }

    /// Answers connections that can be read or were silent for too long, and, where there are more than may
    /// be held, the oldest of those that were silent for a while.
    fn answer(&mut self, why: &str) {
        let now = Instant::now();
        let (ready, silent) = std::mem::take(&mut self.clients)
            .into_iter()
            .partition(|(_, connection, since)| connection.is_readable() || *since + SILENCE_MAX <= now);
        self.clients = silent;
        let excess = self.clients.len().saturating_sub(UNSERVED_CONNECTIONS_MAX);
        for (index, connection, _) in self.clients.drain(..excess).collect::<Vec<_>>() {
            self.refuse(index, &ClientRequest::new(connection), &Refusal::Crowded);
        }
        let ready: Vec<(usize, Connection, Instant)> = ready;
        for (index, connection, _) in ready {
            let mut client = ClientRequest::new(connection);
            let refusal = if client.connection.is_readable() {
                // The caller left without a request.
                let Some(refusal) = hear(&mut client, why, &self.shown_by) else { continue };
                refusal
            } else {
                Refusal::Silence
            };
            self.refuse(index, &client, &refusal);
        }
    }

    /// Puts a refusal on record, then answers with it, and puts further messages of the caller on record.
    fn refuse(&mut self, index: usize, client: &ClientRequest, refusal: &Refusal) {
        self.record(index, client, refusal);
        client.answer_why(refusal.status(), None, &refusal.told());
        for _ in 0..client.connection.count_rest() {
            self.record(index, client, &Refusal::Malformed(Malformed::Second));
        }
    }

    fn record(&mut self, index: usize, client: &ClientRequest, refusal: &Refusal) {
        let is_second = matches!(refusal, Refusal::Malformed(Malformed::Second));
        let argv = client.argv.iter().map(ClaimedWord::as_str).filter(|_| !is_second);
        let argv: Vec<_> = argv.collect();
        let rejected =
            RefusedRequest::new(&self.listeners[index].name, client.known_caller(), &argv, refusal);
        if let Err(source) = self.refusals.reject(&rejected) {
            (self.say)(&Notice::Unfiled { refused: rejected.summary(), source: &source });
        }
    }
}

/// The closing of connections in which descriptors are left: here the nursery makes processes for that alone.
struct CloserNursery {
    closing: Arc<ConnectionCloser>,
    pool: Arc<LauncherPool>,
    nursery: Option<Nursery>,
}

impl CloserNursery {
    fn begin(sockets: usize) -> io::Result<Self> {
        let reaper = Arc::new(Reaper::begin()?);
        let pool = Arc::new(LauncherPool::new(reaper.clone()));
        let closing = ConnectionCloser::begin(sockets, &pool, &reaper)?;
        let (open_files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // Without a nursery, connections with descriptors stay open, and a socket with too many of them
        // accepts no more.
        let nursery = Nursery::start(open_files).ok();
        let attach = |nursery: &Nursery| pool.attach(nursery.pid(), nursery.channel()?);
        nursery.as_ref().map(attach).transpose().ok();
        Ok(Self { closing, pool, nursery })
    }
}

impl Drop for CloserNursery {
    fn drop(&mut self) {
        self.closing.end();
        self.pool.detach();
        // A nursery that cannot be ended ends with this process.
        self.nursery.take().map(Nursery::end);
    }
}

/// Reads a request. Returns the refusal, or `None` where there was no request.
fn hear(client: &mut ClientRequest, why: &str, shown_by: &str) -> Option<Refusal> {
    let message = match look(client) {
        Ok(message) => message?,
        Err(refusal) => return Some(refusal),
    };
    match words_of(&message.bytes) {
        Ok(argv) => client.argv = argv,
        Err(malformed) => return Some(Refusal::Malformed(malformed)),
    }
    Some(Refusal::BrokenRules { why: why.to_owned(), shown_by: shown_by.to_owned() })
}

/// The words of a request of either version; none for the listing.
fn words_of(message: &[u8]) -> Result<Vec<ClaimedWord>, Malformed> {
    if version_of(message) == Some(VERSION_2) {
        return Ok(match PipedRequest::decode(message)? {
            PipedRequest::Call(argv) => argv,
            PipedRequest::List(_) => Vec::new(),
        });
    }
    Ok(match Request::decode(message)? {
        Request::Call(argv) => argv,
        Request::List => Vec::new(),
    })
}

/// The command that shows the status of the unit that a process is in, by its `/proc/PID/cgroup`. The unit is
/// the innermost service; below `user@UID.service` it is one of that user's manager.
fn status_command(cgroups: &str) -> String {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let mut services = path.rsplit('/').filter(|group| group.ends_with(".service"));
    let is_manager = |unit: &&str| unit.starts_with("user@");
    match (services.next().filter(|unit| !is_manager(unit)), services.any(|unit| is_manager(&unit))) {
        (Some(unit), true) => format!("systemctl --user status {unit}"),
        (Some(unit), false) => format!("systemctl status {unit}"),
        (None, _) => "the broker's own output".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_broker_is_named_with_its_manager() {
        let user =
            "0::/user.slice/user-7.slice/user@7.service/app.slice/app-sluice.slice/sluice@agent.service\n";
        assert_eq!(status_command(user), "systemctl --user status sluice@agent.service");
        assert_eq!(
            status_command("1:name=systemd:/\n0::/system.slice/system-sluice.slice/sluice@ci.service\n"),
            "systemctl status sluice@ci.service"
        );
        for none in ["", "0::/\n", "0::/user.slice/user-7.slice/user@7.service/app.slice/term.scope\n"] {
            assert_eq!(status_command(none), "the broker's own output", "{none}");
        }
    }
}
