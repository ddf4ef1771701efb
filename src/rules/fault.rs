//! A problem of a rules file at its place. Functions that parse or check return a [`RulesFault`]; the loader
//! adds it to the [`FaultReport`], which keeps the first ones by place. `diagnostic.rs` prints them for a
//! person.

use std::collections::BTreeMap;

use crate::limits::DIAGNOSTICS_MAX;

/// A stretch of one line. Ordered by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SourceSpan {
    /// The file's number, in the order in which files were read.
    pub(super) file: usize,
    /// The line's number, from 0.
    pub(super) line: usize,
    /// The first byte, from the line's start.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

/// One problem of a rules file, with its place.
#[derive(Debug)]
pub(super) struct RulesFault {
    pub(super) span: SourceSpan,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl RulesFault {
    /// A problem with the stretch `span`.
    pub(super) fn new(span: SourceSpan, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    /// Whether its stretch and `span` have a byte in common.
    pub(super) fn overlaps(&self, span: SourceSpan) -> bool {
        self.span.end > span.start && self.span.start < span.end
    }

    /// The problem with a help text: the fix.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// The consequence of a problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// The rules do not load.
    #[default]
    Error,
    /// The rules load, but most likely do not mean what their author meant.
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

/// The problems of one load: all of them, or the first [`DIAGNOSTICS_MAX`] by place.
#[derive(Debug, Default)]
pub(super) struct FaultReport {
    /// The problems that are shown, by place and then in the order in which they were found.
    pub(super) kept: BTreeMap<(SourceSpan, usize), RulesFault>,
    /// How many were found.
    pub(super) seen: usize,
    pub(super) severity: Severity,
}

impl FaultReport {
    /// A report of warnings.
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

    /// The value, or `None`, with its problem added to the report.
    pub(super) fn take<T>(&mut self, result: Result<T, RulesFault>) -> Option<T> {
        result.map_err(|fault| self.add(fault)).ok()
    }

    /// Whether no problem was found so far.
    pub(super) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Whether more problems were found than will be shown, so that costly checks may stop.
    pub(super) fn is_full(&self) -> bool {
        self.seen > DIAGNOSTICS_MAX
    }
}
