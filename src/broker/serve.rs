//! A broker from its start to its end.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::audit::{Manifest, OpenError};
use crate::ids::SocketName;
use crate::limits::{DELEGATION_WAIT, LOBBY_CONNECTIONS_MAX, SCOPE_WAIT, SOCKET_WAITING_MAX};
use crate::rules::{Audit, ScopeMode};
use crate::sd::{Address, BusError, Delegation, Notifier, Undelegated, delegates};
use crate::spawn::{AsRoot, Environment, Kin, Pool, Privileged, ScopeNews, Scopes, end_kept, shed};
use crate::sys;

use super::gate::Gate;
use super::listen::{ListenError, Listener, Own, bind, inherited};
use super::lobby::Lobby;
use super::notice::{LoadError, Notice};
use super::reload::{needed_descriptors, spare_descriptors};
use super::ruleset::{Loaded, Ruleset, name_of, want_records};
use super::sentry::Sentry;
use super::state::{Broker, Events, Say, Socket};
use super::status::{Board, Herald, one_line};
use super::untold::Untold;

/// What an operator asks of a broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// The rules.
    pub rules: Rules,
    /// The socket to bind; without it, systemd's.
    pub socket: Option<PathBuf>,
    /// Whether root may serve.
    pub as_root: AsRoot,
}

/// Where rules are.
#[derive(Clone, Debug)]
pub enum Rules {
    /// One file, absolute, for every socket.
    File(PathBuf),
    /// In this directory, absolute: `NAME.rules` for the socket that systemd calls NAME.
    Directory(PathBuf),
}

/// Why a broker did not start, or could not go on.
#[derive(Debug)]
pub enum ServeError {
    /// The process has too many privileges.
    Privileged(Privileged),
    /// The rules are wrong.
    Load(LoadError),
    /// There is no socket.
    Listen(ListenError),
    /// There is no manifest.
    Manifest(OpenError),
    /// Somebody took the socket's file away while the broker served.
    SocketTaken,
    /// The kernel, or a filter of system calls, denies what a broker cannot do without.
    Kernel(sys::Missing),
    /// No process can be made for calls.
    NoProcess(io::Error),
    /// The process tree of calls cannot be followed.
    NoTree(io::Error),
    /// A system call failed.
    Io(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Privileged(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Manifest(error) => error.fmt(f),
            Self::SocketTaken => {
                write!(f, "somebody removed or replaced the socket; callers do not come here any more")
            }
            Self::Kernel(missing) => missing.fmt(f),
            Self::NoProcess(source) => write!(
                f,
                "no process can be made for calls, so nothing is served: {source}. Where a container's seccomp profile or \
                 a unit's SystemCallFilter= denies clone3, it has to answer ENOSYS, and to allow clone; TasksMax= and \
                 ulimit -u limit how many there may be"
            ),
            Self::NoTree(source) => {
                write!(f, "cannot follow what calls start (/proc/PID/task/TID/children): {source}")
            }
            Self::Io(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<io::Error> for ServeError {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

/// Serves until the broker is told to stop and every call has ended.
pub fn serve(config: &Config, say: Say) -> Result<(), ServeError> {
    let (notifier, unheard) =
        Notifier::from_env().map_or_else(|source| (Notifier::default(), Some(source)), |it| (it, None));
    let notifier = Arc::new(notifier);
    let served = serve_heralded(config, say, &notifier, unheard.as_ref());
    if let Err(error) = &served {
        let text = error.to_string();
        // The text is printed in any case.
        notifier.last_word(&one_line(text.lines().next().unwrap_or_default())).ok();
    }
    served
}

fn serve_heralded(
    config: &Config,
    say: Say,
    notifier: &Arc<Notifier>,
    unheard: Option<&io::Error>,
) -> Result<(), ServeError> {
    shed(config.as_root).map_err(ServeError::Privileged)?;
    sys::check_kernel().map_err(ServeError::Kernel)?;
    prctl::set_dumpable(false).map_err(io::Error::from)?;
    sys::share_heaps();
    let signals = signals()?;
    // The first notice starts a thread, which must come after what every thread inherits.
    if let Some(source) = unheard {
        say(&Notice::NoManager(source));
    }
    let environment = Environment::current();
    let (listeners, loaded) = match &config.rules {
        Rules::File(file) => serve_file(file, config.socket.as_deref(), &environment, say)?,
        Rules::Directory(directory) => serve_directory(directory, &environment)?,
    };
    let rules = loaded.iter().map(|loaded| loaded.policy.rules().len()).sum();
    let needed = (0..listeners.len()).map(|index| needed_descriptors(&loaded[index % loaded.len()].policy));
    // Nothing is on record of a broker that has no room.
    let room = make_room(listeners.len(), needed.sum())?;
    let rulesets = put_in_force(loaded, say)?;
    let kin = Arc::new(Kin::begin().map_err(ServeError::NoTree)?);
    let ready =
        Notice::Ready { sockets: listeners.iter().map(|listener| listener.label.clone()).collect(), rules };
    let of = |index: usize| rulesets[index % rulesets.len()].clone();
    let split = |(index, listener)| split(listener, of(index), room.waiting);
    let (sockets, own): (Vec<_>, Vec<_>) = listeners.into_iter().enumerate().map(split).unzip();
    let owned = own.iter().map(Option::is_some).collect();
    let (pool, events) = (Arc::new(Pool::new(kin.clone())), Arc::new(Events::new()?));
    let board = Arc::new(Board::new(notifier));
    let modes: Vec<_> = rulesets.iter().map(|ruleset| ruleset.policy().scope()).collect();
    let change = {
        let (events, board) = (events.clone(), board.clone());
        move || events.note_change(&board)
    };
    let scopes = scopes(&pool, &kin, &environment, &modes, say, change)?;
    let (rulesets, counting, untold) = (each_once(rulesets), Mutex::default(), Untold::default());
    let broker = Arc::new(Broker {
        sockets,
        rulesets,
        counting,
        untold,
        environment,
        kin,
        pool,
        scopes,
        say,
        events,
        board,
    });
    let herald = Herald::new(notifier.clone());
    let mut lobby = Lobby::new(broker.clone(), signals, herald, room.open_files, room.lobby, owned)?;
    if let Err(source) = lobby.prove() {
        end(&broker, &mut lobby)?;
        return Err(ServeError::NoProcess(source));
    }
    let sentry = Sentry::default();
    for own in own.iter().flatten() {
        sentry.watch(own.place()).unwrap_or_else(|source| say(&Notice::SocketUnwatched(&source)));
    }
    say(&ready);
    broker.scopes.warm(&modes);
    lobby.run()?;
    end(&broker, &mut lobby)?;
    if sentry.was_taken() { Err(ServeError::SocketTaken) } else { Ok(()) }
}

/// Scopes from the manager that this process lives under, or in the group that it gave away.
fn scopes(
    pool: &Arc<Pool>,
    kin: &Arc<Kin>,
    environment: &Environment,
    modes: &[ScopeMode],
    say: Say,
    change: impl Fn() + Send + Sync + 'static,
) -> io::Result<Scopes> {
    let variable = |name: &str| environment.get(name).and_then(|value| value.to_str()).map(str::to_owned);
    let address = Address::find(variable);
    let delegation = own_group(address.as_ref(), modes);
    let tell = move |news: &ScopeNews<'_>| {
        say(&Notice::Scopes(news));
        change();
    };
    Scopes::new(pool.clone(), kin.clone(), address, delegation, Box::new(tell))
}

/// The delegated group, with the broker in its place there: before the nursery is started, which stays where it is.
/// Rules that have no use for one leave the broker where it was put.
fn own_group(address: Option<&Address>, modes: &[ScopeMode]) -> Result<Delegation, Undelegated> {
    if !modes.iter().any(|mode| matches!(mode, ScopeMode::Auto | ScopeMode::Delegate)) {
        return Err(Undelegated::Unasked);
    }
    // Rules that can do without do not hold up the start for it.
    let wait = if modes.contains(&ScopeMode::Delegate) { SCOPE_WAIT } else { DELEGATION_WAIT };
    let ask = |path: &str| address.map_or(Err(BusError::NoAddress), |bus| delegates(bus, path, wait));
    let delegation = Delegation::find(ask)?;
    delegation.settle()?;
    Ok(delegation)
}

/// One rules file for one socket of the broker's own, or for all that systemd hands over.
fn serve_file(
    file: &Path,
    socket: Option<&Path>,
    environment: &Environment,
    say: Say,
) -> Result<(Vec<Listener>, Vec<Loaded>), ServeError> {
    let loaded = Loaded::read(file, environment).map_err(ServeError::Load)?;
    let name = SocketName::new(name_of(file));
    let Some(path) = socket else { return Ok((listen(&name)?, vec![loaded])) };
    let listener = bind(path, name, |distrust| {
        say(&Notice::SocketDistrusted(distrust.to_string()));
        loaded.policy.audit() == Audit::BestEffort
    });
    let listener = listener.map_err(ServeError::Listen)?;
    sys::pass_credentials(listener.socket.as_fd())?;
    Ok((vec![listener], vec![loaded]))
}

/// A rules file for each socket that systemd hands over, by its name. One that does not load stops the start: a socket
/// without rules would be a gate that nobody watches.
fn serve_directory(
    directory: &Path,
    environment: &Environment,
) -> Result<(Vec<Listener>, Vec<Loaded>), ServeError> {
    let listeners = listen(&SocketName::new("default"))?;
    let file = |listener: &Listener| {
        let name = listener.name.as_str();
        if name.contains('/') || name.starts_with('.') {
            return Err(ServeError::Listen(ListenError::Name(listener.name.clone())));
        }
        Ok(directory.join(format!("{name}.rules")))
    };
    let read = |listener| Loaded::read(&file(listener)?, environment).map_err(ServeError::Load);
    let loaded = listeners.iter().map(read).collect::<Result<_, _>>()?;
    Ok((listeners, loaded))
}

/// The sockets that systemd hands over.
fn listen(unnamed: &SocketName) -> Result<Vec<Listener>, ServeError> {
    let listeners = inherited(unnamed).map_err(ServeError::Listen)?;
    if listeners.is_empty() {
        return Err(ServeError::Listen(ListenError::Nothing));
    }
    for listener in &listeners {
        sys::pass_credentials(listener.socket.as_fd())?;
    }
    Ok(listeners)
}

/// Opens the manifests, one where several files name the same, and puts the rules in force. What it gives has one for
/// each rules file that was read, so that sockets with the same file share one.
fn put_in_force(loaded: Vec<Loaded>, say: Say) -> Result<Vec<Arc<Ruleset>>, ServeError> {
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

/// The rulesets without those that come again.
fn each_once(mut rulesets: Vec<Arc<Ruleset>>) -> Vec<Arc<Ruleset>> {
    let mut seen = HashSet::new();
    rulesets.retain(|ruleset| seen.insert(Arc::as_ptr(ruleset)));
    rulesets
}

/// Signals come as events of the accept loop. Blocked before there is a second thread.
fn signals() -> io::Result<SignalFd> {
    let mut wanted = SigSet::empty();
    [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT].into_iter().for_each(|signal| wanted.add(signal));
    wanted.thread_block()?;
    Ok(SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

fn split(listener: Listener, rules: Arc<Ruleset>, waiting: usize) -> (Socket, Option<Own>) {
    let socket = Socket { name: listener.name, rules, listener: listener.socket, gate: Gate::new(waiting) };
    (socket, listener.own)
}

/// How much of everything the limit of descriptors allows.
struct Room {
    /// The limit that the broker was started with, which its commands get.
    open_files: u64,
    lobby: usize,
    waiting: usize,
}

/// Raises the limit of descriptors to the most that is allowed, and shares it out.
fn make_room(sockets: usize, needed: usize) -> Result<Room, ServeError> {
    let (open_files, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(io::Error::from)?;
    let spare = spare_descriptors(needed).map_err(ServeError::Load)?;
    let lobby = (spare / 2).clamp(1, LOBBY_CONNECTIONS_MAX);
    let waiting = (spare / 8 / sockets).clamp(1, SOCKET_WAITING_MAX);
    Ok(Room { open_files, lobby, waiting })
}

/// Everything has been answered: ends what was let go on, and closes the record.
fn end(broker: &Broker, lobby: &mut Lobby) -> Result<(), ServeError> {
    end_kept(&broker.kin, broker.events.as_stop())?;
    lobby.end()?;
    broker.scopes.clear();
    let mut closed: Vec<&Arc<Manifest>> = Vec::new();
    for ruleset in &broker.rulesets {
        if !closed.iter().any(|manifest| Arc::ptr_eq(manifest, ruleset.manifest())) {
            closed.push(ruleset.manifest());
            ruleset.heed(ruleset.manifest().close());
        }
    }
    Ok(())
}
