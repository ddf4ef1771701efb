//! What a rules file means once it is loaded: every setting effective, every regex compiled, the index built.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Claimed, RuleLine};
use crate::limits;

/// Where the text of rules files comes from. The caller of [`load`] does the I/O and checks who may write the file.
pub trait Source {
    /// The whole text of the file at this absolute path.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The two variables that rules may name, from the broker's environment.
#[derive(Clone, Debug, Default)]
pub struct Vars {
    /// `$HOME`.
    pub home: Option<String>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<String>,
}

/// Answers where a path lies on disk, for `in DIR` slots.
pub trait Paths {
    /// Whether `value`, resolved from `cwd` with symlinks followed, lies under `dir`; its last component need not exist.
    fn lies_under(&self, cwd: &Path, value: &str, dir: &Path) -> bool;
}

/// One problem of a rules file, with its place. `Display` gives `FILE:LINE:COLUMN: error: …`, the line, a caret, the fix.
#[derive(Debug)]
pub struct Diagnostic {}

/// The rules in force for a socket.
#[derive(Debug)]
pub struct Policy {}

/// One rule, with every setting effective.
#[derive(Debug)]
pub struct Rule {
    /// The line the rule stands on, in `file`.
    pub line: RuleLine,
    /// The file it stands in: the top file, or one it includes.
    pub file: Arc<Path>,
    /// The rule line as the listing shows it: slots as `<name>`. Also its identity over reloads.
    pub text: Arc<str>,
    /// What runs.
    pub program: Program,
    /// How it runs.
    pub settings: Settings,
}

/// The first word of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A bare name, looked up in `exec_path` at call time.
    Bare(String),
    /// An absolute path.
    Absolute(PathBuf),
}

/// Every setting of a rule, defaults folded in.
#[derive(Clone, Debug)]
pub struct Settings {
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
    pub stdin: Stdin,
    /// What ends with the caller.
    pub on_hangup: OnHangup,
    /// What ends with the command.
    pub background: Background,
    /// Calls of this rule at once.
    pub max_calls: Option<u32>,
    /// What records hold.
    pub log: LogPolicy,
}

/// Where bare names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecPath {
    /// These absolute directories, in order.
    List(Vec<PathBuf>),
    /// The broker's own `PATH`.
    Inherit,
}

/// `stdin =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// The caller's descriptor.
    Caller,
    /// `/dev/null`.
    Null,
}

/// `on_hangup =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHangup {
    /// The call is ended as by a timeout.
    Kill,
    /// The call goes on.
    Keep,
}

/// `background =`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
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
pub enum Audit {
    /// What cannot be recorded does not run.
    Strict,
    /// What cannot be recorded is said and runs.
    BestEffort,
}

/// A path with placeholders (`#$call`, …), checked at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {}

/// One word that a rule accepted: a literal of the rule, or a slot value that keeps its constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound(String);

/// A request that a rule allows.
#[derive(Clone, Debug)]
pub struct Matched {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The whole command line, program first.
    pub argv: Vec<Bound>,
}

/// Why nothing matched.
#[derive(Clone, Debug)]
pub struct Miss {
    /// The kind of miss, as records name it.
    pub reason: MissReason,
    /// The rule that came nearest, if any shares the program.
    pub nearest: Option<Arc<Rule>>,
    /// One sentence for a person, from what the listing already shows.
    pub explanation: String,
}

/// The kinds of misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissReason {
    /// No rule has these words.
    NoRule,
    /// A value starts with `-` and its slot is not in `allow_dash`.
    OptionLike,
    /// A path lies outside its slot's directory.
    Outside,
}

// STUB
impl MissReason {
    pub fn as_str(self) -> &'static str {
        ""
    }
}
impl Policy {
    pub fn decide(&self, _: &[Claimed], _: &dyn Paths) -> Result<Matched, Miss> {
        todo!()
    }
    pub fn rules(&self) -> &[Arc<Rule>] {
        todo!()
    }
    pub fn listing(&self) -> String {
        todo!()
    }
    pub fn hash(&self) -> &str {
        todo!()
    }
    pub fn files(&self) -> &[PathBuf] {
        todo!()
    }
    pub fn max_calls(&self) -> u32 {
        limits::SOCKET_CALLS_DEFAULT
    }
    pub fn audit(&self) -> Audit {
        todo!()
    }
    pub fn logfile(&self) -> Option<&Template> {
        todo!()
    }
}
impl std::fmt::Display for Diagnostic {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
#[derive(Clone, Debug, Default)]
pub struct TemplateValues<'a> {
    pub call: Option<u64>,
    pub pid: Option<i32>,
    pub uid: Option<u32>,
    pub rule: Option<u32>,
    pub ts_ms: u64,
    pub socket: &'a str,
}
impl Template {
    pub fn expand(&self, _: &TemplateValues<'_>) -> PathBuf {
        todo!()
    }
}
impl Bound {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
pub fn load(_: &Path, _: &dyn Source, _: &Vars) -> Result<Policy, Vec<Diagnostic>> {
    todo!()
}
