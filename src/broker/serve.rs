//! A broker from its start to its end.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::prctl;

use crate::audit::Manifest;
use crate::broker::accept::event_loop::EventLoop;
use crate::limits::{DELEGATION_WAIT, SCOPE_WAIT, STOP_KEPT_MIN};
use crate::rules::ScopeMode;
use crate::sd::{BusAddress, BusError, Delegation, DelegationError, Notifier, delegates};
use crate::spawn::{Environment, LauncherPool, Reaper, ScopeNews, ScopePool, end_kept, shed};
use crate::sys;

use super::admission::Admission;
use super::closing::ConnectionCloser;
use super::config::{RulesLocation, ServeConfig, ServeError};
use super::deferred_entry::DeferredEntry;
use super::events::BrokerEvents;
use super::notice::{Notice, SayNotice};
use super::ruleset::Ruleset;
use super::service_status::{ServiceStatus, one_line};
use super::setup::{BrokerSetup, arrange_handed_over, bind_and_arrange, raise_descriptors};
use super::signals::BrokerSignals;
use super::socket_watch::SocketWatch;
use super::sockets::{ListeningSocket, OwnSocket};
use super::state::{Broker, ServedSocket};
use super::status_board::StatusBoard;

/// Serves until the broker is told to stop and every call has ended.
pub fn serve(config: &ServeConfig, say: SayNotice) -> Result<(), ServeError> {
    let (notifier, unheard) =
        Notifier::from_env().map_or_else(|source| (Notifier::default(), Some(source)), |it| (it, None));
    let notifier = Arc::new(notifier);
    let served = serve_notified(config, say, &notifier, unheard.as_ref());
    if let Err(error) = &served {
        let text = error.to_string();
        // The text is printed in any case.
        notifier.last_word(&one_line(text.lines().next().unwrap_or_default())).ok();
    }
    served
}

fn serve_notified(
    config: &ServeConfig,
    say: SayNotice,
    notifier: &Arc<Notifier>,
    unheard: Option<&io::Error>,
) -> Result<(), ServeError> {
    shed(config.as_root).map_err(ServeError::Privileged)?;
    sys::check_kernel().map_err(ServeError::Kernel)?;
    prctl::set_dumpable(false).map_err(io::Error::from)?;
    sys::share_heaps();
    let signals = BrokerSignals::begin()?;
    // The first notice starts a thread, which must come after what every thread inherits.
    if let Some(source) = unheard {
        say(&Notice::NoManager(source));
    }
    signals.keep_deadline(say).map_err(ServeError::NoProcess)?;
    let environment = Environment::current();
    let open_files = raise_descriptors()?;
    let arranged = match (&config.rules, config.socket.as_deref()) {
        (RulesLocation::File(file), Some(socket)) => Some(bind_and_arrange(file, socket, &environment, say)?),
        (rules, _) => arrange_handed_over(rules, &signals, &environment, notifier, say)?,
    };
    let Some(BrokerSetup { listeners, rulesets, room }) = arranged else { return Ok(()) };
    let rules = rulesets.iter().map(|ruleset| ruleset.policy().rules().len()).sum();
    let reaper = Arc::new(Reaper::begin().map_err(ServeError::NoTree)?);
    let ready =
        Notice::Ready { sockets: listeners.iter().map(|listener| listener.label.clone()).collect(), rules };
    let of = |index: usize| rulesets[index % rulesets.len()].clone();
    let split = |(index, listener)| split(listener, of(index), room.waiting);
    let (sockets, own): (Vec<_>, Vec<_>) = listeners.into_iter().enumerate().map(split).unzip();
    let owned = own.iter().map(Option::is_some).collect();
    let (pool, events) = (Arc::new(LauncherPool::new(reaper.clone())), Arc::new(BrokerEvents::new()?));
    let board = Arc::new(StatusBoard::new(notifier));
    let modes: Vec<_> = rulesets.iter().map(|ruleset| ruleset.policy().scope()).collect();
    let (told, changes) = (board.clone(), events.clone());
    let change = move || changes.note_change(&told);
    let scopes = scopes(&pool, &reaper, &environment, &modes, say, change)?;
    let (rulesets, deferred) = (each_once(rulesets), DeferredEntry::default());
    let closing = ConnectionCloser::begin(sockets.len(), &pool, &reaper).map_err(ServeError::NoProcess)?;
    let broker = Arc::new(Broker {
        sockets,
        rulesets,
        counting: Default::default(),
        unhandled: Default::default(),
        deferred,
        environment,
        reaper,
        pool,
        closing,
        scopes,
        say,
        events,
        board,
    });
    let service_status = ServiceStatus::new(notifier.clone());
    let mut event_loop =
        EventLoop::new(broker.clone(), signals, service_status, open_files, room.event_loop, owned)?;
    if let Err(source) = event_loop.prove() {
        end(&broker, &mut event_loop)?;
        return Err(ServeError::NoProcess(source));
    }
    let socket_watch = watch_sockets(&own, say);
    say(&ready);
    broker.scopes.warm(&modes);
    event_loop.run()?;
    end(&broker, &mut event_loop)?;
    if socket_watch.was_taken() { Err(ServeError::SocketTaken) } else { Ok(()) }
}

/// Watches the files of the broker's own sockets, as far as that can be had.
fn watch_sockets(own: &[Option<OwnSocket>], say: SayNotice) -> SocketWatch {
    let watch = SocketWatch::default();
    for own in own.iter().flatten() {
        watch.watch(own.place()).unwrap_or_else(|source| say(&Notice::SocketUnwatched(&source)));
    }
    watch
}

/// Scopes from the manager that this process lives under, or in the group that it gave away. They have
/// threads, which may be the first thing that cannot be made.
fn scopes(
    pool: &Arc<LauncherPool>,
    reaper: &Arc<Reaper>,
    environment: &Environment,
    modes: &[ScopeMode],
    say: SayNotice,
    change: impl Fn() + Send + Sync + 'static,
) -> Result<ScopePool, ServeError> {
    let variable = |name: &str| environment.get(name).and_then(|value| value.to_str()).map(str::to_owned);
    let address = BusAddress::find(variable);
    let delegation = own_group(address.as_ref(), modes);
    let tell = move |news: &ScopeNews<'_>| {
        say(&Notice::Scopes(news));
        change();
    };
    ScopePool::new(pool.clone(), reaper.clone(), address, delegation, Box::new(tell))
        .map_err(ServeError::NoProcess)
}

/// The delegated group, with the broker in its place there: before the nursery is started, which stays where it is.
/// Rules that have no use for one leave the broker where it was put.
fn own_group(address: Option<&BusAddress>, modes: &[ScopeMode]) -> Result<Delegation, DelegationError> {
    if !modes.iter().any(|mode| matches!(mode, ScopeMode::Auto | ScopeMode::Delegate)) {
        return Err(DelegationError::Unasked);
    }
    // Rules that can do without do not hold up the start for it.
    let wait = if modes.contains(&ScopeMode::Delegate) { SCOPE_WAIT } else { DELEGATION_WAIT };
    let ask = |path: &str| address.map_or(Err(BusError::NoAddress), |bus| delegates(bus, path, wait));
    let delegation = Delegation::find(ask)?;
    delegation.settle()?;
    Ok(delegation)
}

/// The rulesets without those that come again.
fn each_once(mut rulesets: Vec<Arc<Ruleset>>) -> Vec<Arc<Ruleset>> {
    let mut seen = HashSet::new();
    rulesets.retain(|ruleset| seen.insert(Arc::as_ptr(ruleset)));
    rulesets
}

fn split(
    listener: ListeningSocket,
    rules: Arc<Ruleset>,
    waiting: usize,
) -> (ServedSocket, Option<OwnSocket>) {
    let socket = ServedSocket {
        name: listener.name,
        rules,
        listener: listener.socket,
        admission: Admission::new(waiting),
    };
    (socket, listener.own)
}

/// Everything has been answered, or was waited for long enough: ends what was let go on, and closes the
/// record.
fn end(broker: &Broker, event_loop: &mut EventLoop) -> Result<(), ServeError> {
    let now = Instant::now();
    let until = broker.events.late_at().unwrap_or(now);
    end_kept(&broker.reaper, broker.events.as_stop(), until.max(now + STOP_KEPT_MIN))?;
    event_loop.listener_set.turn_away();
    broker.closing.end();
    event_loop.end()?;
    broker.scopes.clear();
    broker.reaper.end_siblings()?;
    // A record that says that all is over must be true; without it the next broker says what is lost.
    if !event_loop.is_idle() {
        return Ok(());
    }
    let mut closed: Vec<&Arc<Manifest>> = Vec::new();
    for ruleset in &broker.rulesets {
        if !closed.iter().any(|manifest| Arc::ptr_eq(manifest, ruleset.manifest())) {
            closed.push(ruleset.manifest());
            ruleset.heed(ruleset.manifest().close());
        }
    }
    Ok(())
}
