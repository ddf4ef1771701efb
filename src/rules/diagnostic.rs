//! What is wrong with a rules file, and where. Leaves return a [`RulesFault`]; the loader hands it to the [`FaultReport`],
//! which keeps the first ones by place and turns them into [`Diagnostic`]s once the whole file is read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::limits::{DIAGNOSTIC_CHARS_MAX, DIAGNOSTICS_MAX};
use crate::text::{is_hidden, visible};

use super::files::RulesFiles;

/// A stretch of one line. Ordered by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceSpan {
    /// Which file, in the order they were read.
    pub(super) file: usize,
    /// Which line, from 0.
    pub(super) line: usize,
    /// The first byte, from the line's start.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

/// One problem at its place.
#[derive(Debug)]
pub(super) struct RulesFault {
    span: SourceSpan,
    message: String,
    help: Option<String>,
}

impl RulesFault {
    /// A problem with the stretch `span`.
    pub(super) fn new(span: SourceSpan, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    /// Whether it is of `span` too.
    pub(super) fn overlaps(&self, span: SourceSpan) -> bool {
        self.span.end > span.start && self.span.start < span.end
    }

    /// The same with what to write instead.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// What comes of a problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// The rules do not load.
    #[default]
    Error,
    /// They load, and most likely say something else than was meant.
    Warning,
}

impl Severity {
    /// The word for it in a diagnostic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Every problem of one load; of too many, the first by place.
#[derive(Debug, Default)]
pub(super) struct FaultReport {
    kept: BTreeMap<(SourceSpan, usize), RulesFault>,
    seen: usize,
    severity: Severity,
}

impl FaultReport {
    /// One for warnings.
    pub(super) fn of_warnings() -> Self {
        Self { severity: Severity::Warning, ..Self::default() }
    }

    /// Takes one problem.
    pub(super) fn add(&mut self, fault: RulesFault) {
        self.kept.insert((fault.span, self.seen), fault);
        self.seen += 1;
        if self.kept.len() > DIAGNOSTICS_MAX {
            self.kept.pop_last();
        }
    }

    /// The value, or `None` with its problem taken.
    pub(super) fn take<T>(&mut self, result: Result<T, RulesFault>) -> Option<T> {
        result.map_err(|fault| self.add(fault)).ok()
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Whether more is wrong than will be shown, so that costly checks may stop.
    pub(super) fn is_full(&self) -> bool {
        self.seen > DIAGNOSTICS_MAX
    }

    /// The problems by place; the last says how many more there are.
    pub(super) fn finish(self, files: &RulesFiles) -> Vec<Diagnostic> {
        let (more, severity) = (self.seen - self.kept.len(), self.severity);
        let diagnostic = |fault| Diagnostic { severity, ..Diagnostic::new(fault, files) };
        let mut all: Vec<_> = self.kept.into_values().map(diagnostic).collect();
        if more > 0
            && let Some(last) = all.last_mut()
        {
            last.message.push_str(&format!(" (and {more} more {}s)", severity.as_str()));
        }
        all
    }
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

    /// What comes of it.
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

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to write instead, where that can be said.
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

/// A tab is one blank, so that the caret stands right; what is hidden is spelled out.
fn shown(ch: char) -> String {
    match ch {
        '\t' => " ".into(),
        ch if is_hidden(ch) => visible(ch.encode_utf8(&mut [0; 4])).into_owned(),
        ch => ch.into(),
    }
}

/// Where to begin showing a line so that the byte `at` is in view.
fn window_start(line: &str, at: usize) -> usize {
    let before = line.get(..at).unwrap_or(line);
    if before.chars().count() < DIAGNOSTIC_CHARS_MAX / 2 {
        return 0;
    }
    before.char_indices().rev().nth(DIAGNOSTIC_CHARS_MAX / 4).map_or(0, |(start, _)| start)
}
