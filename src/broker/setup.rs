//! Sockets, and the rules in force for them, before a broker serves: what it binds or is handed over, the
//! rules files, the manifests, and whether the limit of descriptors holds it all.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::audit::Manifest;
use crate::ids::SocketName;
use crate::limits::{PENDING_CONNECTIONS_MAX, SOCKET_WAITING_MAX};
use crate::rules::AuditMode;
use crate::sd::Notifier;
use crate::spawn::Environment;
use crate::sys;

use super::config::{RulesLocation, ServeError};
use super::notice::{Notice, SayNotice};
use super::reload::{needed_descriptors, spare_descriptors};
use super::ruleset::{LoadedRules, Ruleset, name_of, want_records};
use super::signals::BrokerSignals;
use super::sockets::{ListenError, ListeningSocket, bind, inherited};
use super::unserved::{UnservedBroker, UnservedNext};

/// Sockets, the rules in force for them in turn, and what the limit of descriptors leaves.
pub(super) struct BrokerSetup {
    pub(super) listeners: Vec<ListeningSocket>,
    pub(super) rulesets: Vec<Arc<Ruleset>>,
    pub(super) room: QueueLimits,
}

/// One rules file for one socket of the broker's own.
pub(super) fn bind_and_arrange(
    file: &Path,
    socket: &Path,
    environment: &Environment,
    say: SayNotice,
) -> Result<BrokerSetup, ServeError> {
    let loaded = LoadedRules::read(file, environment).map_err(ServeError::Load)?;
    let listener = bind(socket, SocketName::new(name_of(file)), |distrust| {
        let goes_on = loaded.policy.audit() == AuditMode::BestEffort;
        if goes_on {
            say(&Notice::SocketDistrusted(distrust.to_string()));
        }
        goes_on
    });
    let listener = listener.map_err(ServeError::Listen)?;
    sys::pass_credentials(listener.socket.as_fd())?;
    let (rulesets, room) = put_in_force(1, vec![loaded], say)?;
    Ok(BrokerSetup { listeners: vec![listener], rulesets, room })
}

/// Rules for the sockets that systemd hands over: one file for all, or one for each by its name. While they
/// cannot be put in force, callers are refused; `None` when the broker was told to stop meanwhile.
pub(super) fn arrange_handed_over(
    rules: &RulesLocation,
    signals: &BrokerSignals,
    environment: &Environment,
    notifier: &Notifier,
    say: SayNotice,
) -> Result<Option<BrokerSetup>, ServeError> {
    let (listeners, files) = match rules {
        RulesLocation::File(file) => (listen(&SocketName::new(name_of(file)))?, vec![file.clone()]),
        RulesLocation::Directory(directory) => {
            let listeners = listen(&SocketName::new("default"))?;
            let files = listeners.iter().map(|listener| file_of(directory, listener));
            let files = files.collect::<Result<_, _>>()?;
            (listeners, files)
        }
    };
    let mut unserved = UnservedBroker::new(&listeners, files.clone(), signals, notifier, say)?;
    let (rulesets, room) = loop {
        unserved.begin_try();
        let in_force = read_all(&files, environment)
            .and_then(|loaded| put_in_force(listeners.len(), loaded, say).map_err(|error| error.to_string()));
        let why = match in_force {
            Ok(in_force) => break in_force,
            Err(why) => why,
        };
        if unserved.wait(&why)? == UnservedNext::Stop {
            return Ok(None);
        }
    };
    drop(unserved);
    Ok(Some(BrokerSetup { listeners, rulesets, room }))
}

/// Reads rules files. Errors: what is wrong, of each file that is.
fn read_all(files: &[PathBuf], environment: &Environment) -> Result<Vec<LoadedRules>, String> {
    let (mut loaded, mut wrong) = (Vec::new(), BTreeMap::new());
    for file in files {
        match LoadedRules::read(file, environment) {
            Ok(read) => loaded.push(read),
            // Two sockets may have the same file.
            Err(error) => drop(wrong.insert(file, error.to_string())),
        }
    }
    let wrong: Vec<_> = wrong.into_values().collect();
    if wrong.is_empty() { Ok(loaded) } else { Err(wrong.concat()) }
}

fn file_of(directory: &Path, listener: &ListeningSocket) -> Result<PathBuf, ServeError> {
    let name = listener.name.as_str();
    if name.contains('/') || name.starts_with('.') {
        return Err(ServeError::Listen(ListenError::Name(listener.name.clone())));
    }
    Ok(directory.join(format!("{name}.rules")))
}

/// The sockets that systemd hands over.
fn listen(unnamed: &SocketName) -> Result<Vec<ListeningSocket>, ServeError> {
    let listeners = inherited(unnamed).map_err(ServeError::Listen)?;
    if listeners.is_empty() {
        return Err(ServeError::Listen(ListenError::Nothing));
    }
    for listener in &listeners {
        sys::pass_credentials(listener.socket.as_fd())?;
    }
    Ok(listeners)
}

/// Opens the manifests, where there is room for all calls that the rules allow at so many sockets: nothing is
/// on record of a broker that has none.
fn put_in_force(
    sockets: usize,
    loaded: Vec<LoadedRules>,
    say: SayNotice,
) -> Result<(Vec<Arc<Ruleset>>, QueueLimits), ServeError> {
    let needed = (0..sockets).map(|index| needed_descriptors(&loaded[index % loaded.len()].policy));
    let room = share_descriptors(sockets, needed.sum())?;
    Ok((open_manifests(loaded, say)?, room))
}

/// Opens the manifests, one where several files name the same, and puts the rules in force. What it gives has
/// one for each rules file that was read, so that sockets with the same file share one.
fn open_manifests(loaded: Vec<LoadedRules>, say: SayNotice) -> Result<Vec<Arc<Ruleset>>, ServeError> {
    let mut manifests: HashMap<PathBuf, Arc<Manifest>> = HashMap::new();
    let mut known: HashMap<PathBuf, Arc<Ruleset>> = HashMap::new();
    let mut rulesets: Vec<Arc<Ruleset>> = Vec::new();
    for loaded in loaded {
        if let Some(same) = known.get(&loaded.file) {
            rulesets.push(same.clone());
            continue;
        }
        let manifest = match manifests.get(&loaded.manifest) {
            Some(manifest) => manifest.clone(),
            None => Arc::new(loaded.open_manifest(say).map_err(ServeError::Manifest)?),
        };
        manifests.insert(loaded.manifest.clone(), manifest.clone());
        let ruleset = Arc::new(Ruleset::new(loaded, manifest, say));
        known.insert(ruleset.file().to_owned(), ruleset.clone());
        rulesets.push(ruleset);
    }
    want_records(&rulesets);
    Ok(rulesets)
}

/// How much of everything the limit of descriptors allows.
pub(super) struct QueueLimits {
    pub(super) event_loop: usize,
    pub(super) waiting: usize,
}

/// Raises the limit of descriptors to the most that is allowed. Gives the one that the broker was started
/// with, which its commands get.
pub(super) fn raise_descriptors() -> io::Result<u64> {
    let (open_files, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(open_files)
}

/// Shares out what the limit of descriptors leaves beside those that are needed.
fn share_descriptors(sockets: usize, needed: usize) -> Result<QueueLimits, ServeError> {
    let spare = spare_descriptors(needed).map_err(ServeError::Load)?;
    let event_loop = (spare / 2).clamp(1, PENDING_CONNECTIONS_MAX);
    let waiting = (spare / 8 / sockets).clamp(1, SOCKET_WAITING_MAX);
    Ok(QueueLimits { event_loop, waiting })
}
