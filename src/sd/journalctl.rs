//! Reads the journal back through `journalctl`: the one program that knows the format of its files, and any
//! user who may read them can run it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::limits::{JOURNAL_LINE_BYTES_MAX, JOURNAL_SAID_BYTES_MAX};

/// The journal to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalScope {
    /// All that this user may read.
    All,
    /// This user's.
    User,
    /// The machine's.
    System,
    /// The files of a directory.
    Directory(PathBuf),
}

/// The fields of a record's entry, as text.
#[derive(Debug, Deserialize)]
pub struct EntryText {
    /// `SLUICE_KIND`.
    #[serde(rename = "SLUICE_KIND")]
    pub kind: String,
    /// `SLUICE_HASH`.
    #[serde(rename = "SLUICE_HASH")]
    pub hash: String,
    /// `SLUICE_PREV`.
    #[serde(rename = "SLUICE_PREV")]
    pub prev: String,
    /// `SLUICE_CALL`.
    #[serde(rename = "SLUICE_CALL")]
    pub call: Option<String>,
    /// `SLUICE_AT`.
    #[serde(rename = "SLUICE_AT")]
    pub at: Option<String>,
    /// `SLUICE_MANIFEST`.
    #[serde(rename = "SLUICE_MANIFEST")]
    pub manifest: Option<String>,
    /// `_PID`: the process that sent the entry, as the kernel names it. This and the following fields are the
    /// journal's own.
    #[serde(rename = "_PID")]
    pub pid: Option<String>,
    /// `_EXE`: its program; missing where it had ended before the journal looked.
    #[serde(rename = "_EXE")]
    pub exe: Option<String>,
    /// `_BOOT_ID`: the host's boot.
    #[serde(rename = "_BOOT_ID")]
    pub boot: Option<String>,
    /// `__REALTIME_TIMESTAMP`: when the journal took it, in microseconds since 1970.
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    pub realtime: Option<String>,
}

/// Why the journal cannot be read.
#[derive(Debug)]
pub enum JournalctlError {
    /// The program cannot be started.
    Start(io::Error),
    /// The program failed, with this text on stderr.
    Failed(String),
    /// The program's output cannot be read.
    Io(io::Error),
}

impl fmt::Display for JournalctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(source) => write!(f, "journalctl cannot be started: {source}"),
            Self::Failed(said) => write!(f, "journalctl failed: {said}"),
            Self::Io(source) => write!(f, "journalctl cannot be read: {source}"),
        }
    }
}

impl std::error::Error for JournalctlError {}

/// Gives `take` the entry of each record that brokers of user `uid` made since `since_ms` (milliseconds since
/// 1970). The user is the sender's, as the journal noted it. An entry that is not a record's is passed over.
pub fn read_journal(
    journals: &JournalScope,
    uid: u32,
    since_ms: u64,
    take: impl FnMut(EntryText),
) -> Result<(), JournalctlError> {
    let fields = "SLUICE_KIND,SLUICE_HASH,SLUICE_PREV,SLUICE_CALL,SLUICE_AT,SLUICE_MANIFEST,_PID,_EXE";
    let mut command = journalctl(journals, fields, since_ms);
    command.args(["SYSLOG_IDENTIFIER=sluice".to_owned(), format!("_UID={uid}")]);
    read(&mut command, take)
}

/// Runs the program, and gives `take` each entry that has the fields of `T`.
fn read<T: DeserializeOwned>(command: &mut Command, mut take: impl FnMut(T)) -> Result<(), JournalctlError> {
    let mut child = command.spawn().map_err(JournalctlError::Start)?;
    let read = child.stdout.take().map_or(Ok(()), |stdout| read_entries(stdout, &mut take));
    let ended = end(child);
    read.map_err(JournalctlError::Io)?;
    ended
}

/// The program, to write these fields of the entries since then.
fn journalctl(journals: &JournalScope, fields: &str, since_ms: u64) -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager", "--output=json"]);
    command.arg(format!("--output-fields={fields}"));
    command.arg(format!("--since=@{}", since_ms / 1000));
    match journals {
        JournalScope::All => &mut command,
        JournalScope::User => command.arg("--user"),
        JournalScope::System => command.arg("--system"),
        JournalScope::Directory(directory) => command.arg("--directory").arg(directory),
    };
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A record of the kernel's audit log, from the log itself or from the kernel's messages.
#[derive(Debug, Deserialize)]
struct AuditText {
    #[serde(rename = "MESSAGE")]
    message: String,
    #[serde(rename = "_AUDIT_TYPE")]
    kind: Option<String>,
}

impl AuditText {
    /// The record's type; the kernel's messages name it in their text.
    fn kind(&self) -> Option<u16> {
        let said = || self.message.strip_prefix("audit: type=")?.split(' ').next();
        self.kind.as_deref().or_else(said)?.parse().ok()
    }
}

/// Gives `take` the type and the text of each record of the kernel's audit log that the journal took between
/// these times, in milliseconds since 1970.
pub fn read_audit_log(
    journals: &JournalScope,
    since_ms: u64,
    until_ms: u64,
    mut take: impl FnMut(u16, &str),
) -> Result<(), JournalctlError> {
    let mut command = journalctl(journals, "MESSAGE,_AUDIT_TYPE", since_ms);
    command.arg(format!("--until=@{}", until_ms.div_ceil(1000)));
    command.args(["_TRANSPORT=audit", "_TRANSPORT=kernel"]);
    read(&mut command, |told: AuditText| {
        if let Some(kind) = told.kind() {
            take(kind, &told.message);
        }
    })
}

fn read_entries<T: DeserializeOwned>(stdout: ChildStdout, take: &mut impl FnMut(T)) -> io::Result<()> {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader.by_ref().take(JOURNAL_LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
        if let Ok(told) = serde_json::from_slice(&line) {
            take(told);
        }
        line.clear();
    }
    Ok(())
}

/// Waits for the program's end. Its stdout has been read to the end, and its stderr is too short to fill a
/// pipe.
fn end(mut child: Child) -> Result<(), JournalctlError> {
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(JOURNAL_SAID_BYTES_MAX).read_to_string(&mut said).map_err(JournalctlError::Io)?;
    }
    let status = child.wait().map_err(JournalctlError::Io)?;
    if status.success() { Ok(()) } else { Err(JournalctlError::Failed(said.trim().to_owned())) }
}
