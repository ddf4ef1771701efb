//! `sluice verify`: whether a manifest is what its broker wrote, and the first line that is not.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::audit::{Digest, FileReport, Kind, Remark, Report, Testimony, VerifyError, Witness, verify};
use crate::ids::CallId;
use crate::limits::SHOWN_CALLS_MAX;
use crate::rules::escape::visible;
use crate::sd::{Journals, Told, read_journal};

use super::NO;
use super::answer::{Form, write_json};

/// What `--journal` may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    /// With this journal.
    With(Journals),
    /// With none.
    Nothing,
}

/// The value of `--journal`.
pub(super) fn parse_journal(text: &str) -> Result<Compare, String> {
    match text {
        "any" => Ok(Compare::With(Journals::All)),
        "user" => Ok(Compare::With(Journals::User)),
        "system" => Ok(Compare::With(Journals::System)),
        "none" => Ok(Compare::Nothing),
        path if path.starts_with('/') => Ok(Compare::With(Journals::Directory(path.into()))),
        _ => Err("it is `any`, `user`, `system`, `none`, or the absolute path of a directory".into()),
    }
}

/// How much has to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rigour {
    /// What cannot be shown is told.
    Usual,
    /// What cannot be shown is a no.
    Strict,
}

/// Verifies files.
pub(super) fn read(files: &[PathBuf], compare: &Compare) -> Result<Report, VerifyError> {
    verify(files, &|uid, since_ms| match compare {
        Compare::Nothing => Err("it was not asked for".into()),
        Compare::With(journals) => witness(journals, uid, since_ms),
    })
}

/// Says what was found; the answer is no when a line does not fit.
pub(super) fn write(
    report: &Report,
    rigour: Rigour,
    form: Form,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    let is_good = report.misfit().is_none() && (rigour == Rigour::Usual || report.remarks.is_empty());
    match form {
        Form::Text => write_report(report, is_good, out)?,
        Form::Json => write_json(out, &Verified::new(report, is_good))?,
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn witness(journals: &Journals, uid: u32, since_ms: u64) -> Result<Witness, String> {
    let mut entries = Vec::new();
    read_journal(journals, uid, since_ms, |told| entries.extend(testimony(&told)))
        .map_err(|error| error.to_string())?;
    Ok(Witness::new(entries))
}

/// What an entry says, unless it says nothing that a manifest could have.
fn testimony(told: &Told) -> Option<Testimony> {
    Some(Testimony {
        prev: Digest::of(told.prev.as_bytes())?,
        hash: Digest::of(told.hash.as_bytes())?,
        call: told.call.as_ref().and_then(|call| call.parse().ok()).map(CallId::new),
        kind: Kind::of(told.kind.as_bytes())?,
        begins_file: told.at.is_none(),
    })
}

fn write_report(report: &Report, is_good: bool, out: &mut dyn Write) -> io::Result<()> {
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
    match &file.misfit {
        Some((line, misfit)) => writeln!(out, "{path}:{line}: {}", visible(&misfit.to_string())),
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

fn said(remark: &Remark) -> String {
    match remark {
        Remark::EarlierElsewhere(path) => {
            format!("{} goes on from a file that was not given", path.display())
        }
        Remark::LaterElsewhere(path) => format!("{} goes on in a file that was not given", path.display()),
        Remark::NoJournal(why) => {
            format!("not compared with the journal ({why}): lines cut off the end would not show")
        }
        Remark::NotInJournal { missing, of } => format!(
            "the journal does not have {missing} of the {of} records: it was off, forgot them, or may not be read"
        ),
        Remark::OpenCalls(calls) => {
            format!("no end of {} is on record: they run, or their broker was killed", list(calls))
        }
        Remark::BareEnds(calls) => format!("no start of {} is on record here", list(calls)),
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
struct Verified<'a> {
    good: bool,
    records: u64,
    calls: u64,
    files: Vec<VerifiedFile<'a>>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct VerifiedFile<'a> {
    file: Cow<'a, str>,
    records: u64,
    in_journal: u64,
    torn: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    misfit: Option<String>,
}

impl<'a> Verified<'a> {
    fn new(report: &'a Report, good: bool) -> Self {
        Self {
            good,
            records: report.records(),
            calls: report.calls,
            files: report.files.iter().map(VerifiedFile::new).collect(),
            notes: report.remarks.iter().map(said).collect(),
        }
    }
}

impl<'a> VerifiedFile<'a> {
    fn new(file: &'a FileReport) -> Self {
        Self {
            file: file.path.to_string_lossy(),
            records: file.records,
            in_journal: file.confirmed,
            torn: file.torn,
            line: file.misfit.as_ref().map(|(line, _)| *line),
            misfit: file.misfit.as_ref().map(|(_, misfit)| misfit.to_string()),
        }
    }
}
