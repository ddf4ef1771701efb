//! A broker from its start to its end.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::prctl;

use crate::audit::Manifest;
use crate::broker::accept::event_loop::EventLoop;
use crate::broker::accept::incoming::WatchedListener;
use crate::limits::STOP_KEPT_MIN;
use crate::sd::Notifier;
use crate::spawn::{Environment, end_kept, shed};
use crate::sys;

use super::config::{RulesLocation, ServeConfig, ServeError};
use super::denials::AuditLog;
use super::fd_budget::raise_descriptors;
use super::notice::{Notice, SayNotice};
use super::service_status::{ServiceStatus, one_line};
use super::setup::{BrokerSetup, RuledListener, arrange_handed_over, bind_and_arrange};
use super::signals::BrokerSignals;
use super::socket_watch::SocketWatch;
use super::sockets::OwnSocket;
use super::state::{Broker, ServedSocket};

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
    // Before the right to read it is given up.
    let audit_log = AuditLog::open();
    shed(config.as_root).map_err(ServeError::Privileged)?;
    sys::check_kernel().map_err(ServeError::Kernel)?;
    prctl::set_dumpable(false).map_err(io::Error::from)?;
    sys::share_heaps();
    let signals = BrokerSignals::begin()?;
    // The first notice starts a thread, so it comes after the settings that every thread inherits.
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
    let labels = listeners.iter().map(|ruled| ruled.listener.label.clone()).collect();
    let ready = Notice::Ready { sockets: labels, rules };
    let (mut sockets, mut watched, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for RuledListener { listener, ruleset } in listeners {
        let rules = rulesets[ruleset].clone();
        watched.push(WatchedListener { socket: listener.socket, is_own: listener.own.is_some() });
        sockets.push(ServedSocket::new(sockets.len(), listener.name, rules, room.waiting));
        own.extend(listener.own);
    }
    let mut broker = Broker::new(sockets, watched, room.connections, rulesets, environment, notifier, say)?;
    broker.watch_denials(audit_log).map_err(ServeError::NoProcess)?;
    let broker = Arc::new(broker);
    config.fifo_dir.iter().for_each(|directory| broker.doors.open_in(directory.clone()));
    let service_status = ServiceStatus::new(notifier.clone());
    let mut event_loop = EventLoop::new(broker.clone(), signals, service_status, open_files)?;
    if let Err(source) = event_loop.prove() {
        end(&broker, &mut event_loop)?;
        return Err(ServeError::NoProcess(source));
    }
    let socket_watch = watch_sockets(&own, say);
    say(&ready);
    broker.scopes.warm(&broker.scope_modes());
    event_loop.run()?;
    end(&broker, &mut event_loop)?;
    if socket_watch.was_taken() { Err(ServeError::SocketTaken) } else { Ok(()) }
}

/// Watches the files of the broker's own sockets, as far as the kernel allows.
fn watch_sockets(own: &[OwnSocket], say: SayNotice) -> SocketWatch {
    let watch = SocketWatch::default();
    for own in own {
        watch.watch(own.place()).unwrap_or_else(|source| say(&Notice::SocketUnwatched(&source)));
    }
    watch
}

/// Ends the broker when everything has been answered, or was waited for long enough: ends the processes that
/// were allowed to outlive their calls, and closes the manifests.
fn end(broker: &Broker, event_loop: &mut EventLoop) -> Result<(), ServeError> {
    let now = Instant::now();
    let until = broker.events.late_at().unwrap_or(now);
    broker.adapters.settle();
    end_kept(&broker.reaper, broker.events.as_stop(), until.max(now + STOP_KEPT_MIN))?;
    event_loop.turn_away();
    broker.closing.end();
    event_loop.end()?;
    broker.scopes.clear();
    broker.reaper.end_siblings()?;
    // The closing record says that no call runs any more. Where that is not so it is left out, and the next
    // broker records the calls that were lost.
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
