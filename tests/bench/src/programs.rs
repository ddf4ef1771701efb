//! Programs that one would start for a command: this project's client on each of its brokers, the peer's, and
//! what there is besides. Each is tried first; what cannot run here is left out, and says why.

use std::io;
use std::path::Path;

use crate::calls::{Args, Brokers, DELEGATE, OFF, PEER, SCOPE};
use crate::sample::Rounds;
use crate::spawn::Line;
use crate::subject::Subject;

/// The command itself.
pub const DIRECT: &str = "/bin/true";
/// Our client on the broker without scopes: the row that has a budget.
pub const CLIENT: &str = "sluicify (scope = off)";
/// The peer's client on the same broker, which it asks in version 1.
pub const V1_CLIENT: &str = "0.4.1 on ours";
/// The peer's client on its own broker.
pub const PEER_CLIENT: &str = "sluicify 0.4.1's client";

const FALSE: &str = "/bin/false";
/// Other programs, and the words before the command's.
const OTHERS: [(&str, &[&str]); 3] = [
    ("systemd-run --user --scope", &["/usr/bin/systemd-run", "--user", "--scope", "--quiet", "--collect"]),
    ("sudo -n", &["/usr/bin/sudo", "-n"]),
    ("bwrap --ro-bind / /", &["/usr/bin/bwrap", "--ro-bind", "/", "/"]),
];
/// What they need to know of where they are.
pub(crate) const ENVIRONMENT: [&str; 2] = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// What was measured, and what could not be.
#[derive(Debug)]
pub struct Programs {
    /// One program after the other.
    pub rounds: Rounds,
    /// The others, and why.
    pub left_out: Vec<String>,
}

/// Starts each program, again and again, one at a time.
pub fn run(args: &Args, brokers: &Brokers) -> io::Result<Programs> {
    let client = find(&args.client)?;
    let mut subjects = vec![Subject::direct(DIRECT, &[DIRECT])?];
    for (name, broker) in brokers.all() {
        let (name, client) = match (name, args.peer_client()) {
            (OFF, _) => (CLIENT, client.as_str()),
            (SCOPE, _) => ("sluicify (scope = require)", client.as_str()),
            (DELEGATE, _) => ("sluicify (scope = delegate)", client.as_str()),
            (PEER, Some(path)) => (PEER_CLIENT, utf8(path)?),
            _ => continue,
        };
        let socket = broker.socket();
        let subject = |command| Subject::direct(name, &[client, utf8(&socket)?, command]);
        subject(FALSE)?.verify()?;
        subjects.push(subject(DIRECT)?);
    }
    if let Some(path) = args.peer_client() {
        let socket = brokers.off.socket();
        subjects.insert(2, Subject::direct(V1_CLIENT, &[utf8(path)?, utf8(&socket)?, DIRECT])?);
    }
    let mut left_out = Vec::new();
    for (name, words) in OTHERS {
        let subject =
            |command| Ok(Subject::line(name, Line::new(&[words, &[command]].concat())?.with(&ENVIRONMENT)?));
        match subject(FALSE).and_then(|subject: Subject| subject.verify()) {
            Ok(()) => subjects.push(subject(DIRECT)?),
            Err(error) => left_out.push(format!("not measured: {name}: {error}")),
        }
    }
    Ok(Programs { rounds: Rounds::run(&subjects, 1, args.rounds, args.bounds()), left_out })
}

/// The program's path: as it was given, else by its name in `PATH`. It must not be looked for each time.
pub(crate) fn find(program: &Path) -> io::Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let name = program.file_name().unwrap_or_default();
    let places = std::env::split_paths(&path).map(|dir| dir.join(name));
    let found = std::iter::once(program.to_owned()).chain(places).find(|place| place.is_file());
    let found = found.ok_or_else(|| io::Error::other(format!("no {} in PATH", program.display())))?;
    utf8(&found).map(str::to_owned)
}

fn utf8(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other(format!("not UTF-8: {}", path.display())))
}
