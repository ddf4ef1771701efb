//! A broker of a test's own, in a directory of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use tempfile::TempDir;

/// The deadline of whatever a test waits for.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The rules of most tests.
pub(crate) const RULES: &str = "
; Runs a script.
/bin/sh -c #script
  allow_any = script

; Prints a number.
; It has one or two digits.
/bin/echo -n #number
  number = [1-9][0-9]?

/bin/cat

/bin/cat #files...
  files = in @DIR@/files
";

/// A broker with its rules, its socket and its manifest.
pub(crate) struct Gate {
    directory: TempDir,
    broker: Option<Child>,
}

impl Gate {
    /// A running broker with these rules, in which `@DIR@` is its directory.
    pub(crate) fn start(rules: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("files")).expect("a directory in it");
        let mut gate = Self { directory, broker: None };
        gate.write_rules(rules);
        gate.serve();
        gate
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("sock")
    }

    pub(crate) fn write_rules(&self, rules: &str) {
        let defaults = format!("defaults:\n  scope = off\n  logfile = {}\n", self.path("log").display());
        let rules = rules.replace("@DIR@", &self.directory.path().to_string_lossy());
        fs::write(self.path("test.rules"), defaults + &rules).expect("rules can be written");
    }

    /// Has the broker read its rules again.
    pub(crate) fn reload(&self) {
        kill(self.pid(), Signal::SIGHUP).expect("it runs");
    }

    /// Starts the broker, and waits until it says that it is ready.
    pub(crate) fn serve(&mut self) {
        let mut command = Command::new(sluice());
        command.args(["serve", "--rules"]).arg(self.path("test.rules")).arg("--socket").arg(self.socket());
        if geteuid().is_root() {
            command.arg("--allow-root");
        }
        let mut broker = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stderr = BufReader::new(broker.stderr.take().expect("a pipe"));
        let mut said = String::new();
        while !said.contains("sluice: ready") {
            assert!(
                stderr.read_line(&mut said).expect("a pipe is read") > 0,
                "the broker did not start: {said}"
            );
        }
        thread::spawn(move || stderr.lines().for_each(drop));
        self.broker = Some(broker);
    }

    /// Stops the broker, and waits for its end.
    pub(crate) fn stop(&mut self) {
        kill(self.pid(), Signal::SIGTERM).expect("it runs");
        self.broker.take().expect("it runs").wait().expect("it is a child");
    }

    fn pid(&self) -> Pid {
        let broker = self.broker.as_ref().expect("it runs");
        Pid::from_raw(i32::try_from(broker.id()).expect("a pid"))
    }

    /// The records of a kind.
    pub(crate) fn records(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.filter(|record| record["kind"] == kind).collect()
    }

    /// The pid in a file that a script writes, once it is there.
    pub(crate) fn pid_in(&self, name: &str) -> i32 {
        let path = self.path(name);
        found("a pid", || fs::read_to_string(&path).ok()?.trim().parse().ok())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            broker.kill().ok();
            broker.wait().ok();
        }
    }
}

/// The result of a look, once there is one.
pub(crate) fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(result) = look() {
            return result;
        }
        assert!(Instant::now() < deadline, "no {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a process is gone.
pub(crate) fn gone(pid: i32) {
    found("end of the command", || (!Path::new("/proc").join(pid.to_string()).exists()).then_some(()));
}

/// The program under test.
pub(crate) fn sluice_mcp() -> PathBuf {
    env!("CARGO_BIN_EXE_sluice-mcp").into()
}

/// The broker: the one that `SLUICE_BIN` names, or one that is built now.
pub(crate) fn sluice() -> &'static Path {
    static SLUICE: OnceLock<PathBuf> = OnceLock::new();
    SLUICE.get_or_init(|| std::env::var_os("SLUICE_BIN").map_or_else(build_sluice, PathBuf::from))
}

fn build_sluice() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--message-format=json", "--bin", "sluice", "--manifest-path"]);
    let built = command.arg(manifest).stderr(Stdio::inherit()).output().expect("cargo runs");
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    programs.find(|program| program.ends_with("sluice")).expect("the broker is built")
}

/// Notes that the running test does not run, and why. With `CI=true` it fails instead.
pub(crate) fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot run: {reason}");
    if let Some(path) = std::env::var_os("SLUICE_SKIPS") {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        let line = format!("mcp::{test}: {reason}\n");
        file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
            .expect("it can be written");
    }
}
