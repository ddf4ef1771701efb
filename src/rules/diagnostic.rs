//! The problems of a rules file as a person reads them: with the line, a caret and the fix.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::limits::DIAGNOSTIC_CHARS_MAX;
use crate::text::{is_hidden, visible};

use super::fault::{FaultReport, RulesFault, Severity, SourceSpan};
use super::files::RulesFiles;

/// The problems of a report by place; the last says how many more there are.
pub(super) fn render(report: FaultReport, files: &RulesFiles) -> Vec<Diagnostic> {
    let FaultReport { kept, seen, severity } = report;
    let more = seen - kept.len();
    let diagnostic = |fault| Diagnostic { severity, ..Diagnostic::new(fault, files) };
    let mut all: Vec<_> = kept.into_values().map(diagnostic).collect();
    if more > 0
        && let Some(last) = all.last_mut()
    {
        last.message.push_str(&format!(" (and {more} more {}s)", severity.as_str()));
    }
    all
}

/// One problem of a rules file, with its place. `Display` gives `FILE:LINE:COLUMN: error: …` (or `warning`),
/// the line, a caret, the fix.
#[derive(Debug)]
pub struct Diagnostic {
    severity: Severity,
    file: PathBuf,
    line: usize,
    column: usize,
    message: String,
    help: Option<String>,
    excerpt: Option<Excerpt>,
}

impl Diagnostic {
    fn new(fault: RulesFault, files: &RulesFiles) -> Self {
        let RulesFault { span, message, help } = fault;
        let line = files.line(span.file, span.line);
        let column =
            line.and_then(|line| line.get(..span.start)).map_or(0, |before| before.chars().count()) + 1;
        let excerpt = line.map(|line| Excerpt::new(line, span));
        Self {
            severity: Severity::Error,
            file: files.path(span.file).to_path_buf(),
            line: span.line + 1,
            column,
            message,
            help,
            excerpt,
        }
    }

    /// An error of rules that load, at a part of one line, from 1, of their text.
    pub fn of_line(file: &Path, number: usize, line: &str, part: &str, message: &str) -> Self {
        let start = line.find(part).unwrap_or_default();
        let span = SourceSpan { file: 0, line: number.saturating_sub(1), start, end: start + part.len() };
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: number,
            column: line[..start].chars().count() + 1,
            message: message.to_owned(),
            help: None,
            excerpt: Some(line).filter(|line| !line.is_empty()).map(|line| Excerpt::new(line, span)),
        }
    }

    /// A warning of a whole rule on this line, from 1, of rules that load.
    pub fn of_rule(file: &Path, number: usize, message: &str) -> Self {
        Self { severity: Severity::Warning, ..Self::of_line(file, number, "", "", message) }
    }

    /// Whether the problem keeps the rules from loading.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The file that the problem is in.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The problem, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The fix, where one is known.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.to_string_lossy();
        let severity = self.severity.as_str();
        write!(
            f,
            "{}:{}:{}: {severity}: {}",
            visible(&file),
            self.line,
            self.column,
            visible(&self.message)
        )?;
        if let Some(Excerpt { text, indent, width }) = &self.excerpt {
            write!(f, "\n  | {text}\n  | {:indent$}{:^<width$}", "", "")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", visible(help))?;
        }
        Ok(())
    }
}

/// The part of a line that is shown, and where its caret goes, in characters.
#[derive(Debug)]
struct Excerpt {
    text: String,
    indent: usize,
    width: usize,
}

impl Excerpt {
    fn new(line: &str, span: SourceSpan) -> Self {
        let skipped = window_start(line, span.start);
        let mut excerpt = Self { text: String::new(), indent: 0, width: 0 };
        if skipped > 0 {
            excerpt.push("…", false, true);
        }
        for (at, ch) in line[skipped..].char_indices().map(|(at, ch)| (at + skipped, ch)) {
            if excerpt.text.chars().count() >= DIAGNOSTIC_CHARS_MAX {
                excerpt.push("…", false, false);
                break;
            }
            excerpt.push(&shown(ch), (span.start..span.end).contains(&at), at < span.start);
        }
        excerpt.width = excerpt.width.max(1);
        excerpt
    }

    fn push(&mut self, shown: &str, in_span: bool, before: bool) {
        let width = shown.chars().count();
        self.text.push_str(shown);
        self.indent += if before { width } else { 0 };
        self.width += if in_span { width } else { 0 };
    }
}

/// A character as the excerpt shows it: a tab as one blank, so that the caret stands right; an invisible
/// character spelled out.
fn shown(ch: char) -> String {
    match ch {
        '\t' => " ".into(),
        ch if is_hidden(ch) => visible(ch.encode_utf8(&mut [0; 4])).into_owned(),
        ch => ch.into(),
    }
}

/// The offset at which an excerpt of a line begins, so that the byte `at` is in view.
fn window_start(line: &str, at: usize) -> usize {
    let before = line.get(..at).unwrap_or(line);
    if before.chars().count() < DIAGNOSTIC_CHARS_MAX / 2 {
        return 0;
    }
    before.char_indices().rev().nth(DIAGNOSTIC_CHARS_MAX / 4).map_or(0, |(start, _)| start)
}
