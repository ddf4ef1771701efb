//! The form of an answer of an operator's command, and its JSON.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::audit::to_ascii;
use crate::rules::Rule;
use crate::text::visible;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputForm {
    /// Text for a person.
    Text,
    /// For a program: one JSON value a line, in ASCII.
    Json,
}

/// A rule's place and its line, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct RulePlace<'a> {
    file: &'a Path,
    line: u32,
    text: &'a str,
}

impl<'a> RulePlace<'a> {
    /// The place and the line of this rule.
    pub(super) fn of(rule: &'a Rule) -> Self {
        Self { file: &rule.file, line: rule.line.get(), text: &rule.text }
    }
}

impl fmt::Display for RulePlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", visible(&self.file.to_string_lossy()), self.line, self.text)
    }
}

/// One JSON value and a newline, in ASCII as records are.
pub(super) fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", to_ascii(value))
}
