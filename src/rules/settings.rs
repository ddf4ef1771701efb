//! The settings with which a call runs. [`RuleSettings`] combines a rule's own attributes, `defaults:` and
//! the built-in values; later code does not ask which of the three a value came from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::CAPTURE_BYTES_DEFAULT;

use super::confinement::Confinement;
use super::credential::RuleCredential;
use super::resources::Resource;
use super::stated_confinement::{NamedProfile, StatedConfinement};
use super::template::PathTemplate;

/// Every setting of a rule, with the defaults applied.
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
    /// Secrets for the command alone, each in a variable that nothing else sets.
    pub credentials: Vec<RuleCredential>,
    /// The directories in which bare names are looked up, and the command's `PATH`.
    pub exec_path: ExecPath,
    /// The source of the command's stdin.
    pub stdin: StdinMode,
    /// Whether the command gets the caller's terminal or a pipe.
    pub tty: TtyMode,
    /// Whether the call ends when its caller goes away.
    pub on_hangup: HangupAction,
    /// Whether processes that the command leaves end with it.
    pub background: BackgroundMode,
    /// Calls of this rule at once.
    pub max_calls: Option<u32>,
    /// What the records of a call contain.
    pub log: LogPolicy,
    /// The captures of stdin, stdout and stderr; `None` also where the log policy or `stdin = null` rules a
    /// capture out.
    pub captures: [Option<Arc<PathTemplate>>; 3],
    /// Most bytes of one capture.
    pub capture_max: CaptureMax,
    /// The resource properties of the call's scope, each property once.
    pub resources: Vec<Resource>,
    /// Whether the kernel logs what a confinement denies the command.
    pub denials: DenialLog,
    /// What the command may do; `None` where nothing confines it.
    pub confinement: Option<Arc<Confinement>>,
}

impl RuleSettings {
    /// Whether a call's processes are set up in the same way for both, up to the plan: streams, captures and
    /// resources.
    pub fn is_made_like(&self, other: &Self) -> bool {
        let made = |of: &Self| (of.stdin, of.tty, of.capture_max);
        made(self) == made(other) && self.captures == other.captures && self.resources == other.resources
    }

    /// Whether a relay moves the bytes of the command's streams.
    pub(super) fn relays(&self) -> bool {
        self.tty == TtyMode::Hide || self.captures.iter().any(Option::is_some)
    }
}

/// The directories in which bare names of programs are looked up.
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

/// `denials =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialLog {
    /// The kernel says nothing of a denial.
    Off,
    /// Each denial is a record of the kernel's audit log, where that is on.
    Kernel,
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
    /// The command gets a pipe instead of a terminal.
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
    /// Processes that the command leaves are ended with it.
    Kill,
    /// Processes that the command leaves may go on.
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
    /// A call that cannot be recorded does not run.
    Strict,
    /// A call that cannot be recorded runs, and the broker reports that.
    BestEffort,
}

/// `scope =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeMode {
    /// A scope if a manager makes scopes, else a delegated group if there is one, else none.
    Auto,
    /// A scope, or no call.
    Require,
    /// A delegated group, or no call.
    Delegate,
    /// No call has a scope or a group.
    Off,
}

/// `sync =`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncMode {
    /// A record counts once the kernel has it: it survives the broker's end.
    Kernel,
    /// A start and an end count once they are on disk: they survive a failure of the machine.
    Disk,
}

/// `journal =`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JournalMode {
    /// No record goes to the journal.
    Off,
    /// Every record does, if there is a journal.
    On,
    /// A call whose record the journal does not take does not run.
    Require,
}

/// The settings that one stanza sets: `defaults:`, a rule or a profile.
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
    pub(super) denials: Option<DenialLog>,
    /// The value of `confine`, or in a profile of `extends`.
    pub(super) base: Option<NamedProfile>,
    pub(super) confining: StatedConfinement,
}

impl StatedSettings {
    /// The settings of a rule that sets these, under these defaults, but for its confinement. `max_calls` is
    /// not inherited, because in `defaults:` it limits the whole socket. `setenv` are the variables that the
    /// rule's own are set on top of.
    pub(super) fn under(self, defaults: &Self, setenv: &[(String, String)]) -> RuleSettings {
        let setenv = layered(setenv, &self.setenv);
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
            credentials: Vec::new(),
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
            denials: self.denials.or(defaults.denials).unwrap_or(DenialLog::Off),
            confinement: None,
        }
    }
}

/// The variables of both, each once: those above win.
pub(super) fn layered(below: &[(String, String)], above: &[(String, String)]) -> Vec<(String, String)> {
    let is_set = |name: &str| above.iter().any(|(known, _)| known == name);
    let kept = below.iter().filter(|(name, _)| !is_set(name));
    kept.chain(above).cloned().collect()
}
