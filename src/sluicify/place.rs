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
pub(super) enum AskedPlace {
    /// A socket's path.
    Socket(PathBuf),
    /// A descriptor that the environment names.
    Descriptor(i32),
}

impl AskedPlace {
    /// The place as one word, or some.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Socket(path) => quoted(&path.to_string_lossy()).into_owned(),
            Self::Descriptor(number) => format!("descriptor {number} (${DESCRIPTOR_VARIABLE})"),
        }
    }

    /// The path of the socket; of a descriptor nothing is known of it.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Socket(path) => path,
            Self::Descriptor(_) => Path::new(""),
        }
    }

    /// The place as an argument of `sluicify`.
    pub(super) fn argument(&self) -> String {
        match self {
            Self::Socket(_) => self.shown(),
            Self::Descriptor(_) => "-".into(),
        }
    }
}

/// Asks at the places that the argument SOCKET stands for, until one of them can be asked. `ask` gives an
/// error, as a message, where nothing could be asked. It has to be called before this process opens
/// descriptors of its own. Errors: the messages of all places, or that there is none.
pub(super) fn ask_at<T>(
    socket: &OsStr,
    ask: impl Fn(&AskedPlace, BrokerAddress) -> Result<T, String>,
) -> Result<T, String> {
    let at_path = |path: PathBuf| ask(&AskedPlace::Socket(path.clone()), BrokerAddress::Path(path));
    if socket != "-" {
        return at_path(socket.into());
    }
    let descriptor = variable(DESCRIPTOR_VARIABLE).map(|number| inherited(&number));
    let descriptor = descriptor.map(|found| found.and_then(|(place, address)| ask(&place, address)));
    match (descriptor, variable(SOCKET_VARIABLE)) {
        (None, None) => Err(format!(
            "no broker is named here: neither ${DESCRIPTOR_VARIABLE} nor ${SOCKET_VARIABLE} is set; what starts a sandbox \
             with a gate sets one of them"
        )),
        (Some(asked), None) | (Some(asked @ Ok(_)), Some(_)) => asked,
        (None, Some(path)) => at_path(path.into()),
        (Some(Err(before)), Some(path)) => {
            at_path(path.into()).map_err(|after| format!("{before}; and by ${SOCKET_VARIABLE}: {after}"))
        }
    }
}

/// The value of a variable, unless it is empty.
pub(super) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The connection behind a descriptor that this process was started with.
fn inherited(number: &OsStr) -> Result<(AskedPlace, BrokerAddress), String> {
    let problem =
        |what: &str| format!("${DESCRIPTOR_VARIABLE} is {}, {what}", quoted(&number.to_string_lossy()));
    let number = number.to_str().and_then(|number| number.parse().ok());
    let number: i32 = number.ok_or_else(|| problem("and not a descriptor's number"))?;
    let socket = sys::adopt_open(number)
        .map_err(|_| problem("and no such descriptor is open: a program on the way here closed it"))?;
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
