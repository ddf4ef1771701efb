//! The place where the broker is asked: a socket's path, or for `-` what the environment of a sandbox names,
//! as `sluicify` reads it. A descriptor that is open already comes first, then the path.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{SockType, getsockopt, sockopt};

use sluice::client::{BrokerAddress, CallFailure, SharedConnection};
use sluice::text::quoted;

/// The variable with the number of a descriptor that is a connection to a broker.
const DESCRIPTOR_VARIABLE: &str = "SLUICE_FD";

/// The variable with the path of a broker's socket.
const SOCKET_VARIABLE: &str = "SLUICE_SOCKET";

/// The place of a broker. At least one of both is there.
#[derive(Clone, Debug)]
pub(crate) struct BrokerPlace {
    connection: Option<SharedConnection>,
    socket: Option<PathBuf>,
}

impl BrokerPlace {
    /// The place that the argument `--socket` stands for. It has to be called before this process opens
    /// descriptors of its own. Errors: what is wrong, for a person.
    pub(crate) fn named(socket: &OsStr) -> Result<Self, String> {
        if socket != "-" {
            return Ok(Self { connection: None, socket: Some(socket.into()) });
        }
        let socket = variable(SOCKET_VARIABLE).map(PathBuf::from);
        match (variable(DESCRIPTOR_VARIABLE).map(|number| inherited(&number)), socket) {
            (Some(Ok(connection)), socket) => Ok(Self { connection: Some(connection), socket }),
            (Some(Err(_)) | None, Some(socket)) => Ok(Self { connection: None, socket: Some(socket) }),
            (Some(Err(problem)), None) => Err(problem),
            (None, None) => Err(format!(
                "no broker is named: neither ${DESCRIPTOR_VARIABLE} nor ${SOCKET_VARIABLE} is set"
            )),
        }
    }

    /// Asks at the connection, and where nothing can be asked there, at the path.
    pub(crate) fn ask<T>(
        &self,
        mut ask: impl FnMut(BrokerAddress) -> Result<T, CallFailure>,
    ) -> Result<T, CallFailure> {
        let at_path = self.socket.clone().map(BrokerAddress::Path);
        let Some(connection) = &self.connection else {
            return at_path.map_or(Err(CallFailure::Version1Only), ask);
        };
        match (ask(BrokerAddress::Open(connection.clone())), at_path) {
            (Err(CallFailure::Unsent(_)), Some(path)) => ask(path),
            (asked, _) => asked,
        }
    }

    /// The place, as messages name it.
    pub(crate) fn shown(&self) -> String {
        match &self.socket {
            Some(path) => quoted(&path.to_string_lossy()).into_owned(),
            None => format!("${DESCRIPTOR_VARIABLE}"),
        }
    }

    /// The path, where there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.socket.as_deref()
    }
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The connection behind a descriptor that this process was started with.
fn inherited(number: &OsStr) -> Result<SharedConnection, String> {
    let problem =
        |what: &str| format!("${DESCRIPTOR_VARIABLE} is {}, {what}", quoted(&number.to_string_lossy()));
    let number: Option<i32> = number.to_str().and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| problem("and not a descriptor's number"))?;
    // The first three are this program's own.
    let copy = (number > 2).then(|| sluice::sys::copy_descriptor(number).ok()).flatten();
    let socket =
        copy.ok_or_else(|| problem("and no such descriptor is open: a program on the way closed it"))?;
    // A sandbox's filter may refuse the question, and leave the connection.
    match getsockopt(&socket, sockopt::SockType) {
        Ok(SockType::SeqPacket) => Ok(SharedConnection::inherited(socket)),
        Err(error) if error != Errno::ENOTSOCK => Ok(SharedConnection::inherited(socket)),
        Ok(_) | Err(_) => Err(problem("and that descriptor is no connection to a broker")),
    }
}
