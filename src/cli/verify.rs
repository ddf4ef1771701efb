//! `sluice verify`: whether the lines of a manifest are those that its broker wrote, and the first line that
//! is not.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::audit::{
    Digest, FileReport, IndexedEntry, JournalIndex, JournalProcess, RecordKind, SenderProgram, VerifyRemark,
    VerifyReport, rotated, unrotated, verify,
};

use crate::ids::CallId;
use crate::limits::SHOWN_CALLS_MAX;
use crate::sd::{EntryText, JournalScope, read_journal};
use crate::text::visible;
use crate::trust::trusted_file;

use super::exit::NO;
use super::log::find_manifest;
use super::output::{OutputForm, write_json};

/// The value of `--journal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JournalChoice {
    /// Compare with this journal.
    With(JournalScope),
    /// Compare with no journal.
    Nothing,
}

/// Parses the value of `--journal`.
pub(super) fn parse_journal(text: &str) -> Result<JournalChoice, String> {
    match text {
        "any" => Ok(JournalChoice::With(JournalScope::All)),
        "user" => Ok(JournalChoice::With(JournalScope::User)),
        "system" => Ok(JournalChoice::With(JournalScope::System)),
        "none" => Ok(JournalChoice::Nothing),
        path if path.starts_with('/') => Ok(JournalChoice::With(JournalScope::Directory(path.into()))),
        _ => Err("it is `any`, `user`, `system`, `none`, or the absolute path of a directory".into()),
    }
}

/// The proof that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofLevel {
    /// A part that cannot be proved is reported.
    Usual,
    /// A part that cannot be proved makes the answer no.
    Strict,
}

/// Verifies the manifests that these words name. The error says why there is no answer.
pub(super) fn read(words: &[OsString], compare: &JournalChoice) -> Result<VerifyReport, String> {
    let files = words.iter().map(|word| files_of(word)).collect::<Result<Vec<_>, _>>()?.concat();
    let here = files.iter().map(|file| unrotated(file)).collect();
    let verified = verify(&files, &|uid, since_ms| match compare {
        JournalChoice::Nothing => Err("it was not asked for".into()),
        JournalChoice::With(journals) => journal_index(journals, &here, uid, since_ms),
    });
    verified.map_err(|error| error.to_string())
}

/// The files that a word names. A word with a `/` in it, or that is the name of a file here, is a file; any
/// other is the name of rules, and stands for all files of their manifest.
fn files_of(word: &OsStr) -> Result<Vec<PathBuf>, String> {
    let file = PathBuf::from(word);
    if word.as_encoded_bytes().contains(&b'/') || file.exists() {
        return Ok(vec![file]);
    }
    let manifest = find_manifest(Some(&word.to_string_lossy()))?;
    let files = rotated(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    Ok(files.into_iter().filter(|file| file.exists()).collect())
}

/// Writes the findings; the answer is no when a line does not fit.
pub(super) fn write(
    report: &VerifyReport,
    rigour: ProofLevel,
    form: OutputForm,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    let is_good = report.finding().is_none() && (rigour == ProofLevel::Usual || report.remarks.is_empty());
    match form {
        OutputForm::Text => write_report(report, is_good, out)?,
        OutputForm::Json => write_json(out, &VerifyAnswer::new(report, is_good))?,
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn journal_index(
    journals: &JournalScope,
    here: &HashSet<PathBuf>,
    uid: u32,
    since_ms: u64,
) -> Result<JournalIndex, String> {
    let mut entries = Vec::new();
    let mut programs = HashMap::new();
    read_journal(journals, uid, since_ms, |told| entries.extend(testimony(&told, here, &mut programs)))
        .map_err(|error| error.to_string())?;
    Ok(JournalIndex::new(entries))
}

/// The content of a journal entry, unless no manifest could have it.
fn testimony(
    told: &EntryText,
    here: &HashSet<PathBuf>,
    programs: &mut HashMap<String, SenderProgram>,
) -> Option<IndexedEntry> {
    let pid = told.pid.as_ref().and_then(|pid| pid.parse().ok());
    let boot = told.boot.as_ref().and_then(|boot| u128::from_str_radix(boot, 16).ok());
    let micros: u64 = told.realtime.as_ref().and_then(|micros| micros.parse().ok()).unwrap_or_default();
    let program = told
        .exe
        .as_ref()
        .map_or(SenderProgram::Unknown, |exe| *programs.entry(exe.clone()).or_insert_with(|| program(exe)));
    Some(IndexedEntry {
        prev: Digest::of(told.prev.as_bytes())?,
        hash: Digest::of(told.hash.as_bytes())?,
        call: told.call.as_ref().and_then(|call| call.parse().ok()).map(CallId::new),
        kind: RecordKind::of(told.kind.as_bytes())?,
        begins_file: told.at.is_none(),
        ts: micros / 1000,
        process: pid.zip(boot).map(|(pid, boot)| JournalProcess { pid, boot }),
        program,
        is_here: told.manifest.as_ref().is_some_and(|manifest| here.contains(Path::new(manifest))),
    })
}

/// Whether the program at this path, as the journal has it, is a broker: it is this program's own file, or a
/// file named `sluice` that only root can have put there.
fn program(exe: &str) -> SenderProgram {
    let path = Path::new(exe.strip_suffix(" (deleted)").unwrap_or(exe));
    let is_this = std::env::current_exe().is_ok_and(|this| this == path);
    let is_named = path.file_name().is_some_and(|name| name == "sluice");
    let is_roots = || trusted_file(path).map(|file| file.metadata().is_ok_and(|file| file.uid() == 0));
    if is_this || is_named && is_roots().unwrap_or(false) {
        SenderProgram::Broker
    } else {
        SenderProgram::Other
    }
}

fn write_report(report: &VerifyReport, is_good: bool, out: &mut dyn Write) -> io::Result<()> {
    for file in &report.files {
        write_file(file, out)?;
    }
    for remark in &report.remarks {
        writeln!(out, "note: {}", visible(&said(remark)))?;
    }
    let verdict = if is_good { "good" } else { "not good" };
    let noun = if report.calls == 1 { "call" } else { "calls" };
    writeln!(out, "{verdict}: {} records of {} {noun}", report.records(), report.calls)
}

fn write_file(file: &FileReport, out: &mut dyn Write) -> io::Result<()> {
    let path = file.path.to_string_lossy();
    let path = visible(&path);
    match &file.finding {
        Some((line, finding)) => writeln!(out, "{path}:{line}: {}", visible(&finding.to_string())),
        None => {
            write!(out, "{path}: {} records", file.records)?;
            if file.confirmed > 0 {
                write!(out, ", {} of them in the journal", file.confirmed)?;
            }
            if file.torn > 0 {
                write!(out, ", {} torn by a crash and set apart", file.torn)?;
            }
            writeln!(out)
        }
    }
}

fn said(remark: &VerifyRemark) -> String {
    match remark {
        VerifyRemark::EarlierElsewhere(path) => {
            format!("{} goes on from a file that was not given", path.display())
        }
        VerifyRemark::LaterElsewhere(path) => {
            format!("{} goes on in a file that was not given", path.display())
        }
        VerifyRemark::NoJournal(why) => {
            format!("not compared with the journal ({why}): lines cut off the end would not show")
        }
        VerifyRemark::NotInJournal { missing, of } => format!(
            "the journal does not have {missing} of the {of} records: it was off, forgot them, or may not be read"
        ),
        VerifyRemark::OtherRecords { records } => {
            format!("the journal has {records} other records of this manifest, of other times")
        }
        VerifyRemark::OtherPlace { records } => {
            format!(
                "the journal has {records} of the records as of a manifest in another place: it was moved or copied"
            )
        }
        VerifyRemark::OtherProcess { records } => format!(
            "the journal has {records} of the records from another process than the broker that is named here, or from \
             another program than {}: they prove nothing",
            std::env::current_exe().unwrap_or_default().display()
        ),
        VerifyRemark::OpenCalls(calls) => {
            format!("no end of {} is on record: they run, or their broker was killed", list(calls))
        }
        VerifyRemark::BareEnds(calls) => format!("no start of {} is on record here", list(calls)),
    }
}

fn list(calls: &[CallId]) -> String {
    let shown: Vec<_> = calls.iter().take(SHOWN_CALLS_MAX).map(CallId::to_string).collect();
    let more = calls.len().saturating_sub(SHOWN_CALLS_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let noun = if calls.len() == 1 { "call" } else { "calls" };
    format!("{noun} {}{more}", shown.join(", "))
}

#[derive(Serialize)]
struct VerifyAnswer<'a> {
    good: bool,
    records: u64,
    calls: u64,
    files: Vec<VerifyAnswerFile<'a>>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct VerifyAnswerFile<'a> {
    file: Cow<'a, str>,
    records: u64,
    in_journal: u64,
    torn: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(rename = "misfit", skip_serializing_if = "Option::is_none")]
    finding: Option<String>,
}

impl<'a> VerifyAnswer<'a> {
    fn new(report: &'a VerifyReport, good: bool) -> Self {
        Self {
            good,
            records: report.records(),
            calls: report.calls,
            files: report.files.iter().map(VerifyAnswerFile::new).collect(),
            notes: report.remarks.iter().map(said).collect(),
        }
    }
}

impl<'a> VerifyAnswerFile<'a> {
    fn new(file: &'a FileReport) -> Self {
        Self {
            file: file.path.to_string_lossy(),
            records: file.records,
            in_journal: file.confirmed,
            torn: file.torn,
            line: file.finding.as_ref().map(|(line, _)| *line),
            finding: file.finding.as_ref().map(|(_, finding)| finding.to_string()),
        }
    }
}
