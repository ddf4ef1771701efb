//! A broker of the test's own, with two rules: this program makes attempts, confined as the profile says, and
//! not. So an attempt is a call like any other.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

use crate::client::{CallFailure, call};
use crate::rules::{
    ConfinedPath, Confinement, NetAccess, OnMissing, ProcessLimit, SyscallSet, TmpAccess, UnixAccess,
};
use crate::text::quoted;

/// The words of an attempt's command line before the values, confined and not.
const CONFINED: [&str; 2] = ["selftest", "--attempt"];
const UNCONFINED: [&str; 2] = ["selftest", "--control"];

/// What a broker says on stderr once it serves.
const READY: &str = "sluice: ready";

/// A running broker.
pub(super) struct PrivateBroker {
    process: Child,
    /// Read to its end when the broker stops, so that its notices have a place.
    said: BufReader<ChildStderr>,
    socket: PathBuf,
    manifest: PathBuf,
    program: PathBuf,
}

impl PrivateBroker {
    /// Starts a broker in a directory, whose calls work in `workspace`.
    pub(super) fn start(directory: &Path, workspace: &Path, by: &Confinement) -> io::Result<Self> {
        let program = fs::canonicalize("/proc/self/exe")?;
        let [rules, socket, manifest] =
            ["selftest.rules", "selftest.sock", "manifest.jsonl"].map(|name| directory.join(name));
        fs::remove_file(&manifest).ok();
        fs::write(&rules, rules_text(&program, &manifest, workspace, by))?;
        let mut broker = Command::new(&program);
        broker.arg("serve").arg("--rules").arg(&rules).arg("--socket").arg(&socket);
        if geteuid().is_root() {
            broker.arg("--allow-root");
        }
        for inherited in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC"] {
            broker.env_remove(inherited);
        }
        broker.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = broker.spawn()?;
        let said = process.stderr.take().map(BufReader::new).expect("stderr is a pipe");
        let mut broker = Self { process, said, socket, manifest, program };
        broker.await_ready()?;
        Ok(broker)
    }

    fn await_ready(&mut self) -> io::Result<()> {
        let mut lines = String::new();
        while !lines.contains(READY) {
            if self.said.read_line(&mut lines)? == 0 {
                return Err(io::Error::other(lines.trim_end().to_owned()));
            }
        }
        Ok(())
    }

    /// Has the broker make an attempt, confined. Its exit code.
    pub(super) fn attempt(&self, values: [&str; 2]) -> Result<u8, CallFailure> {
        self.call(CONFINED, values)
    }

    /// Has the broker make an attempt that nothing confines.
    pub(super) fn control(&self, values: [&str; 2]) -> Result<u8, CallFailure> {
        self.call(UNCONFINED, values)
    }

    fn call(&self, words: [&str; 2], values: [&str; 2]) -> Result<u8, CallFailure> {
        let first = [self.program.as_os_str()].into_iter().map(OsString::from);
        let words = first.chain(words.into_iter().chain(values).map(OsString::from));
        call(&self.socket, &words.collect::<Vec<_>>(), &mut || {})
    }

    /// A field of the last record that has it: `confinement` of a start, `detail` of a refusal.
    pub(super) fn recorded(&self, field: &str) -> Option<Value> {
        let text = fs::read_to_string(&self.manifest).ok()?;
        let records = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.filter_map(|mut record| record.get_mut(field).map(Value::take)).next()
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.process.id().cast_signed());
        kill(pid, Signal::SIGTERM).ok();
        io::copy(&mut self.said, &mut io::sink()).ok();
        self.process.wait().ok();
    }
}

/// The rules of such a broker. The confinement stands there key by key: its profile may be in other files.
fn rules_text(program: &Path, manifest: &Path, workspace: &Path, by: &Confinement) -> String {
    let path = |path: &Path| quoted(&path.to_string_lossy()).into_owned();
    let mut exec = by.exec.clone();
    if let Some(places) = &mut exec {
        places.push(ConfinedPath { path: program.to_owned(), optional: false });
    }
    let mut text = format!("defaults:\n  logfile = {}\n  journal = off\n  timeout = 10s\n\n", path(manifest));
    for words in [UNCONFINED, CONFINED] {
        let rule = format!("{} {} #attempt #targets", path(program), words.join(" "));
        let cwd = path(workspace);
        text.push_str(&format!("{rule}\n  allow_any = attempt, targets\n  cwd = {cwd}\n"));
    }
    let mut key = |name: &str, value: &str| text.push_str(&format!("  {name} = {value}\n"));
    for (name, list) in [("read", &by.read), ("write", &by.write), ("exec", &exec)] {
        if let Some(places) = list {
            key(name, &places_text(places));
        }
    }
    for (name, places) in [("hide", &by.hide), ("protect", &by.protect)] {
        if !places.is_empty() {
            key(name, &places_text(places));
        }
    }
    key("net", &net_text(&by.net));
    key("unix", &unix_text(&by.unix));
    key(
        "syscalls",
        match by.syscalls {
            SyscallSet::Default => "default",
            SyscallSet::Strict => "strict",
            SyscallSet::Any => "any",
        },
    );
    key("tmp", if by.tmp == TmpAccess::Private { "private" } else { "shared" });
    key("on_missing", if by.on_missing == OnMissing::Degrade { "degrade" } else { "refuse" });
    for (limit, most) in &by.limits {
        key(limit_name(*limit), &most.to_string());
    }
    text
}

fn places_text(places: &[ConfinedPath]) -> String {
    if places.is_empty() {
        return "none".to_owned();
    }
    let word = |place: &ConfinedPath| {
        let path = place.path.to_string_lossy();
        format!("{}{}", if place.optional { "-" } else { "" }, quoted(&path))
    };
    places.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn net_text(net: &NetAccess) -> String {
    match net {
        NetAccess::None => "none".to_owned(),
        NetAccess::Any => "any".to_owned(),
        NetAccess::Tcp(ports) => {
            let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
            format!("tcp:{}", ports.join(","))
        }
    }
}

fn unix_text(unix: &UnixAccess) -> String {
    match unix {
        UnixAccess::None => "none".to_owned(),
        UnixAccess::Any => "any".to_owned(),
        UnixAccess::Paths(places) => places_text(places),
    }
}

fn limit_name(limit: ProcessLimit) -> &'static str {
    match limit {
        ProcessLimit::Nofile => "nofile",
        ProcessLimit::Core => "core",
        ProcessLimit::Nproc => "nproc",
        ProcessLimit::Fsize => "fsize",
    }
}

#[cfg(test)]
mod tests {
    use crate::broker::{Disk, inspect};
    use crate::ids::ClaimedWord;
    use crate::spawn::Environment;

    use super::super::named_profile::confinement_of;
    use super::*;

    /// The confinement of the rule in a private broker's rules.
    fn written(by: &Confinement, directory: &Path) -> Confinement {
        let text = rules_text(Path::new("/bin/true"), &directory.join("manifest.jsonl"), directory, by);
        let inspected = inspect(&directory.join("x.rules"), Some(Ok(text)), &Environment::current());
        let policy = inspected.policy.expect("rules that load");
        let words = ["/bin/true"].into_iter().chain(CONFINED).chain(["name", "{}"]);
        let words: Vec<_> = words.filter_map(ClaimedWord::new).collect();
        let matched = policy.decide(&words, &Disk).expect("the rule");
        matched.rule.settings.confinement.as_deref().cloned().expect("a confinement")
    }

    #[test]
    fn a_profile_written_key_by_key_confines_as_the_profile_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let rules = directory.path().join("own.rules");
        let own = "profile own:\n  extends = build\n  net = tcp:443,22\n  unix = '/run/a b' -/run/c\n  \
                   syscalls = strict\n  on_missing = degrade\n  nofile = 64\n  fsize = 1M\n\n/bin/true\n";
        fs::write(&rules, own).expect("a file");
        for (profile, word) in [
            ("system", None),
            ("workspace", None),
            ("build", None),
            ("git", None),
            ("own", Some(rules.as_os_str())),
        ] {
            let by = confinement_of(profile, word, directory.path()).expect("a confinement");
            let mut written = written(&by, directory.path());
            let exec = written.exec.as_mut().expect("a list");
            assert_eq!(exec.pop().map(|place| place.path), Some("/bin/true".into()));
            written.profile = by.profile.clone();
            assert_eq!(written, by, "{profile}");
        }
    }
}
