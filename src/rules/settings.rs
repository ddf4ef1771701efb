//! How a call runs. [`RuleSettings`] is what a rule says once its own attributes, `defaults:` and the
//! built-in values are put together; no later code asks again which of them spoke.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::CAPTURE_BYTES_DEFAULT;

use super::resources::Resource;
use super::template::PathTemplate;

/// Every setting of a rule, defaults folded in.
#[derive(Clone, Debug)]
pub struct RuleSettings {
    /// Wall-clock limit of the call.
    pub timeout: Option<Duration>,
    /// Absolute working directory.
    pub cwd: PathBuf,
    /// The file mode creation mask, at most 0o777.
    pub umask: u32,
    /// Names inherited from the broker's environment.
    pub env: Vec<String>,
    /// `NAME`, `value` pairs that win over `env`; the last of a name wins.
    pub setenv: Vec<(String, String)>,
    /// Where bare names are looked up, and the command's `PATH`.
    pub exec_path: ExecPath,
    /// What the command's stdin is.
    pub stdin: StdinMode,
    /// What the command has in a terminal's place.
    pub tty: TtyMode,
    /// What ends with the caller.
    pub on_hangup: HangupAction,
    /// What ends with the command.
    pub background: BackgroundMode,
    /// Calls of this rule at once.
    pub max_calls: Option<u32>,
    /// What records hold.
    pub log: LogPolicy,
    /// Where what passes stdin, stdout and stderr is kept; nowhere, where the log policy or `stdin = null`
    /// says so.
    pub captures: [Option<Arc<PathTemplate>>; 3],
    /// Most bytes of one capture.
    pub capture_max: CaptureMax,
    /// What the call's scope is given, each property once.
    pub resources: Vec<Resource>,
}

impl RuleSettings {
    /// Whether a process is made in the same way for both: in all that is settled before it is told what to
    /// run.
    pub fn is_made_like(&self, other: &Self) -> bool {
        let made = |of: &Self| (of.stdin, of.tty, of.capture_max);
        made(self) == made(other) && self.captures == other.captures && self.resources == other.resources
    }

    /// Whether what passes the command's streams passes the broker.
    pub(super) fn relays(&self) -> bool {
        self.tty == TtyMode::Hide || self.captures.iter().any(Option::is_some)
    }
}

/// Where bare names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecPath {
    /// These absolute directories, in order.
    List(Vec<PathBuf>),
    /// The broker's own `PATH`.
    Inherit,
}

impl Default for ExecPath {
    fn default() -> Self {
        Self::List(["/bin", "/usr/bin", "/sbin", "/usr/sbin"].map(PathBuf::from).into())
    }
}

/// `stdin =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdinMode {
    /// The caller's descriptor.
    Caller,
    /// `/dev/null`.
    Null,
}

/// `tty =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtyMode {
    /// The caller's terminal is the command's.
    Pass,
    /// It gets a pipe instead.
    Hide,
}

/// `capture_max =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMax {
    /// This many bytes.
    Bytes(u64),
    /// No limit.
    Unlimited,
}

/// `on_hangup =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangupAction {
    /// The call is ended as by a timeout.
    Kill,
    /// The call goes on.
    Keep,
}

/// `background =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackgroundMode {
    /// What the command leaves running ends with it.
    Kill,
    /// It may go on.
    Keep,
}

/// `log =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPolicy {
    /// Everything.
    Full,
    /// No captures.
    ArgvOnly,
    /// No start record, and no argument in any record.
    ExitOnly,
}

/// `audit =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMode {
    /// What cannot be recorded does not run.
    Strict,
    /// What cannot be recorded is said and runs.
    BestEffort,
}

/// `scope =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeMode {
    /// A scope where a manager can be had, else a delegated group where there is one, else none.
    Auto,
    /// A scope, or no call.
    Require,
    /// A delegated group, or no call.
    Delegate,
    /// None.
    Off,
}

/// `sync =`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncMode {
    /// A record counts when the kernel has it: it outlives the broker.
    Kernel,
    /// A start and an end count when they are on disk: they outlive the machine's failure.
    Disk,
}

/// `journal =`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JournalMode {
    /// No record goes to the journal.
    Off,
    /// Every record does, if there is a journal.
    On,
    /// What the journal does not take does not run.
    Require,
}

/// What one stanza says about settings, `defaults:` or a rule.
#[derive(Clone, Debug, Default)]
pub(super) struct StatedSettings {
    pub(super) timeout: Option<Duration>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) umask: Option<u32>,
    pub(super) env: Option<Vec<String>>,
    pub(super) setenv: Vec<(String, String)>,
    pub(super) exec_path: Option<ExecPath>,
    pub(super) stdin: Option<StdinMode>,
    pub(super) tty: Option<TtyMode>,
    pub(super) on_hangup: Option<HangupAction>,
    pub(super) background: Option<BackgroundMode>,
    pub(super) max_calls: Option<u32>,
    pub(super) log: Option<LogPolicy>,
    pub(super) captures: [Option<Arc<PathTemplate>>; 3],
    pub(super) capture_max: Option<CaptureMax>,
    pub(super) resources: Vec<Resource>,
}

impl StatedSettings {
    /// The settings of a rule that says this under these defaults. `max_calls` is not inherited: in
    /// `defaults:` it speaks of the socket.
    pub(super) fn under(self, defaults: &Self) -> RuleSettings {
        let inherited = |own: &[(String, String)], name: &str| !own.iter().any(|(known, _)| known == name);
        let mut setenv = defaults.setenv.clone();
        setenv.retain(|(name, _)| inherited(&self.setenv, name));
        setenv.extend(self.setenv);
        let mut resources = defaults.resources.clone();
        resources.retain(|inherited| self.resources.iter().all(|own| own.key != inherited.key));
        resources.extend(self.resources);
        let stdin = self.stdin.or(defaults.stdin).unwrap_or(StdinMode::Caller);
        let log = self.log.or(defaults.log).unwrap_or(LogPolicy::Full);
        let [own_stdin, own_stdout, own_stderr] = self.captures;
        let [stdin_file, stdout_file, stderr_file] = defaults.captures.clone();
        let full = |own: Option<_>, inherited| own.or(inherited).filter(|_| log == LogPolicy::Full);
        RuleSettings {
            timeout: self.timeout.or(defaults.timeout),
            cwd: self.cwd.or_else(|| defaults.cwd.clone()).unwrap_or_else(|| "/".into()),
            umask: self.umask.or(defaults.umask).unwrap_or(0o022),
            env: self.env.or_else(|| defaults.env.clone()).unwrap_or_default(),
            setenv,
            exec_path: self.exec_path.or_else(|| defaults.exec_path.clone()).unwrap_or_default(),
            stdin,
            tty: self.tty.or(defaults.tty).unwrap_or(TtyMode::Pass),
            on_hangup: self.on_hangup.or(defaults.on_hangup).unwrap_or(HangupAction::Kill),
            background: self.background.or(defaults.background).unwrap_or(BackgroundMode::Kill),
            max_calls: self.max_calls,
            log,
            captures: [
                full(own_stdin, stdin_file).filter(|_| stdin == StdinMode::Caller),
                full(own_stdout, stdout_file),
                full(own_stderr, stderr_file),
            ],
            capture_max: self
                .capture_max
                .or(defaults.capture_max)
                .unwrap_or(CaptureMax::Bytes(CAPTURE_BYTES_DEFAULT)),
            resources,
        }
    }
}
