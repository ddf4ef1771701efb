//! The manifest as a test reads it: one JSON object a line, and patterns such as `exit status=0 !signal`.

use std::fmt;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// One line of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The bytes, without the newline.
    pub(crate) line: Vec<u8>,
    /// What they mean; null when they are not JSON.
    pub(crate) value: Value,
}

impl Record {
    /// The `kind` field.
    pub(crate) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or("torn")
    }

    /// A field; null when it is not there.
    pub(crate) fn get(&self, key: &str) -> &Value {
        &self.value[key]
    }

    /// A number; the test fails when there is none.
    #[track_caller]
    pub(crate) fn number(&self, key: &str) -> u64 {
        self.value[key].as_u64().unwrap_or_else(|| panic!("no number {key:?} in {self}"))
    }

    /// A text; the test fails when there is none.
    #[track_caller]
    pub(crate) fn text(&self, key: &str) -> &str {
        self.value[key].as_str().unwrap_or_else(|| panic!("no text {key:?} in {self}"))
    }

    /// The argv; empty when there is none.
    pub(crate) fn argv(&self) -> Vec<String> {
        let words = self.value["argv"].as_array().into_iter().flatten();
        words.map(|word| word.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Whether this is a record of that pattern: the kind, then `key=value`, `key` (is there) or `!key` (is
    /// not). A value is JSON, or else a text without a blank.
    pub(crate) fn is(&self, pattern: &str) -> bool {
        let mut parts = pattern.split_whitespace();
        let kind = parts.next().unwrap_or_default();
        self.kind() == kind && parts.all(|part| self.keeps(part))
    }

    fn keeps(&self, part: &str) -> bool {
        if let Some(key) = part.strip_prefix('!') {
            return self.value.get(key).is_none();
        }
        match part.split_once('=') {
            None => self.value.get(part).is_some(),
            Some((key, want)) => {
                let want = serde_json::from_str(want).unwrap_or_else(|_| Value::from(want));
                self.value[key] == want
            }
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.line))
    }
}

/// Every line of this manifest; none when it does not exist.
pub(crate) fn read(path: &Path) -> Vec<Record> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if lines.is_empty() {
        return Vec::new();
    }
    lines.split(|&byte| byte == b'\n').map(record).collect()
}

fn record(line: &[u8]) -> Record {
    Record { line: line.to_vec(), value: serde_json::from_slice(line).unwrap_or(Value::Null) }
}

/// A line with this `prev` in the place of its own, without a newline; one that has none is given it.
pub(crate) fn following(line: &str, prev: &str) -> String {
    let line = line.trim_end();
    let body = line.rsplit_once(",\"prev\":").map_or_else(|| line.trim_end_matches('}'), |(body, _)| body);
    format!("{body},\"prev\":\"{prev}\"}}")
}

/// The hash of a line.
pub(crate) fn hash(line: &str) -> String {
    Sha256::digest(line.trim_end()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// These lines, each of which is made to follow the one before it.
pub(crate) fn chain_anew(lines: &[String]) -> Vec<String> {
    let mut prev = "0".repeat(64);
    let anew = lines.iter().map(|line| {
        let line = following(line, &prev);
        prev = hash(&line);
        line + "\n"
    });
    anew.collect()
}
