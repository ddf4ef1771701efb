//! A broker before it runs: its rules, its environment, how it is started. Everything lies in one directory
//! of its own, which rules and arguments may name as `@DIR@`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::broker::{Broker, Process};
use super::connection::Connection;
use super::dir::{TempDir, chmod};
use super::program::{serve_words, sluice_bin};
use super::stderr::Stderr;
use super::wait::{SOON, within};

/// What a broker will be started with.
#[derive(Debug)]
pub(crate) struct Setup {
    dir: TempDir,
    rules: String,
    env: Vec<(String, String)>,
    under: Vec<String>,
    names: Vec<String>,
    bound: String,
    rules_dir: bool,
}

/// What a broker that did not start left behind.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What it exited with, if it exited.
    pub(crate) code: Option<i32>,
    /// What it said.
    pub(crate) stderr: String,
}

impl Setup {
    /// These rules, without the indentation that all lines share; a `logfile` is added where there is none.
    pub(crate) fn new(rules: &str) -> Self {
        raise_open_files();
        let dir = TempDir::new();
        dir.mkdir("audit", 0o700);
        let (env, under, names) = (Vec::new(), Vec::new(), Vec::new());
        let mut setup = Self {
            dir,
            rules: String::new(),
            env,
            under,
            names,
            bound: "s.sock".to_owned(),
            rules_dir: false,
        };
        setup.rewrite(rules);
        setup
    }

    /// A variable of the broker's environment, which has `PATH`, `HOME` and `LANG` otherwise.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the broker through this program, which must become it.
    pub(crate) fn under(mut self, words: &[&str]) -> Self {
        let words: Vec<_> = words.iter().map(|&word| self.expand(word)).collect();
        self.under.extend(words);
        self
    }

    /// Starts the broker as `nohup` and a shell's `&` do: signals ignored, one blocked.
    pub(crate) fn signals_ignored(self) -> Self {
        self.under(&["env", "--ignore-signal=INT,QUIT,HUP,USR1,PIPE", "--block-signal=USR2,CHLD"])
    }

    /// Has systemd's own activator hold a socket of each of these names.
    pub(crate) fn activated(mut self, names: &[&str]) -> Self {
        self.names = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Has the broker look for the rules of each name in the directory.
    pub(crate) fn by_name(mut self) -> Self {
        self.rules_dir = true;
        self
    }

    /// Has the broker bind its socket at this place in the directory.
    pub(crate) fn socket_at(mut self, place: &str) -> Self {
        place.clone_into(&mut self.bound);
        self
    }

    /// A further file beside the rules, mode 0600.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.dir.write(name, self.expand(&dedent(text)));
        self
    }

    /// A program beside the rules, mode 0755.
    pub(crate) fn program(self, name: &str, text: &str) -> Self {
        self.dir.program(name, &self.expand(&dedent(text)));
        self
    }

    /// Lets a test arrange the directory.
    pub(crate) fn arranged(self, arrange: impl FnOnce(&TempDir)) -> Self {
        arrange(&self.dir);
        self
    }

    /// Sets the mode of a file in the directory.
    pub(crate) fn mode(self, name: &str, mode: u32) -> Self {
        chmod(&self.dir.join(name), mode);
        self
    }

    /// Starts the broker, and waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Broker {
        let mut broker = Broker::stopped(self);
        broker.start_again();
        broker
    }

    /// Starts the broker, and waits until it says that it has no rules to serve.
    #[track_caller]
    pub(crate) fn start_unserved(self) -> Broker {
        let mut broker = Broker::stopped(self);
        broker.start_until("sluice: no rules are in force");
        broker
    }

    /// Starts a broker that must not become ready.
    #[track_caller]
    pub(crate) fn start_fails(self) -> Failed {
        self.start_fails_here().0
    }

    /// The same, with what it was started with, for a look at its directory.
    #[track_caller]
    pub(crate) fn start_fails_here(self) -> (Failed, Self) {
        let mut process = self.spawn();
        self.knock(&process.stderr);
        let ready = process.stderr.line_with("sluice: ready", 0, SOON);
        if let Some(ready) = ready {
            process.child.kill().expect("a child of ours can be killed");
            process.child.wait().expect("a child can be waited for");
            panic!("the broker started: {ready}\nrules:\n{}", self.rules);
        }
        let code = process.exit_code();
        (Failed { code, stderr: process.stderr.whole(SOON) }, self)
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &TempDir {
        &self.dir
    }

    /// The rules as they stand in the file.
    pub(crate) fn text(&self) -> &str {
        &self.rules
    }

    /// The rules file.
    pub(crate) fn rules_path(&self) -> PathBuf {
        self.dir.join("it.rules")
    }

    /// The socket: the one that the broker binds, or the activator's first.
    pub(crate) fn socket(&self) -> PathBuf {
        self.names.first().map_or_else(|| self.dir.join(&self.bound), |name| self.socket_of(name))
    }

    /// The activator's socket of this name.
    pub(crate) fn socket_of(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.sock"))
    }

    /// Writes other rules to the same file.
    pub(crate) fn rewrite(&mut self, rules: &str) {
        self.rules = with_logfile(&self.expand(&dedent(rules)), self.dir.path());
        self.dir.write("it.rules", &self.rules);
    }

    /// Starts the program and follows its stderr.
    pub(crate) fn spawn(&self) -> Process {
        let words = self.words();
        let (program, args) = words.split_first().expect("there is a program");
        let mut command = Command::new(program);
        command.args(args).env_clear().current_dir(self.dir.path());
        command
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.dir.path())
            .env("LANG", "C.UTF-8");
        command.envs(self.env.iter().map(|(name, value)| (name, self.expand(value))));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Process::new(command.spawn().expect("the broker's program can be started"))
    }

    /// An activator becomes the broker at the first connection.
    #[track_caller]
    pub(super) fn knock(&self, stderr: &Stderr) {
        let Some(name) = self.names.first() else { return };
        within(SOON, "systemd-socket-activate listens", || {
            (stderr.text().matches("Listening on").count() == self.names.len()).then_some(())
        });
        drop(Connection::open(&self.socket_of(name)).expect("the activator listens"));
    }

    fn words(&self) -> Vec<String> {
        let mut words = self.under.clone();
        if !self.names.is_empty() {
            words.extend(["systemd-socket-activate".to_owned(), "--seqpacket".to_owned()]);
            words.push(format!("--fdname={}", self.names.join(":")));
            words
                .extend(self.names.iter().map(|name| format!("--listen={}", self.socket_of(name).display())));
        }
        let (option, path) = if self.rules_dir {
            ("--rules-dir", self.dir.path().to_owned())
        } else {
            ("--rules", self.rules_path())
        };
        words.push(text(&sluice_bin()));
        words.extend(serve_words().iter().map(|&word| word.to_owned()));
        words.extend([option.to_owned(), text(&path)]);
        if self.names.is_empty() {
            words.extend(["--socket".to_owned(), text(&self.socket())]);
        }
        words
    }

    fn expand(&self, text: &str) -> String {
        text.replace("@DIR@", &self.dir.path().to_string_lossy())
    }
}

impl Failed {
    /// It exited with 2, after saying all of this.
    #[track_caller]
    pub(crate) fn said(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(2), "a broker that cannot start exits 2; it said:\n{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "nothing of {part:?} in:\n{}", self.stderr);
        }
    }
}

/// A thousand callers at once need more descriptors than a login shell is given.
fn raise_open_files() {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has limits");
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 16), hard)
            .expect("a soft limit may rise to the hard one");
    });
}

/// The text without the indentation that all its lines share, and without the line break it opens with.
pub(crate) fn dedent(text: &str) -> String {
    let text = text.strip_prefix('\n').unwrap_or(text).trim_end_matches(' ');
    let filled = text.lines().filter(|line| !line.trim().is_empty());
    let margin = filled.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    text.split('\n').map(|line| line.get(margin..).unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn with_logfile(rules: &str, dir: &Path) -> String {
    let logfile = format!("defaults:\n  logfile = {}/audit/manifest.jsonl\n", dir.display());
    if rules.contains("logfile") {
        return rules.to_owned();
    }
    match rules.strip_prefix("defaults:\n") {
        Some(rest) => logfile + rest,
        None => logfile + "\n" + rules,
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a test's path is UTF-8").to_owned()
}
