//! The manifest as a test reads it: one JSON object a line, and patterns such as `exit status=0 !signal`.

use std::fmt;
use std::path::Path;

use serde_json::Value;

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

    /// Whether this is a record of that pattern: the kind, then `key=value`, `key` (is there) or `!key` (is not).
    /// A value is JSON, or else a text without a blank.
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
