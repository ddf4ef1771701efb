//! A home of an ordinary user's, with a project in it that an attacker writes. It does not lie where
//! temporary files do: a confined command has directories of its own there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Broker, Ended, TempDir, is_root, needs, run, skip};

/// The user of the tests that run as root: `bin` or `daemon`, who runs nothing else, and has an entry in
/// passwd(5), which a bus and other tools want.
const USER: u32 = 2;

/// Where programs are, the toolchains of the home first.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A home, and the project in it.
#[derive(Debug)]
pub(super) struct Site {
    home: TempDir,
}

impl Site {
    /// An empty project in a home that has nothing else.
    pub(super) fn new() -> Self {
        let site = Self { home: TempDir::lasting() };
        for (dir, mode) in [
            ("agent", 0o755),
            ("agent/project", 0o755),
            ("agent/cache", 0o755),
            ("run", 0o700),
            (".ssh", 0o700),
        ] {
            site.home.mkdir(dir, mode);
        }
        site.give();
        site
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The project's directory: the attacker's.
    pub(super) fn tree(&self) -> PathBuf {
        self.home.join("agent/project")
    }

    /// The broker's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.home.join("run/broker.sock")
    }

    /// A file of the user's, below the home.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.write(name, text);
        give(&path);
        path
    }

    /// Has everything in the home belong to the user.
    pub(super) fn give(&self) {
        give(self.home.path());
    }

    /// A program that the user starts in the project, with nothing of the tests' environment.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let prefix = prefix(self.home.path());
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).args(words).current_dir(self.tree());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs a script as the user, in the project, to a good end.
    #[track_caller]
    pub(super) fn sh(&self, script: &str) -> Ended {
        let payload = self.tree().join("payload.py");
        let script = format!(
            "cd {}; export PAYLOAD='/usr/bin/python3 {}'; {script}",
            self.tree().display(),
            payload.display()
        );
        let mut words = prefix(self.home.path());
        words.extend(["sh".into(), "-euc".into(), script]);
        run((&words[0]).into(), &words[1..], b"").exited(0)
    }

    /// A broker of the user's with these rules.
    #[track_caller]
    pub(super) fn serve(&self, rules: &str) -> Broker {
        let socket = self.socket();
        let home = self.home.path().to_string_lossy();
        let run = self.home.join("run");
        let setup = Broker::new(rules).env("HOME", &home).env("XDG_RUNTIME_DIR", &run.to_string_lossy());
        let setup = setup.socket_at(&socket.to_string_lossy()).arranged(|dir| give(dir.path()));
        self.give();
        let mut under = setpriv();
        if !under.is_empty() {
            // So that the program is found where only root may look; the broker lets go of it.
            under.extend(
                ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"].map(str::to_owned),
            );
        }
        setup.under(&under.iter().map(String::as_str).collect::<Vec<_>>()).start()
    }
}

/// Whether commands can be confined here, and attacked. Else the test is skipped.
#[track_caller]
pub(super) fn needs_confinement() -> bool {
    let mut words = setpriv();
    words.extend(["unshare", "--user", "--mount", "true"].map(str::to_owned));
    let works = run((&words[0]).into(), &words[1..], b"").code() == Some(0);
    if !works {
        skip("no user namespaces: sudo sysctl kernel.unprivileged_userns_clone=1");
    }
    works && needs("python3", "python3") && needs("dbus-daemon", "dbus-daemon")
}

/// What the home has for a tool.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tools {
    /// Nothing: the tool is the system's.
    System,
    /// rustup's programs, and the toolchain of these tests.
    Cargo,
}

impl Tools {
    /// Puts it there. The toolchain is mounted, which root may do in a namespace of the test's own.
    pub(super) fn install(self, site: &Site) {
        let Self::Cargo = self else { return };
        let cargo = PathBuf::from(std::env::var_os("CARGO").expect("cargo runs the tests"));
        let sysroot = cargo.parent().and_then(Path::parent).expect("a toolchain has a `bin`").to_owned();
        let bin = site.home.join(".cargo/bin");
        let toolchain = site.home.join(".rustup/toolchains/it");
        fs::create_dir_all(&bin).expect("an own directory");
        fs::create_dir_all(&toolchain).expect("an own directory");
        site.home.write(".rustup/settings.toml", "version = \"12\"\ndefault_toolchain = \"it\"\n");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let rustup = std::env::split_paths(&path).map(|dir| dir.join("rustup")).find(|path| path.is_file());
        fs::copy(rustup.expect("rustup is on the PATH"), bin.join("rustup")).expect("an own directory");
        for name in ["cargo", "rustc", "rustdoc"] {
            std::os::unix::fs::symlink("rustup", bin.join(name)).expect("an own directory");
        }
        site.give();
        let [from, to] = [&sysroot, &toolchain].map(|path| path.as_os_str());
        run("mount".into(), ["--bind".as_ref(), from, to], b"").exited(0);
        run("mount".into(), ["-o".as_ref(), "remount,bind,ro".as_ref(), to], b"").exited(0);
    }
}

/// What makes a program the user's, if the tests are not.
fn setpriv() -> Vec<String> {
    if !is_root() {
        return Vec::new();
    }
    let ids = [format!("--reuid={USER}"), format!("--regid={USER}")];
    ["setpriv".to_owned()].into_iter().chain(ids).chain(["--clear-groups".to_owned()]).collect()
}

/// The words before those of a program that the user starts.
fn prefix(home: &Path) -> Vec<String> {
    let variables = [
        format!("HOME={}", home.display()),
        format!("PATH={}/.cargo/bin:{PATH}", home.display()),
        "LANG=C.UTF-8".to_owned(),
        // Commits are the same in each run.
        "GIT_AUTHOR_DATE=2026-01-01T00:00:00Z".to_owned(),
        "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z".to_owned(),
    ];
    setpriv().into_iter().chain(["env".to_owned(), "-i".to_owned()]).chain(variables).collect()
}

/// Gives a path, and all below it, to the user.
pub(super) fn give(path: &Path) {
    // A toolchain that is mounted is not the home's own.
    if !is_root() || path.ends_with(".rustup/toolchains/it") {
        return;
    }
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).expect("root may give files away");
    if path.symlink_metadata().is_ok_and(|of| of.is_dir()) {
        fs::read_dir(path).expect("it can be read").flatten().for_each(|entry| give(&entry.path()));
    }
}
