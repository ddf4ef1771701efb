//! A terminal of a test's own, with a shell in it that a test types into.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::pty::openpty;
use nix::unistd::ttyname;

use super::wait::{SOON, found};

/// A shell on a terminal, and what the terminal shows.
#[derive(Debug)]
pub(crate) struct Terminal {
    shell: Child,
    keys: File,
    name: String,
    shown: Arc<Mutex<String>>,
    /// Bytes of what was shown that a wait has gone past.
    seen: usize,
}

impl Terminal {
    /// An interactive bash, with job control, that prints no prompt; the terminal does not echo.
    pub(crate) fn open() -> Self {
        let pty = openpty(None, None).expect("a terminal");
        let name = ttyname(&pty.slave).expect("it has a name").to_string_lossy().into_owned();
        let mut shell = Command::new("setsid");
        shell
            .args(["--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"])
            .env("PS1", "")
            .env("TERM", "xterm");
        let end = || Stdio::from(pty.slave.try_clone().expect("a copy"));
        shell.stdin(end()).stdout(end()).stderr(end());
        let shell = shell.spawn().expect("util-linux and bash are installed");
        let keys = File::from(pty.master);
        let shown = follow(keys.try_clone().expect("a copy").into());
        let mut terminal = Self { shell, keys, name, shown, seen: 0 };
        terminal.types("stty -echo; echo rea''dy\n");
        terminal.shows("ready");
        terminal
    }

    /// Types keys.
    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until the terminal shows this text, after what was waited for before.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) {
        let look = || {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.get(self.seen..).and_then(|rest| rest.find(text)).map(|at| self.seen + at + text.len())
        };
        let at = found(SOON, look);
        let shown = || self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.seen = at.unwrap_or_else(|| panic!("no {text:?} after {} bytes of {:?}", self.seen, shown()));
    }

    /// Changes the size of the terminal, from outside.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let mut stty = Command::new("stty");
        stty.args(["-F", &self.name, "rows", &rows.to_string(), "columns", &columns.to_string()]);
        assert!(stty.status().is_ok_and(|status| status.success()), "coreutils are installed");
    }

    /// The modes of the terminal, as stty(1) writes them for itself.
    pub(crate) fn modes(&self) -> String {
        let output = Command::new("stty").args(["-F", &self.name, "-g"]).output();
        String::from_utf8_lossy(&output.expect("coreutils are installed").stdout).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}

/// Gathers what is shown, on a thread of its own, until the terminal is gone.
fn follow(terminal: OwnedFd) -> Arc<Mutex<String>> {
    let shown = Arc::new(Mutex::new(String::new()));
    let gathered = Arc::clone(&shown);
    let mut terminal = File::from(terminal);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = terminal.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            gathered.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        }
    });
    shown
}
