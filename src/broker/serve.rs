//! A broker from its start to its end.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::audit::{Manifest, OpenError};
use crate::ids::SocketName;
use crate::limits::{LOBBY_CONNECTIONS_MAX, SOCKET_WAITING_MAX};
use crate::rules::{Audit, Policy};
use crate::spawn::{Environment, Kin, end_kept};
use crate::sys;

use super::disk::load_rules;
use super::gate::Gate;
use super::listen::{ListenError, Listener, bind, inherited};
use super::lobby::Lobby;
use super::notice::{LoadError, Notice};
use super::reload::{manifest_path, spare_descriptors};
use super::state::{Broker, Events, Say, Socket};

/// What an operator asks of a broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// The rules file, absolute.
    pub rules: PathBuf,
    /// The socket to bind; without it, systemd's.
    pub socket: Option<PathBuf>,
}

/// Why a broker did not start, or could not go on.
#[derive(Debug)]
pub enum ServeError {
    /// The rules are wrong.
    Load(LoadError),
    /// There is no socket.
    Listen(ListenError),
    /// There is no manifest.
    Manifest(OpenError),
    /// The process tree of calls cannot be followed.
    NoTree(io::Error),
    /// A system call failed.
    Io(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Manifest(error) => error.fmt(f),
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
    prctl::set_dumpable(false).map_err(io::Error::from)?;
    let signals = signals()?;
    let environment = Environment::current();
    let name = config.rules.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let policy = load_rules(&config.rules, &environment).map_err(ServeError::Load)?;
    let listeners = listen(config, &name, &policy, say)?;
    let path = manifest_path(&policy, &environment, &name).map_err(ServeError::Load)?;
    let manifest = Manifest::open(&path, &config.rules.to_string_lossy(), policy.hash())
        .map_err(ServeError::Manifest)?;
    let kin = Kin::begin().map_err(ServeError::NoTree)?;
    let room = make_room(&policy, listeners.len())?;
    let ready = Notice::Ready {
        sockets: listeners.iter().map(|listener| listener.label.clone()).collect(),
        rules: policy.rules().len(),
    };
    let (sockets, own): (Vec<_>, Vec<_>) =
        listeners.into_iter().map(|listener| split(listener, room.waiting)).unzip();
    let owned = own.iter().map(Option::is_some).collect();
    let (rules, events) = (config.rules.clone(), Events::new()?);
    let broker = Broker::new(sockets, rules, environment, manifest, kin, events, Arc::new(policy), say);
    let broker = Arc::new(broker);
    let mut lobby = Lobby::new(broker.clone(), signals, room.open_files, room.lobby, owned)?;
    say(&ready);
    lobby.run()?;
    end(&broker, &mut lobby)
}

/// Signals come as events of the accept loop. Blocked before there is a second thread.
fn signals() -> io::Result<SignalFd> {
    let mut wanted = SigSet::empty();
    [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT].into_iter().for_each(|signal| wanted.add(signal));
    wanted.thread_block()?;
    Ok(SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

fn listen(config: &Config, name: &str, policy: &Policy, say: Say) -> Result<Vec<Listener>, ServeError> {
    let name = SocketName::new(name);
    let listeners = match &config.socket {
        None => inherited(&name),
        Some(path) => bind(path, name, |distrust| {
            say(&Notice::SocketDistrusted(distrust.to_string()));
            policy.audit() == Audit::BestEffort
        })
        .map(|listener| vec![listener]),
    };
    let listeners = listeners.map_err(ServeError::Listen)?;
    if listeners.is_empty() {
        return Err(ServeError::Listen(ListenError::Nothing));
    }
    for listener in &listeners {
        use std::os::fd::AsFd;
        sys::pass_credentials(listener.socket.as_fd())?;
    }
    Ok(listeners)
}

fn split(listener: Listener, waiting: usize) -> (Socket, Option<super::listen::Own>) {
    let socket = Socket { name: listener.name, listener: listener.socket, gate: Gate::new(waiting) };
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
fn make_room(policy: &Policy, sockets: usize) -> Result<Room, ServeError> {
    let (open_files, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(io::Error::from)?;
    let spare = spare_descriptors(policy, sockets).map_err(ServeError::Load)?;
    let lobby = (spare / 2).clamp(1, LOBBY_CONNECTIONS_MAX);
    let waiting = (spare / 8 / sockets).clamp(1, SOCKET_WAITING_MAX);
    Ok(Room { open_files, lobby, waiting })
}

/// Everything has been answered: ends what was let go on, and closes the record.
fn end(broker: &Broker, lobby: &mut Lobby) -> Result<(), ServeError> {
    end_kept(&broker.kin, broker.events.as_stop())?;
    lobby.end()?;
    if let Err(source) = broker.manifest.close() {
        broker.say_lost(&source);
    }
    Ok(())
}
