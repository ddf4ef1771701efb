//! The places where a broker is asked: a path, or what the environment of a sandbox names for `-`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::client::{BrokerAddress, SharedConnection};
use crate::sys;
use crate::text::quoted;

/// The variable with the number of a descriptor that is a connection to a broker.
pub(super) const DESCRIPTOR_VARIABLE: &str = "SLUICE_FD";

/// The variable with the path of a broker's socket.
pub(super) const SOCKET_VARIABLE: &str = "SLUICE_SOCKET";

/// The place where a broker is asked, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedPlace {
    /// A socket's path.
    Socket(PathBuf),
    /// A descriptor that the environment names.
    Descriptor(i32),
    /// The directory of a FIFO door.
    Door(PathBuf),
}

impl AskedPlace {
    /// The place as one word, or some.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Socket(path) | Self::Door(path) => quoted(&path.to_string_lossy()).into_owned(),
            Self::Descriptor(number) => format!("descriptor {number} (${DESCRIPTOR_VARIABLE})"),
        }
    }

    /// The path of the socket; of a descriptor nothing is known of it.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Socket(path) | Self::Door(path) => path,
            Self::Descriptor(_) => Path::new(""),
        }
    }

    /// The place as an argument of `sluicify`.
    pub(super) fn argument(&self) -> String {
        match self {
            Self::Socket(_) | Self::Door(_) => self.shown(),
            Self::Descriptor(_) => "-".into(),
        }
    }
}

/// What the environment of a sandbox says of its broker.
#[derive(Clone, Debug, Default)]
pub struct PlaceVariables {
    /// `$SLUICE_FD`: the number of a connection that is open.
    pub descriptor: Option<OsString>,
    /// `$SLUICE_SOCKET`: the path of a socket, or a gate's directory.
    pub socket: Option<OsString>,
}

impl PlaceVariables {
    /// Those of this process.
    pub(super) fn of_environment() -> Self {
        Self { descriptor: variable(DESCRIPTOR_VARIABLE), socket: variable(SOCKET_VARIABLE) }
    }
}

/// Asks at the places that the argument SOCKET stands for, until one of them can be asked. `ask` gives an
/// error, as a message, where nothing could be asked. Errors: the messages of all places, or that there is
/// none.
pub fn ask_at<T>(
    socket: &OsStr,
    variables: &PlaceVariables,
    ask: impl Fn(&AskedPlace, BrokerAddress) -> Result<T, String>,
) -> Result<T, String> {
    let at_path = |path: PathBuf, variables: &PlaceVariables| {
        if path.is_dir() { ask_in(&path, variables, &ask) } else { ask_socket(path, &ask) }
    };
    if socket != "-" {
        return at_path(socket.into(), variables);
    }
    // The connection is asked first, and not again in the gate's directory.
    let rest = PlaceVariables::default();
    let descriptor = variables.descriptor.as_deref().map(inherited);
    let descriptor = descriptor.map(|found| found.and_then(|(place, address)| ask(&place, address)));
    match (descriptor, &variables.socket) {
        (None, None) => Err(format!(
            "no broker is named here: neither ${DESCRIPTOR_VARIABLE} nor ${SOCKET_VARIABLE} is set; what starts a sandbox \
             with a gate sets one of them"
        )),
        (Some(asked), None) | (Some(asked @ Ok(_)), Some(_)) => asked,
        (None, Some(path)) => at_path(path.into(), &rest),
        (Some(Err(before)), Some(path)) => at_path(path.into(), &rest)
            .map_err(|after| format!("{before}; and by ${SOCKET_VARIABLE}: {after}")),
    }
}

fn ask_socket<T>(
    path: PathBuf,
    ask: &impl Fn(&AskedPlace, BrokerAddress) -> Result<T, String>,
) -> Result<T, String> {
    ask(&AskedPlace::Socket(path.clone()), BrokerAddress::Path(path))
}

/// Asks at the doors of a gate's directory: the connection that the environment names, the socket, the FIFO
/// door; or at the one door of a FIFO door's own directory. Errors: what each said.
fn ask_in<T>(
    gate: &Path,
    variables: &PlaceVariables,
    ask: &impl Fn(&AskedPlace, BrokerAddress) -> Result<T, String>,
) -> Result<T, String> {
    let through = |door: PathBuf| ask(&AskedPlace::Door(door.clone()), BrokerAddress::Fifo(door));
    if is_door(gate) {
        return through(gate.to_owned());
    }
    let mut said = Vec::new();
    let descriptor = variables.descriptor.as_deref().map(inherited);
    if let Some(asked) = descriptor.map(|found| found.and_then(|(place, address)| ask(&place, address))) {
        match asked {
            Err(why) => said.push(format!("the connection: {why}")),
            asked => return asked,
        }
    }
    match ask_socket(gate.join(SOCKET_NAME), ask) {
        Err(why) => said.push(format!("the socket: {why}")),
        asked => return asked,
    }
    match through(gate.join(DOOR_NAME)) {
        Err(why) => said.push(format!("the FIFO door: {why}")),
        asked => return asked,
    }
    Err(said.join("; "))
}

/// Whether a directory holds the lanes of a FIFO door.
fn is_door(directory: &Path) -> bool {
    directory.join("0/request").exists()
}

/// The names of a gate's doors in its directory.
const SOCKET_NAME: &str = "sock";
const DOOR_NAME: &str = "fifo";

/// The value of a variable, unless it is empty.
pub(super) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// A copy of the connection behind a descriptor that this process was started with. It has to be open before
/// this process opens descriptors of its own: their numbers could be meant by mistake.
fn inherited(number: &OsStr) -> Result<(AskedPlace, BrokerAddress), String> {
    let problem =
        |what: &str| format!("${DESCRIPTOR_VARIABLE} is {}, {what}", quoted(&number.to_string_lossy()));
    let number = number.to_str().and_then(|number| number.parse().ok());
    let number: i32 = number.ok_or_else(|| problem("and not a descriptor's number"))?;
    let copy = (number > 2).then(|| sys::copy_descriptor(number).ok()).flatten();
    let socket =
        copy.ok_or_else(|| problem("and no such descriptor is open: a program on the way here closed it"))?;
    if !may_be_brokers(&socket) {
        return Err(problem("and that descriptor is no connection to a broker"));
    }
    let address = BrokerAddress::Open(SharedConnection::inherited(socket));
    Ok((AskedPlace::Descriptor(number), address))
}

/// Whether a descriptor is a socket of the right type, as far as the kernel may be asked: filters of
/// sandboxes refuse the question, and leave the connection.
fn may_be_brokers(socket: &OwnedFd) -> bool {
    match getsockopt(socket, sockopt::SockType) {
        Ok(kind) => kind == SockType::SeqPacket,
        Err(error) => error != Errno::ENOTSOCK,
    }
}
