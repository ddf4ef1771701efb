//! The setup of sockets and of the rules in force for them, before a broker serves: the sockets that it binds
//! or is handed over, the rules files, the manifests. `fd_budget.rs` tells whether the limit of descriptors
//! is enough for all of it.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::Manifest;
use crate::ids::SocketName;
use crate::rules::AuditMode;
use crate::sd::Notifier;
use crate::spawn::Environment;
use crate::sys;

use super::config::{RulesLocation, ServeError};
use super::fd_budget::{QueueLimits, needed_descriptors, share_descriptors};
use super::notice::{Notice, SayNotice};
use super::ruleset::{LoadedRules, Ruleset, name_of, want_records};
use super::signals::BrokerSignals;
use super::sockets::{ListenError, ListeningSocket, bind, inherited};
use super::unserved::{UnservedBroker, UnservedNext};

/// Sockets, the rules in force for them, and the room for connections that the limit of descriptors leaves.
pub(super) struct BrokerSetup {
    pub(super) listeners: Vec<RuledListener>,
    /// One for each rules file.
    pub(super) rulesets: Vec<Arc<Ruleset>>,
    pub(super) room: QueueLimits,
}

/// A listening socket, and the index of the ruleset that decides on its calls.
pub(super) struct RuledListener {
    pub(super) listener: ListeningSocket,
    pub(super) ruleset: usize,
}

/// Sets up one rules file for one socket of the broker's own.
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
    let (rulesets, room) = put_in_force(&[0], vec![loaded], say)?;
    Ok(BrokerSetup { listeners: vec![RuledListener { listener, ruleset: 0 }], rulesets, room })
}

/// Sets up rules for the sockets that systemd hands over: one file for all, or one for each by its name.
/// While the rules cannot be put in force, callers are refused; `None` when the broker was told to stop
/// meanwhile.
pub(super) fn arrange_handed_over(
    rules: &RulesLocation,
    signals: &BrokerSignals,
    environment: &Environment,
    notifier: &Notifier,
    say: SayNotice,
) -> Result<Option<BrokerSetup>, ServeError> {
    let (listeners, files) = match rules {
        RulesLocation::File(file) => {
            let listeners = listen(&SocketName::new(name_of(file)))?;
            let files = vec![file.clone(); listeners.len()];
            (listeners, files)
        }
        RulesLocation::Directory(directory) => {
            let listeners = listen(&SocketName::new("default"))?;
            let files = listeners.iter().map(|listener| file_of(directory, listener));
            let files = files.collect::<Result<_, _>>()?;
            (listeners, files)
        }
    };
    let (files, indices) = each_once(files);
    let mut unserved = UnservedBroker::new(&listeners, files.clone(), signals, notifier, say)?;
    let (rulesets, room) = loop {
        unserved.begin_try();
        let in_force = read_all(&files, environment)
            .and_then(|loaded| put_in_force(&indices, loaded, say).map_err(|error| error.to_string()));
        let why = match in_force {
            Ok(in_force) => break in_force,
            Err(why) => why,
        };
        if unserved.wait(&why)? == UnservedNext::Stop {
            return Ok(None);
        }
    };
    drop(unserved);
    let listeners = listeners.into_iter().zip(indices);
    let listeners = listeners.map(|(listener, ruleset)| RuledListener { listener, ruleset }).collect();
    Ok(Some(BrokerSetup { listeners, rulesets, room }))
}

/// The files without repetitions, and for each file that was given its index among them.
fn each_once(given: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<usize>) {
    let (mut files, mut known) = (Vec::new(), HashMap::new());
    let index_of = |file: PathBuf| {
        *known.entry(file).or_insert_with_key(|file| {
            files.push(file.clone());
            files.len() - 1
        })
    };
    let indices = given.into_iter().map(index_of).collect();
    (files, indices)
}

/// Reads rules files. Errors: the errors of all of them, in the order of the files' paths.
fn read_all(files: &[PathBuf], environment: &Environment) -> Result<Vec<LoadedRules>, String> {
    let (mut loaded, mut wrong) = (Vec::new(), BTreeMap::new());
    for file in files {
        match LoadedRules::read(file, environment) {
            Ok(read) => loaded.push(read),
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

/// Opens the manifests, if the limit of descriptors allows all calls that the rules allow at the sockets;
/// `sockets` has for each the index of its rules. A broker that is refused this has put nothing on record.
fn put_in_force(
    sockets: &[usize],
    loaded: Vec<LoadedRules>,
    say: SayNotice,
) -> Result<(Vec<Arc<Ruleset>>, QueueLimits), ServeError> {
    let needed = sockets.iter().map(|&index| needed_descriptors(&loaded[index].policy));
    let room = share_descriptors(sockets.len(), needed.sum()).map_err(ServeError::Load)?;
    Ok((open_manifests(loaded, say)?, room))
}

/// Opens the manifests, a shared one where several files name it, and puts the rules in force.
fn open_manifests(loaded: Vec<LoadedRules>, say: SayNotice) -> Result<Vec<Arc<Ruleset>>, ServeError> {
    let mut manifests: HashMap<PathBuf, Arc<Manifest>> = HashMap::new();
    let mut rulesets: Vec<Arc<Ruleset>> = Vec::new();
    for loaded in loaded {
        let manifest = match manifests.get(&loaded.manifest) {
            Some(manifest) => manifest.clone(),
            None => Arc::new(loaded.open_manifest(say).map_err(ServeError::Manifest)?),
        };
        manifests.insert(loaded.manifest.clone(), manifest.clone());
        rulesets.push(Arc::new(Ruleset::new(loaded, manifest, say)));
    }
    want_records(&rulesets);
    Ok(rulesets)
}
