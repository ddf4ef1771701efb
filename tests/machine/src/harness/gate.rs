//! A gate of the test's own: one instance of the units, its rules, its state. Everything of it is gone with
//! the test, which fails where the records do not fit each other and the journal.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::drop_in::{self, Removed};
use super::journal::Journal;
use super::manager::{Manager, home};
use super::process::Pid;
use super::program::{Ended, run, sluice};
use super::running::Running;
use super::wait::{SOON, within};

/// `sluice@NAME.socket`, `sluice@NAME.service` and `NAME.rules`.
#[derive(Debug)]
pub(crate) struct Gate {
    manager: Manager,
    name: String,
    files: Vec<Removed>,
}

impl Gate {
    /// The user's gate with these rules, not enabled yet. Its name has a dash, which systemd escapes in
    /// slices.
    pub(crate) fn new(rules: &str) -> Self {
        Self::of(Manager::User, rules)
    }

    /// The same, of either manager.
    pub(crate) fn of(manager: Manager, rules: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!("it-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let files = drop_in::install(manager, &name);
        let gate = Self { manager, name, files };
        gate.write_rules(rules);
        gate
    }

    /// With these settings for its broker.
    pub(crate) fn service(self, text: &str) -> Self {
        self.with("service", &format!("[Service]\n{text}\n"))
    }

    /// With these settings for its socket.
    pub(crate) fn listening(self, text: &str) -> Self {
        self.with("socket", &format!("[Socket]\n{text}\n"))
    }

    fn with(mut self, kind: &str, text: &str) -> Self {
        let unit = format!("sluice@{}.{kind}", self.name);
        self.files.push(drop_in::write(self.manager, &unit, text));
        self
    }

    /// `systemctl enable --now` on its socket: all that a user does.
    #[track_caller]
    pub(crate) fn enable(self) -> Self {
        self.manager.systemctl(&["enable", "--now", &self.socket_unit()]).exited(0);
        self
    }

    /// Enabled, and its broker runs already.
    #[track_caller]
    pub(crate) fn start(self) -> Self {
        let gate = self.enable();
        gate.systemctl("start").exited(0);
        gate
    }

    /// One call with nothing on stdin, to its end.
    pub(crate) fn call<const N: usize>(&self, words: [&str; N]) -> Ended {
        run(self.call_words(&words))
    }

    /// A call that a test looks at while it runs.
    pub(crate) fn begin(&self, words: &[&str]) -> Running {
        Running::begin(&self.call_words(words))
    }

    /// The command line of a call, to be run in another way.
    pub(crate) fn call_words(&self, words: &[&str]) -> Vec<String> {
        let client = env::var("SLUICIFY_BIN").unwrap_or_else(|_| "sluicify".to_owned());
        let socket = self.socket().to_string_lossy().into_owned();
        [client, socket].into_iter().chain(words.iter().map(|&word| word.to_owned())).collect()
    }

    /// Runs `systemctl VERB` on its service.
    pub(crate) fn systemctl(&self, verb: &str) -> Ended {
        self.manager.systemctl(&[verb, &self.service_unit()])
    }

    /// Writes other rules, mode 0600 whatever the mask is, for the broker alone to read.
    pub(crate) fn write_rules(&self, rules: &str) {
        let path = self.rules_file();
        fs::create_dir_all(self.manager.rules()).expect("the rules' directory can be made");
        fs::write(&path, rules).expect("rules can be written");
        let mode = if self.manager == Manager::System { 0o644 } else { 0o600 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("an own file takes a mode");
    }

    /// One property of its service, as `systemctl show` prints it.
    pub(crate) fn property(&self, name: &str) -> String {
        let shown = self.manager.systemctl(&["show", "--value", "-p", name, &self.service_unit()]);
        shown.stdout().trim_end().to_owned()
    }

    /// Waits until a property of its service is this.
    #[track_caller]
    pub(crate) fn becomes(&self, name: &str, value: &str) {
        within(SOON, &format!("{name}={value}"), || (self.property(name) == value).then_some(()));
    }

    /// The broker, while it runs.
    #[track_caller]
    pub(crate) fn broker(&self) -> Pid {
        let pid = self.property("MainPID").parse().expect("systemd counts processes");
        assert_ne!(pid, 0, "no broker runs: {}", self.systemctl("status"));
        Pid(pid)
    }

    /// Its entries in the journal, from the first on.
    pub(crate) fn journal(&self) -> Journal {
        Journal::of(self.manager, &self.service_unit())
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.manager.runtime().join("sluice").join(&self.name).join("sock")
    }

    /// The other name of its socket.
    pub(crate) fn link(&self) -> PathBuf {
        self.manager.runtime().join("sluice").join(format!("{}.sock", self.name))
    }

    /// Its rules.
    pub(crate) fn rules_file(&self) -> PathBuf {
        self.manager.rules().join(format!("{}.rules", self.name))
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its records of this kind, from its first day on.
    pub(crate) fn records(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.manifest()).expect("there is a manifest");
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record is JSON"));
        records.filter(|record| record["kind"] == kind).collect()
    }

    /// Where they are.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.state().join("manifest.jsonl")
    }

    /// What `sluice verify` says of all its files; `None` where there is none.
    fn verify(&self) -> Option<Ended> {
        let entries = fs::read_dir(self.state()).ok()?.flatten();
        let mut files: Vec<_> =
            entries.filter_map(|entry| entry.path().to_str().map(str::to_owned)).collect();
        // Hidden ones are the broker's own.
        files.retain(|path| path.contains("/manifest."));
        (!files.is_empty()).then(|| {
            let words: Vec<_> = ["verify"].into_iter().chain(files.iter().map(String::as_str)).collect();
            sluice(&words)
        })
    }

    /// The unit that listens.
    pub(crate) fn socket_unit(&self) -> String {
        format!("sluice@{}.socket", self.name)
    }

    /// The unit that answers.
    pub(crate) fn service_unit(&self) -> String {
        format!("sluice@{}.service", self.name)
    }

    /// Where the broker keeps its records, for lack of another word in the rules.
    fn state(&self) -> PathBuf {
        let home = if self.manager == Manager::System { "/var/lib/sluice".into() } else { home() };
        home.join(".local/state/sluice").join(&self.name)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let unit = self.service_unit();
            let said =
                run(["journalctl", self.manager.option(), "--no-pager", "--lines=40", "--unit", &unit]);
            eprintln!("{}\n{said}", self.systemctl("status"));
        }
        let (socket, service) = (self.socket_unit(), self.service_unit());
        self.manager.systemctl(&["disable", "--now", &socket]);
        // An empty slice would stay.
        let slice = format!("sluice-{}.slice", self.name.replace('-', r"\x2d"));
        self.manager.systemctl(&["stop", &service, &slice]);
        self.manager.systemctl(&["reset-failed", &service, &socket]);
        self.files.clear();
        self.manager.systemctl(&["daemon-reload"]);
        let verified = self.verify();
        for dir in [self.state(), self.manager.runtime().join("sluice").join(&self.name)] {
            // A gate that never got so far has none.
            fs::remove_dir_all(dir).ok();
        }
        fs::remove_file(self.rules_file()).ok();
        if let Some(verified) = verified.filter(|_| !std::thread::panicking()) {
            verified.exited(0);
        }
    }
}
