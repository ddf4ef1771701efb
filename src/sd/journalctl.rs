//! Reads the journal back through `journalctl`: the one program that knows the format of its files, and any
//! user who may read them can run it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::Deserialize;

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
    mut take: impl FnMut(EntryText),
) -> Result<(), JournalctlError> {
    let mut child = command(journals, uid, since_ms).spawn().map_err(JournalctlError::Start)?;
    let read = child.stdout.take().map_or(Ok(()), |stdout| read_entries(stdout, &mut take));
    let ended = end(child);
    read.map_err(JournalctlError::Io)?;
    ended
}

fn command(journals: &JournalScope, uid: u32, since_ms: u64) -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager", "--output=json"]);
    command.arg(
        "--output-fields=SLUICE_KIND,SLUICE_HASH,SLUICE_PREV,SLUICE_CALL,SLUICE_AT,SLUICE_MANIFEST,_PID,_EXE",
    );
    command.arg(format!("--since=@{}", since_ms / 1000));
    match journals {
        JournalScope::All => &mut command,
        JournalScope::User => command.arg("--user"),
        JournalScope::System => command.arg("--system"),
        JournalScope::Directory(directory) => command.arg("--directory").arg(directory),
    };
    command.args(["SYSLOG_IDENTIFIER=sluice".to_owned(), format!("_UID={uid}")]);
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn read_entries(stdout: ChildStdout, take: &mut impl FnMut(EntryText)) -> io::Result<()> {
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
