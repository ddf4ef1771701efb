//! Reloading, at HUP: each rules file is read again, and its manifest is opened again where it was moved
//! away. Calls in flight keep the rules that they started with; a file that does not load changes nothing. A
//! thread of its own reads one file after the other, so that the main thread does its other work
//! meanwhile; the main thread puts the rules in force that were read.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use crate::rules::Policy;
use crate::sys;

use super::fd_budget::DescriptorNeeds;
use super::notice::LoadError;
use super::ruleset::{LoadedRules, want_records};
use super::service_status::ServiceStatus;
use super::state::{Broker, ServedSocket};

/// Reloads, one at a time. However often a reload is asked for during another one, one more follows: a file
/// may have been written after it was read.
#[derive(Debug, Default)]
pub(super) struct Reloader {
    current: Option<RunningReload>,
    is_asked_again: bool,
}

/// A reload that has begun.
#[derive(Debug)]
struct RunningReload {
    read: Receiver<Result<LoadedRules, LoadError>>,
    /// The rules that were in force, which the reading thread drops: dropping many takes a while too.
    replaced: Sender<Arc<Policy>>,
    /// The number of files whose rules were put in force, or failed to load.
    done: usize,
    needs: DescriptorNeeds,
}

impl Reloader {
    /// Reads every rules file again, now or after the reload that is under way.
    pub(super) fn ask(&mut self, broker: &Arc<Broker>, service_status: &mut ServiceStatus) {
        if self.current.is_some() {
            self.is_asked_again = true;
            return;
        }
        if !broker.events.is_stopping() {
            service_status.reloading(broker);
        }
        // First: a log rotation packs the old file some time later, and reading rules may take long.
        broker.rulesets.iter().for_each(|ruleset| ruleset.follow_manifest());
        match RunningReload::begin(broker) {
            Ok(reload) => self.current = Some(reload),
            Err(source) => {
                let error = LoadError::Unread(source);
                broker.rulesets.iter().for_each(|ruleset| ruleset.keep(&error));
                end(broker, service_status);
            }
        }
    }

    /// Puts in force the rules of one file, if they were read by now: between two files, the main thread does
    /// its other work.
    pub(super) fn advance(&mut self, broker: &Arc<Broker>, service_status: &mut ServiceStatus) {
        let Some(current) = &mut self.current else { return };
        current.take(broker);
        if current.done < broker.rulesets.len() {
            return;
        }
        self.current = None;
        want_records(&broker.rulesets);
        end(broker, service_status);
        if std::mem::take(&mut self.is_asked_again) {
            self.ask(broker, service_status);
        }
    }
}

/// Tells the service manager that a reload is over. A broker that stops tells it nothing of reloads.
fn end(broker: &Broker, service_status: &mut ServiceStatus) {
    if !broker.events.is_stopping() {
        service_status.ready(broker);
    }
}

impl RunningReload {
    /// Has a thread read the files. The thread is never waited for: files that it has not read when the
    /// broker ends need not be read.
    fn begin(broker: &Arc<Broker>) -> io::Result<Self> {
        // One file's rules may wait while the next file is read, no more: new rules and old ones are in
        // memory together.
        let (give, read) = mpsc::sync_channel(1);
        let (replaced, to_drop) = mpsc::channel();
        let reader = broker.clone();
        let work = move || {
            read_all(&reader, &give);
            to_drop.into_iter().for_each(drop);
            // The C library keeps a thread's memory for the next thread, which need not be the next to read
            // rules.
            sys::give_back_memory();
        };
        thread::Builder::new().name("reload".into()).spawn(work)?;
        Ok(Self { read, replaced, done: 0, needs: DescriptorNeeds::new(broker) })
    }

    fn take(&mut self, broker: &Broker) {
        let Ok(loaded) = self.read.try_recv() else { return };
        let ruleset = &broker.rulesets[self.done];
        let (at, old) = (self.done, ruleset.policy());
        let fits = |loaded: LoadedRules| {
            self.needs.change(at, &old, &loaded.policy)?;
            if let Err(error) = ruleset.follow(&loaded) {
                // Rules that fitted before fit again.
                self.needs.change(at, &loaded.policy, &old)?;
                return Err(error);
            }
            Ok(loaded.policy)
        };
        match loaded.and_then(fits) {
            Ok(policy) => {
                // Where the reading thread has ended, they are dropped here.
                self.replaced.send(ruleset.replace(policy)).ok();
                broker.doors.note_change();
                // Calls that wait are decided by the new rules from now on, and more may run at a time.
                let by_these = |socket: &&ServedSocket| Arc::ptr_eq(&socket.rules, ruleset);
                for socket in broker.sockets.iter().filter(by_these) {
                    if socket.admission.is_waited_at() {
                        broker.need_waiting_job(socket);
                    }
                    broker.offer_thread(socket);
                }
            }
            Err(error) => ruleset.keep(&error),
        }
        self.done += 1;
    }
}

/// Reads one file after the other, as long as the main thread takes them.
fn read_all(broker: &Broker, give: &SyncSender<Result<LoadedRules, LoadError>>) {
    for ruleset in &broker.rulesets {
        // A panic of the loader must not end a broker that has good rules.
        let read = catch_unwind(AssertUnwindSafe(|| LoadedRules::read(ruleset.file(), &broker.environment)));
        let loaded = read.unwrap_or_else(|_| Err(LoadError::Unread(io::ErrorKind::Other.into())));
        if give.send(loaded).is_err() {
            return;
        }
        broker.events.wake();
    }
}
