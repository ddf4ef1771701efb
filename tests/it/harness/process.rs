//! Processes as the kernel shows them in `/proc`.

use std::fs;

use nix::sys::signal::{Signal, kill};

/// A process that a test looks at or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pid(pub(crate) i32);

impl Pid {
    /// Whether it runs: neither gone nor a zombie.
    pub(crate) fn runs(self) -> bool {
        self.stat(0).is_some_and(|state| state != "Z" && state != "X")
    }

    /// Whether a signal stopped it.
    pub(crate) fn is_stopped(self) -> bool {
        self.stat(0).is_some_and(|state| state == "T")
    }

    /// Its parent.
    pub(crate) fn parent(self) -> Option<Self> {
        self.stat(1).and_then(|parent| parent.parse().ok()).map(Self)
    }

    /// Its session.
    pub(crate) fn session(self) -> Option<i32> {
        self.stat(3).and_then(|session| session.parse().ok())
    }

    /// Its process group.
    pub(crate) fn group(self) -> Option<i32> {
        self.stat(2).and_then(|group| group.parse().ok())
    }

    /// Its command line, words joined by spaces.
    pub(crate) fn command_line(self) -> String {
        let bytes = fs::read(self.file("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
    }

    /// Its name, as the kernel has it.
    pub(crate) fn name(self) -> String {
        fs::read_to_string(self.file("comm")).unwrap_or_default().trim_end().to_owned()
    }

    /// How many descriptors it has open; `None` where it hides them from us.
    pub(crate) fn descriptors(self) -> Option<usize> {
        Some(fs::read_dir(self.file("fd")).ok()?.count())
    }

    /// A number of `/proc/PID/status`.
    pub(crate) fn status(self, field: &str) -> Option<u64> {
        let text = fs::read_to_string(self.file("status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Clock ticks of processor time so far, its children's left out.
    pub(crate) fn ticks(self) -> u64 {
        let ticks = |at| self.stat(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
        ticks(11) + ticks(12)
    }

    /// Its running children.
    pub(crate) fn children(self) -> Vec<Self> {
        let all = fs::read_dir("/proc").expect("/proc is there");
        let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Self);
        pids.filter(|pid| pid.parent() == Some(self) && pid.runs()).collect()
    }

    /// Everything below it that runs.
    pub(crate) fn descendants(self) -> Vec<Self> {
        let children = self.children();
        let below: Vec<_> = children.iter().flat_map(|child| child.descendants()).collect();
        [children, below].concat()
    }

    /// Sends a signal; a process that is gone is left in peace.
    pub(crate) fn signal(self, signal: Signal) {
        kill(nix::unistd::Pid::from_raw(self.0), signal).ok();
    }

    fn file(self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0)
    }

    /// The `at`th field after the name in `/proc/PID/stat`, from 0.
    fn stat(self, at: usize) -> Option<String> {
        let text = fs::read_to_string(self.file("stat")).ok()?;
        let (_, fields) = text.rsplit_once(')')?;
        fields.split_whitespace().nth(at).map(str::to_owned)
    }
}
