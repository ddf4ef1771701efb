//! A broker of the installed units that its first caller starts, with rules and a manifest of its own.
//! Stopped, and its files removed, when this is dropped.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::caller::{Caller, ask_listing};
use crate::calls::REST;
use crate::history;

/// The rule that is called; the last one.
const COMMAND: &str = "/bin/true";
/// What the least program gets in the place of the broker's command. It says nothing to the manager.
const LEAST: &str = "[Service]\nType=simple\nExecStart=\nExecStart=";

/// One instance of `sluice@.socket` and `sluice@.service`.
#[derive(Debug)]
pub(super) struct Gate {
    name: String,
    /// What is written for it, and removed.
    files: Vec<PathBuf>,
    state: PathBuf,
    socket: PathBuf,
}

/// What its caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Listing,
    Call,
}

impl Gate {
    /// Whether there are units to start it by.
    pub(super) fn can_be() -> io::Result<bool> {
        Ok(systemctl(&["cat", "sluice@.socket", "sluice@.service"])?.success())
    }

    /// A broker with this many rules. Only its socket is there yet.
    pub(super) fn new(kind: &str, rules: usize) -> io::Result<Self> {
        let mut text = String::new();
        for number in 1..rules {
            writeln!(text, "/opt/bin/p{number} run #n\n  n = [0-9]{{1,3}}\n").map_err(io::Error::other)?;
        }
        let mut gate = Self::named(kind)?;
        let rules = in_home(".config/sluice")?.join(format!("{}.rules", gate.name));
        gate.write(rules, &format!("{text}{COMMAND}\n"))?;
        gate.listen()
    }

    /// The same unit with this program instead of the broker.
    pub(super) fn least(program: &Path) -> io::Result<Self> {
        let mut gate = Self::named("least")?;
        let unit = format!("systemd/user/sluice@{}.service.d/least.conf", gate.name);
        gate.write(runtime()?.join(unit), &format!("{LEAST}{}\n", program.display()))?;
        ended_well(&["daemon-reload"])?;
        gate.listen()
    }

    fn named(kind: &str) -> io::Result<Self> {
        let name = format!("bench{}{kind}", process::id());
        let state = in_home(".local/state/sluice")?.join(&name);
        let socket = runtime()?.join("sluice").join(&name).join("sock");
        Ok(Self { name, files: Vec::new(), state, socket })
    }

    fn write(&mut self, path: PathBuf, text: &str) -> io::Result<()> {
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        self.files.push(path);
        io::Write::write_all(&mut file, text.as_bytes())
    }

    fn listen(self) -> io::Result<Self> {
        ended_well(&["start", &self.unit("socket")])?;
        Ok(self)
    }

    /// Gives it a manifest of this many records, as of a broker that was killed.
    pub(super) fn write_history(&self, records: u64) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.state)?;
        history::write_history(&self.state.join("manifest.jsonl"), records)
    }

    /// Has its manifest read as a whole by the next start.
    pub(super) fn remove_mark(&self) -> io::Result<()> {
        fs::remove_file(self.state.join(".manifest.jsonl.mark"))
    }

    /// From the connection of the first caller to its answer, in ms.
    pub(super) fn start(&self, asked: Asked) -> io::Result<f64> {
        self.stop()?;
        thread::sleep(REST);
        let caller = Caller::new(&self.socket, &[COMMAND])?;
        let begun = Instant::now();
        let status = match asked {
            Asked::Listing => ask_listing(&self.socket).map(|()| 0),
            Asked::Call => caller.call(),
        };
        let taken = begun.elapsed().as_secs_f64() * 1e3;
        match status {
            Ok(0) => Ok(taken),
            Ok(status) => Err(io::Error::other(format!("{}: status {status}", self.name))),
            Err(error) => Err(io::Error::other(format!("{}: {error}", self.name))),
        }
    }

    /// Ends its broker; the socket stays. So often as this happens, the manager would take it for a loop.
    pub(super) fn stop(&self) -> io::Result<()> {
        ended_well(&["stop", &self.unit("service")])?;
        ended_well(&["reset-failed", &self.unit("service"), &self.unit("socket")])
    }

    fn unit(&self, kind: &str) -> String {
        format!("sluice@{}.{kind}", self.name)
    }

    fn remove(&self) -> io::Result<()> {
        ended_well(&["stop", &self.unit("socket"), &self.unit("service")])?;
        self.files.iter().try_for_each(fs::remove_file)?;
        if self.state.exists() { fs::remove_dir_all(&self.state) } else { Ok(()) }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("bench: {}: {error}", self.name);
        }
    }
}

fn in_home(path: &str) -> io::Result<PathBuf> {
    env::home_dir().map(|home| home.join(path)).ok_or_else(|| io::Error::other("no home directory"))
}

fn runtime() -> io::Result<PathBuf> {
    env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).ok_or_else(|| io::Error::other("no XDG_RUNTIME_DIR"))
}

fn systemctl(words: &[&str]) -> io::Result<process::ExitStatus> {
    let mut command = Command::new("systemctl");
    command.arg("--user").arg("--quiet").args(words).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).status()
}

fn ended_well(words: &[&str]) -> io::Result<()> {
    match systemctl(words)? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("systemctl --user {}: {status}", words.join(" ")))),
    }
}
