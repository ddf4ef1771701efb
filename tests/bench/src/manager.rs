//! What a systemd manager itself can do: a process of ours in a transient scope, with as little around it as
//! there can be. One connection serves all callers; it is not subscribed to anything but the ends of jobs.

use std::collections::HashMap;
use std::io;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use zbus::blocking::{Connection, MessageIterator};
use zbus::message::{Message, Type};
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";
const JOBS: &str = "type='signal',sender='org.freedesktop.systemd1',member='JobRemoved'";
/// A scope that takes longer is a failure.
const SCOPE_MAX: Duration = Duration::from_secs(10);
/// The processes' slice, below that of the calls.
const SLICE: &str = "sluice-bench.slice";

/// What a scope is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Properties {
    /// What the broker gives those of its calls.
    Brokers,
    /// Nothing but its process.
    Fewest,
}

/// A connection to the manager of this user.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    /// The unit that this process runs in, to which the broker's scopes would be bound.
    own_unit: String,
    scopes: AtomicU64,
    /// By the scope's name, those who wait for it.
    waiting: Mutex<HashMap<String, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    serial: u32,
    reply: Sender<Result<(), String>>,
}

impl Manager {
    /// Connects.
    pub fn connect() -> io::Result<Arc<Self>> {
        let connection = Connection::session().map_err(io::Error::other)?;
        connection.call_method(Some(BUS), "/", Some(BUS), "AddMatch", &JOBS).map_err(io::Error::other)?;
        let own_unit = own_unit(&connection).map_err(io::Error::other)?;
        let (scopes, waiting) = (AtomicU64::new(1), Mutex::default());
        let manager = Arc::new(Self { connection, own_unit, scopes, waiting });
        let (listener, messages) = (manager.clone(), MessageIterator::from(&manager.connection));
        thread::spawn(move || messages.map_while(Result::ok).for_each(|message| listener.hear(&message)));
        Ok(manager)
    }

    /// Starts a process, has it put into a scope, lets it exit, and waits for that: its exit code.
    pub fn run(&self, properties: Properties) -> io::Result<i32> {
        let mut child = Command::new("/bin/cat")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let made = self.scope_of(&child, properties);
        drop(child.stdin.take());
        let status = child.wait()?;
        made?;
        status.code().ok_or_else(|| io::Error::other(status.to_string()))
    }

    fn scope_of(&self, child: &Child, properties: Properties) -> io::Result<()> {
        let number = self.scopes.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-bench-{}-{number}.scope", process::id());
        let request = self.request(&name, child.id(), properties).map_err(io::Error::other)?;
        let (reply, made) = mpsc::channel();
        let serial = request.primary_header().serial_num().get();
        self.waiting().insert(name, Waiting { serial, reply });
        self.connection.send(&request).map_err(io::Error::other)?;
        made.recv_timeout(SCOPE_MAX).map_err(io::Error::other)?.map_err(io::Error::other)
    }

    fn request(&self, name: &str, pid: u32, properties: Properties) -> zbus::Result<Message> {
        let mut given: Vec<(&str, Value<'_>)> = vec![("PIDs", vec![pid].into())];
        if properties == Properties::Brokers {
            given.extend([
                ("Description", "sluice: ready for a call at bench".into()),
                ("CollectMode", "inactive-or-failed".into()),
                ("TimeoutStopUSec", 2_000_000u64.into()),
                ("KillMode", "control-group".into()),
                ("SendSIGKILL", true.into()),
                ("BindsTo", vec![self.own_unit.as_str()].into()),
                ("Before", vec![self.own_unit.as_str()].into()),
                ("Slice", SLICE.into()),
            ]);
        }
        let auxiliary: Vec<(&str, Vec<(&str, Value<'_>)>)> = Vec::new();
        Message::method_call(PATH, "StartTransientUnit")?
            .destination(SYSTEMD)?
            .interface(INTERFACE)?
            .build(&(name, "fail", given, auxiliary))
    }

    fn hear(&self, message: &Message) {
        let header = message.header();
        if message.message_type() == Type::Error {
            let serial = header.reply_serial().map(std::num::NonZero::get);
            let why = message.body().deserialize().unwrap_or_default();
            let mut waiting = self.waiting();
            let name =
                waiting.iter().find(|(_, one)| Some(one.serial) == serial).map(|(name, _)| name.clone());
            if let Some(one) = name.and_then(|name| waiting.remove(&name)) {
                one.reply.send(Err(why)).ok();
            }
        } else if header.member().is_some_and(|member| member.as_str() == "JobRemoved") {
            let Ok((_, _, unit, result)) =
                message.body().deserialize::<(u32, OwnedObjectPath, String, String)>()
            else {
                return;
            };
            if let Some(one) = self.waiting().remove(&unit) {
                one.reply.send(if result == "done" { Ok(()) } else { Err(result) }).ok();
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn own_unit(connection: &Connection) -> zbus::Result<String> {
    let answer =
        connection.call_method(Some(SYSTEMD), PATH, Some(INTERFACE), "GetUnitByPID", &process::id())?;
    let unit: OwnedObjectPath = answer.body().deserialize()?;
    let properties = Some("org.freedesktop.DBus.Properties");
    let asked = ("org.freedesktop.systemd1.Unit", "Id");
    let answer = connection.call_method(Some(SYSTEMD), unit.as_str(), properties, "Get", &asked)?;
    let id: OwnedValue = answer.body().deserialize()?;
    Ok(id.try_into()?)
}
