//! What lies outside of the project: files, a secret, sockets of each kind, a process, a bus, the broker.
//! Each is real, and tells from its own side whether something reached it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::Child;

use serde_json::json;

use super::site::{Site, give};
use crate::harness::{Broker, Pid, Record, SOON, chmod, found, frame, within};

/// What nobody but the user should read.
const SECRET: &str = "s3cret-of-the-home";

/// What the victim's environment holds.
const TOKEN: &str = "TOKEN=s3cret-of-a-process";

/// The ways out that an attack is tried on, by their names in `payload.py`. The last ends the process that
/// others look at.
pub(super) const WAYS: [&str; 21] = [
    "beside",
    "home",
    "bashrc",
    "cache",
    "chmod",
    "utimes",
    "link",
    "secret",
    "listing",
    "environ",
    "tcp",
    "fastopen",
    "udp",
    "stream",
    "abstract",
    "datagram",
    "datagram_pair",
    "bus",
    "broker",
    "left",
    "signal",
];

/// Everything outside of one project.
#[derive(Debug)]
pub(super) struct Outside {
    home: PathBuf,
    tree: PathBuf,
    socket: PathBuf,
    tcp: [TcpListener; 2],
    udp: UdpSocket,
    stream: UnixListener,
    hidden: UnixListener,
    datagrams: [UnixDatagram; 2],
    victim: Child,
    bus: Child,
    name: String,
}

impl Outside {
    /// All of it, beside this project; the payload is planted in there, with where everything is.
    pub(super) fn around(site: &Site) -> Self {
        let home = site.home().to_owned();
        for name in [".bashrc", "notes", "modes", "times", "linked"] {
            site.write(name, "before\n");
        }
        site.write(".ssh/id", SECRET);
        // What the user's own builds run.
        let cached = home.join(".cargo/registry/src/index/dep/src");
        fs::create_dir_all(&cached).expect("an own directory");
        fs::write(cached.join("lib.rs"), "before\n").expect("an own directory");
        let run = home.join("run");
        let name = format!("sluice-it-{}", home.file_name().expect("it has a name").display());
        let hidden = SocketAddr::from_abstract_name(&name).expect("a short name");
        let loopback = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let datagram = |name| UnixDatagram::bind(run.join(name)).expect("a free path");
        let bus = bus(site);
        let outside = Self {
            tcp: [loopback(), loopback()],
            udp: UdpSocket::bind("127.0.0.1:0").expect("a free port"),
            stream: UnixListener::bind(run.join("stream")).expect("a free path"),
            hidden: UnixListener::bind_addr(&hidden).expect("a free name"),
            datagrams: [datagram("datagram"), datagram("paired")],
            victim: site.command(&["env", TOKEN, "sleep", "600"]).spawn().expect("coreutils are installed"),
            tree: site.tree(),
            socket: site.socket(),
            home,
            bus,
            name,
        };
        give(&run);
        outside.do_not_wait();
        let token = || fs::read(format!("/proc/{}/environ", outside.victim.id())).ok();
        within(SOON, "the victim has its environment", || {
            String::from_utf8_lossy(&token()?).contains(TOKEN).then_some(())
        });
        outside.plant(site);
        outside
    }

    /// The process that attacks look at and end.
    pub(super) fn victim(&self) -> Pid {
        Pid(i32::try_from(self.victim.id()).expect("a pid fits"))
    }

    /// The ports of two listeners.
    fn ports(&self) -> [u16; 2] {
        [&self.tcp[0], &self.tcp[1]].map(|it| it.local_addr().expect("it is bound").port())
    }

    /// A port that answers.
    pub(super) fn port(&self) -> u16 {
        self.ports()[0]
    }

    /// Another.
    pub(super) fn other_port(&self) -> u16 {
        self.ports()[1]
    }

    /// The name of an abstract socket.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn do_not_wait(&self) {
        self.tcp.iter().for_each(|it| it.set_nonblocking(true).expect("a socket of ours"));
        self.datagrams.iter().for_each(|it| it.set_nonblocking(true).expect("a socket of ours"));
        self.udp.set_nonblocking(true).expect("a socket of ours");
        [&self.stream, &self.hidden]
            .into_iter()
            .for_each(|it| it.set_nonblocking(true).expect("a socket of ours"));
    }

    /// The payload, and what it is told.
    fn plant(&self, site: &Site) {
        let at = |name: &str| self.home.join(name).to_string_lossy().into_owned();
        let ports = self.ports();
        let target = |way: &str| match way {
            "beside" => json!(at("agent/beside")),
            "home" => json!(at("notes")),
            "bashrc" => json!(at(".bashrc")),
            "cache" => json!(at(".cargo/registry/src/index/dep/src/lib.rs")),
            "chmod" => json!(at("modes")),
            "utimes" => json!(at("times")),
            "link" => json!([at("linked"), at("agent/project/link")]),
            "secret" => json!(at(".ssh/id")),
            "listing" => json!(at("")),
            "environ" | "signal" => json!(self.victim.id()),
            "tcp" => json!(ports[0]),
            "fastopen" => json!(ports[1]),
            "udp" => json!(self.udp.local_addr().expect("it is bound").port()),
            "stream" => json!(at("run/stream")),
            "abstract" => json!(self.name),
            "datagram" => json!(at("run/datagram")),
            "datagram_pair" => json!(at("run/paired")),
            "bus" => json!(at("run/bus")),
            "broker" => json!([self.socket, hex(&frame(&["/bin/echo", "reached"]))]),
            "left" => json!(600),
            _ => unreachable!("{way} has no target"),
        };
        let targets =
            WAYS.map(|way| (way.to_owned(), target(way))).into_iter().collect::<serde_json::Map<_, _>>();
        site.write("agent/project/targets.json", &serde_json::Value::from(targets).to_string());
        let payload = site.write("agent/project/payload.py", include_str!("payload.py"));
        chmod(&payload, 0o755);
    }

    /// The ways by which something got out, as everything outside tells it.
    pub(super) fn seen(&mut self, broker: &Broker) -> BTreeSet<&'static str> {
        let text = |name: &str| fs::read_to_string(self.home.join(name)).expect("it is there");
        let of = |name: &str| fs::metadata(self.home.join(name)).expect("it is there");
        let asked = |record: &Record| record.to_string().contains("reached");
        let seen = [
            ("beside", self.home.join("agent/beside").exists()),
            ("home", text("notes") != "before\n"),
            ("bashrc", text(".bashrc") != "before\n"),
            ("cache", text(".cargo/registry/src/index/dep/src/lib.rs") != "before\n"),
            ("chmod", of("modes").permissions().mode() & 0o777 != 0o600),
            ("utimes", of("times").mtime() == 1),
            ("link", of("linked").nlink() != 1),
            ("tcp", self.tcp[0].accept().is_ok()),
            ("fastopen", self.tcp[1].accept().is_ok()),
            ("udp", self.udp.recv(&mut [0]).is_ok()),
            ("stream", self.stream.accept().is_ok()),
            ("abstract", self.hidden.accept().is_ok()),
            ("datagram", self.datagrams[0].recv(&mut [0]).is_ok()),
            ("datagram_pair", self.datagrams[1].recv(&mut [0]).is_ok()),
            ("broker", broker.records().iter().any(asked)),
            ("signal", self.victim.try_wait().expect("a child of ours").is_some()),
        ];
        seen.into_iter().filter_map(|(way, is_so)| is_so.then_some(way)).collect()
    }

    /// What the payload says of itself.
    pub(super) fn report(&self) -> Report {
        let text = fs::read_to_string(self.tree.join("report.txt")).unwrap_or_default();
        let count = |word: &str| text.lines().filter(|&line| line == word).count();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let left: Vec<_> = lines
            .clone()
            .filter(|(way, _)| *way == "left")
            .map(|(_, pid)| Pid(pid.parse().expect("a pid")))
            .collect();
        // A process is left only where it outlives its call.
        let stays = |pid: &Pid| found(SOON / 20, || (!pid.runs()).then_some(())).is_none();
        let left: Vec<_> = left.into_iter().filter(stays).collect();
        let brings = |(way, brought): &(&str, &str)| match *way {
            "secret" => brought.contains(SECRET),
            "environ" => brought.contains(TOKEN),
            "listing" => brought.contains(".bashrc"),
            "left" => !left.is_empty(),
            _ => true,
        };
        let ways = lines.filter(brings).map(|(way, _)| way.to_owned()).collect();
        Report { began: count("begin"), ended: count("end"), ways, left }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let left = if std::thread::panicking() { Vec::new() } else { self.report().left };
        left.iter().for_each(|pid| pid.signal(nix::sys::signal::Signal::SIGKILL));
        for child in [&mut self.victim, &mut self.bus] {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// What the payload wrote.
#[derive(Debug)]
pub(super) struct Report {
    /// How often it began, and came to its end.
    pub(super) began: usize,
    pub(super) ended: usize,
    /// The ways out that it found.
    pub(super) ways: BTreeSet<String>,
    /// The processes that it left, and that still run.
    pub(super) left: Vec<Pid>,
}

/// A bus of the user's, as the session has one.
fn bus(site: &Site) -> Child {
    let path = site.home().join("run/bus");
    site.give();
    let address = format!("--address=unix:path={}", path.display());
    let words = ["dbus-daemon", "--session", "--nofork", "--nopidfile", &address];
    let child = site.command(&words).spawn().expect("setpriv is there");
    within(SOON, "the bus listens", || path.exists().then_some(()));
    child
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
