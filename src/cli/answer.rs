//! What the operator's commands share: where a policy comes from, and the form in which an answer goes out.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::broker::LoadError;
use crate::rules::{Policy, Rule};

/// How a rules file becomes a policy; the caller knows the disk and the environment.
pub(super) type Load<'a> = &'a dyn Fn(&Path) -> Result<Policy, LoadError>;

/// For whom an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A person.
    Text,
    /// A program: one JSON value a line, in ASCII.
    Json,
}

/// A rule's place and its line, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Place<'a> {
    file: &'a Path,
    line: u32,
    text: &'a str,
}

impl<'a> Place<'a> {
    /// Where the rule stands.
    pub(super) fn of(rule: &'a Rule) -> Self {
        Self { file: &rule.file, line: rule.line.get(), text: &rule.text }
    }
}

/// One JSON value and a newline. What is not ASCII can stand in strings only, and is escaped there.
pub(super) fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    let mut line = String::with_capacity(text.len() + 1);
    for ch in text.chars() {
        if matches!(ch, ' '..='~') {
            line.push(ch);
        } else {
            ch.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")));
        }
    }
    line.push('\n');
    out.write_all(line.as_bytes())
}
