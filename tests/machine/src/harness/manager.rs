//! The two managers, and where each looks.

use std::env;
use std::path::PathBuf;

use super::program::{Ended, run};

/// Which systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// The manager of the user that the tests run as.
    User,
    /// The machine's.
    System,
}

impl Manager {
    /// Runs `systemctl`, to its end.
    pub(crate) fn systemctl(self, words: &[&str]) -> Ended {
        run(["systemctl", self.option(), "--no-pager", "--full"].iter().chain(words))
    }

    /// The option that names it to systemd's own programs.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::User => "--user",
            Self::System => "--system",
        }
    }

    /// `%t`: where sockets are.
    pub(crate) fn runtime(self) -> PathBuf {
        match self {
            Self::User => env::var_os("XDG_RUNTIME_DIR").expect("a user manager has a directory").into(),
            Self::System => "/run".into(),
        }
    }

    /// `%E/sluice`: where rules are.
    pub(crate) fn rules(self) -> PathBuf {
        match self {
            Self::User => home().join(".config/sluice"),
            Self::System => "/etc/sluice".into(),
        }
    }

    /// Where unit files that are gone with the next boot are.
    pub(crate) fn units(self) -> PathBuf {
        self.runtime().join(match self {
            Self::User => "systemd/user",
            Self::System => "systemd/system",
        })
    }
}

/// Which systemd runs here: the number that its version begins with.
pub(crate) fn release() -> u32 {
    let said = run(["systemctl", "--version"]).stdout();
    said.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("systemd says its release first")
}

/// The home of the user that the tests run as.
pub(crate) fn home() -> PathBuf {
    env::var_os("HOME").expect("a user has a home").into()
}
