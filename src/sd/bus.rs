//! A connection to a systemd manager: asks for scopes without waiting, and gives the manager's answers as
//! [`ManagerReply`]s. The code that asks matches an answer to its request, by serial number and by the unit's
//! name.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use zbus::MessageStream;
use zbus::message::{Message, Type};
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

use crate::limits::SCOPE_WAIT;

use super::scope::{HandoverMode, NewScope, ScopeName, shelter};
use super::transport::{BusTransport, unescape};

const MANAGER: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const TO_MANAGER: (&str, &str, &str) = (MANAGER, MANAGER_PATH, MANAGER_INTERFACE);
const BUS: &str = "org.freedesktop.DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// The first release of systemd that takes the processes of a scope as pidfds (`PIDFDs`).
const PIDFDS_SINCE: u32 = 255;

/// The signal that the manager sends when a job is over. The client that asked for the job gets it without
/// `Subscribe`. As long as no client subscribes, the manager does not send signals for every unit that comes,
/// changes and goes, which would cost time in the manager and on the bus.
const JOBS: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
                    interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// The address of a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusAddress(String);

impl BusAddress {
    /// The bus of the manager above this process: the session's, else the user's, else, for a system service,
    /// the system's. `None` where the environment names none.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(address) = set("DBUS_SESSION_BUS_ADDRESS") {
            return Some(Self(address));
        }
        if let Some(directory) = set("XDG_RUNTIME_DIR").filter(|path| Path::new(path).is_absolute()) {
            return Some(Self(format!("unix:path={}/bus", escaped(&directory))));
        }
        set("INVOCATION_ID")
            .map(|_| Self(set("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| SYSTEM_BUS.into())))
    }
}

/// A path as it stands in an address: bytes that are not plain become `%XX`.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/.*".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}

/// Why there is no scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusError {
    /// The environment names no bus.
    NoAddress,
    /// The bus or the manager cannot be reached, or refuses; the text is its own.
    Failed(String),
    /// The manager makes no scopes for this user; the text is its own.
    Denied(String),
    /// The manager is stopping a unit that the scope depends on, such as the broker's; the text is its own.
    Stopped(String),
    /// The manager did not answer in time.
    Silent,
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => {
                write!(f, "no message bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
            }
            Self::Failed(why) => f.write_str(why),
            Self::Stopped(why) => write!(f, "the systemd manager is stopping what it belongs to: {why}"),
            Self::Denied(why) => write!(f, "the systemd manager makes none for this user: {why}"),
            Self::Silent => write!(f, "the systemd manager did not answer in {} s", SCOPE_WAIT.as_secs()),
        }
    }
}

impl std::error::Error for BusError {}

/// The errors of a manager for a user without the right to start units; the second where a password could be
/// asked for interactively.
const DENIALS: [&str; 2] = [
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
];

/// The error of a manager that has a stop job for a unit that the new unit depends on.
const DESTRUCTIVE: &str = "org.freedesktop.systemd1.TransactionIsDestructive";

impl BusError {
    /// The error for the text of a [`ManagerReply::Refused`].
    pub fn refused(why: String) -> Self {
        if DENIALS.iter().any(|denial| why.starts_with(denial)) {
            Self::Denied(why)
        } else if why.starts_with(DESTRUCTIVE) {
            Self::Stopped(why)
        } else {
            Self::Failed(why)
        }
    }

    /// The error for the result of a [`ManagerReply::Over`] that is not `done`.
    pub fn ended(result: &str) -> Self {
        let why = format!("the scope's job ended as {result}");
        if result == "canceled" { Self::Stopped(why) } else { Self::Failed(why) }
    }
}

impl From<zbus::Error> for BusError {
    fn from(source: zbus::Error) -> Self {
        if let zbus::Error::InputOutput(source) = &source
            && source.kind() == io::ErrorKind::TimedOut
        {
            return Self::Silent;
        }
        // An error's text may contain text from outside, with line ends; a notice is one line.
        Self::Failed(source.to_string().replace(char::is_control, " "))
    }
}

/// An answer of the manager's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerReply {
    /// The request with this serial number was taken.
    Taken(u32),
    /// The request with this serial number was refused.
    Refused(u32, String),
    /// The job of the unit with this name is over, with this result; `done` is success.
    Over(String, String),
}

/// A connection to a manager.
#[derive(Debug)]
pub struct ManagerBus {
    transport: BusTransport,
    heard: MessageStream,
    broker: Option<String>,
    handover: HandoverMode,
    /// The cgroup below which the manager's units are.
    root: Option<String>,
}

/// Whether the manager behind `address` delegated the cgroup `path`, which is this process's. Waits at most
/// for `wait`.
pub fn delegates(address: &BusAddress, path: &str, wait: Duration) -> Result<bool, BusError> {
    let until = Instant::now() + wait;
    let transport = BusTransport::connect(&address.0, until)?;
    let answer = transport.call(TO_MANAGER, "GetUnitByPID", &std::process::id(), until)?;
    let unit: OwnedObjectPath = answer.body().deserialize()?;
    let kind = if unit.ends_with("_2eservice") { "Service" } else { "Scope" };
    let get = |name: &str| {
        let property = (format!("{MANAGER}.{kind}"), name);
        let answer = transport.call((MANAGER, &unit, PROPERTIES), "Get", &property, until)?;
        answer.body().deserialize::<OwnedValue>()
    };
    let (group, delegates) = (get("ControlGroup")?, get("Delegate")?);
    Ok(group.downcast_ref::<&str>().is_ok_and(|group| group == path) && delegates.downcast_ref() == Ok(true))
}

impl ManagerBus {
    /// Connects, and listens for the ends of jobs.
    pub fn connect(address: &BusAddress) -> Result<Self, BusError> {
        let until = Instant::now() + SCOPE_WAIT;
        let transport = BusTransport::connect(&address.0, until)?;
        transport.call((BUS, BUS_PATH, BUS), "AddMatch", &JOBS, until)?;
        let broker = own_service(&transport, until)?;
        let takes_handles = release(&transport, until).is_some_and(|release| release >= PIDFDS_SINCE);
        let handover = if takes_handles { HandoverMode::Pidfd } else { HandoverMode::Pid };
        let root = property(&transport, "ControlGroup", until);
        let heard = transport.listen();
        Ok(Self { transport, heard, broker, handover, root })
    }

    /// The manager's answers since the last call of this function; does not wait.
    pub fn hear(&mut self) -> Result<Vec<ManagerReply>, BusError> {
        let lost = |_| BusError::Failed("the connection to the message bus was lost".into());
        let messages = self.transport.receive(&mut self.heard).map_err(lost)?;
        Ok(messages.iter().filter_map(word).collect())
    }

    /// Asks for a scope, and gives the request's serial number.
    pub fn start(&self, scope: &NewScope<'_>) -> Result<u32, BusError> {
        let auxiliary: Vec<(&str, Vec<(&str, Value<'_>)>)> = Vec::new();
        let scope = NewScope { broker: self.broker.as_deref(), ..*scope };
        let properties = scope.properties(self.handover);
        self.ask("StartTransientUnit", &(scope.name.as_str(), "fail", properties, auxiliary))
    }

    /// Whether a cgroup is below the manager's own. One of a manager that does not say where it is counts as
    /// below.
    pub fn is_above(&self, path: &str) -> bool {
        self.root.as_deref().is_none_or(|root| Path::new(path).starts_with(Path::new("/").join(root)))
    }

    /// Asks for a scope around a process that makes others, and gives the request's serial number.
    pub fn shelter(&self, name: &ScopeName, pid: u32, pidfd: BorrowedFd<'_>) -> Result<u32, BusError> {
        let auxiliary: Vec<(&str, Vec<(&str, Value<'_>)>)> = Vec::new();
        let properties = shelter(self.handover, pid, pidfd);
        self.ask("StartTransientUnit", &(name.as_str(), "fail", properties, auxiliary))
    }

    /// Asks for another description of a scope, and gives the request's serial number.
    pub fn describe(&self, scope: &ScopeName, text: &str) -> Result<u32, BusError> {
        let properties = vec![("Description", Value::from(text))];
        self.ask("SetUnitProperties", &(scope.as_str(), true, properties))
    }

    /// Sends a request to the manager without waiting.
    fn ask<B: serde::Serialize + zbus::zvariant::DynamicType>(
        &self,
        member: &str,
        body: &B,
    ) -> Result<u32, BusError> {
        let message = Message::method_call(MANAGER_PATH, member)?
            .destination(MANAGER)?
            .interface(MANAGER_INTERFACE)?
            .build(body)?;
        self.transport.send(&message, Instant::now() + SCOPE_WAIT)?;
        Ok(message.primary_header().serial_num().get())
    }
}

impl AsFd for ManagerBus {
    /// Readable when the manager has sent a message.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}

/// The service that this process runs in, if it is one of this manager's units.
fn own_service(transport: &BusTransport, until: Instant) -> Result<Option<String>, BusError> {
    let answer = match transport.call(TO_MANAGER, "GetUnitByPID", &std::process::id(), until) {
        // An error of the manager's: the process is in no unit. An error of the bus would mean that there is
        // no manager.
        Err(zbus::Error::MethodError(name, ..)) if name.starts_with(MANAGER) => return Ok(None),
        answer => answer?,
    };
    let path: OwnedObjectPath = answer.body().deserialize()?;
    Ok(unit_of(path.as_str()).filter(|unit| unit.ends_with(".service")))
}

/// The manager's release of systemd.
fn release(transport: &BusTransport, until: Instant) -> Option<u32> {
    release_in(&property(transport, "Version", until)?)
}

/// A text that the manager says of itself.
fn property(transport: &BusTransport, name: &str, until: Instant) -> Option<String> {
    let property = (MANAGER_INTERFACE, name);
    let answer = transport.call((MANAGER, MANAGER_PATH, PROPERTIES), "Get", &property, until).ok()?;
    let value: OwnedValue = answer.body().deserialize().ok()?;
    value.downcast_ref::<&str>().ok().map(str::to_owned)
}

/// The release that a version begins with, `252` of `252.39-1~deb12u1`.
fn release_in(version: &str) -> Option<u32> {
    let digits = version.trim_start_matches('v');
    let end = digits.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// The name of the unit that an object path stands for; in the path, a byte that is no letter or digit is
/// `_XX`.
fn unit_of(path: &str) -> Option<String> {
    let name = path.strip_prefix("/org/freedesktop/systemd1/unit/")?;
    String::from_utf8(unescape(name.as_bytes(), b'_')?).ok()
}

fn word(message: &Message) -> Option<ManagerReply> {
    let header = message.header();
    match message.message_type() {
        Type::MethodReturn => header.reply_serial().map(|serial| ManagerReply::Taken(serial.get())),
        Type::Error => {
            let why: String = message.body().deserialize().unwrap_or_default();
            let name = header.error_name().map(ToString::to_string).unwrap_or_default();
            let why = format!("{name}: {why}").replace(char::is_control, " ");
            header.reply_serial().map(|serial| ManagerReply::Refused(serial.get(), why))
        }
        Type::Signal if header.member().is_some_and(|member| member.as_str() == "JobRemoved") => {
            let (_, _, unit, result): (u32, OwnedObjectPath, String, String) =
                message.body().deserialize().ok()?;
            Some(ManagerReply::Over(unit, result))
        }
        Type::Signal | Type::MethodCall => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], want: Option<&str>) {
        let value =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        assert_eq!(BusAddress::find(value), want.map(|address| BusAddress(address.into())));
    }

    #[test]
    fn the_bus_is_the_one_of_the_manager_above() {
        check(&[], None);
        check(
            &[("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x"), ("XDG_RUNTIME_DIR", "/r")],
            Some("unix:path=/x"),
        );
        check(&[("XDG_RUNTIME_DIR", "/run/a b")], Some("unix:path=/run/a%20b/bus"));
        check(&[("XDG_RUNTIME_DIR", "relative")], None);
        check(&[("INVOCATION_ID", "1")], Some(SYSTEM_BUS));
    }

    #[test]
    fn a_version_begins_with_the_release() {
        let versions = ["252.39-1~deb12u1", "v255.4", "260~rc1-2", "257"];
        assert_eq!(versions.map(release_in), [252, 255, 260, 257].map(Some));
        assert_eq!(["", "systemd 257", "99999999999"].map(release_in), [None; 3]);
    }

    #[test]
    fn an_object_path_gives_the_units_name() {
        let unit = |path: &str| unit_of(&format!("/org/freedesktop/systemd1/unit/{path}"));
        assert_eq!(unit("sluice_40agent_2eservice").as_deref(), Some("sluice@agent.service"));
        assert_eq!(unit("x_2"), None);
    }
}
