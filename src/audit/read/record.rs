//! The contents of a line. [`RecordHead`] is the front of a call's record, found without reading the rest;
//! [`ParsedRecord`] is a record in its types, for questions about calls; [`RecordFields`] is a whole record
//! in the order of its line, fields of later versions included. `../record/call.rs` writes them.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::audit::record::kind::RecordKind;
use crate::ids::{CallId, RuleLine, SocketName};

/// The front of a record of a call. It costs a hundredth of parsing the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Its kind.
    pub kind: RecordKind,
    /// Its call.
    pub call: CallId,
    /// Its time, in milliseconds since 1970.
    pub ts: u64,
    /// Whether it is the first known record of its call, as [`ParsedRecord::begins_call`].
    pub begins: bool,
}

impl RecordHead {
    /// The head of a line, if the three fields stand in front, as brokers write them.
    pub fn of(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"{\"kind\":\"")?;
        let end = rest.iter().take(8).position(|&byte| byte == b'"')?;
        let kind = RecordKind::of(&rest[..end])?;
        let (call, rest) = number(rest[end..].strip_prefix(b"\",\"call\":")?)?;
        let (ts, rest) = number(rest.strip_prefix(b",\"ts\":")?)?;
        let begins = kind.begins(rest.starts_with(b",\"socket\":"));
        Some(Self { kind, call: CallId::new(call), ts, begins })
    }
}

/// A decimal number at the beginning of a text, and the text behind it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(end);
    let number = digits
        .iter()
        .try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    (end > 0).then_some((number, rest))
}

/// A record. Its kind decides which fields it has.
#[derive(Clone, Debug, Deserialize)]
pub struct ParsedRecord {
    /// Its kind.
    pub kind: RecordKind,
    /// The time, in milliseconds since 1970.
    pub ts: u64,
    /// The call.
    pub call: Option<CallId>,
    /// The socket that was asked.
    pub socket: Option<SocketName>,
    /// The rule.
    pub rule: Option<RuleLine>,
    /// The rule's file, when it is an included one.
    pub file: Option<String>,
    /// The command line, as far as it was kept.
    #[serde(default)]
    pub argv: Vec<String>,
    /// The bytes of all words of the command line, where some were cut.
    pub argv_bytes: Option<u64>,
    /// The caller's process.
    pub pid: Option<i32>,
    /// The caller's user.
    pub uid: Option<u32>,
    /// The status that the caller was answered.
    pub status: Option<i32>,
    /// How long the call took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// The signal that ended the command.
    pub signal: Option<i32>,
    /// Whether the timeout ended the call.
    #[serde(default)]
    pub timed_out: bool,
    /// Whether the call was ended because its caller left.
    #[serde(default)]
    pub hangup: bool,
    /// Whether the call was ended because the broker stopped.
    #[serde(default)]
    pub stopped: bool,
    /// Whether a process of the call was killed for want of memory.
    #[serde(default)]
    pub oom: bool,
    /// The step that failed before anything of the command ran.
    pub step: Option<String>,
    /// The error of that step.
    pub errno: Option<String>,
    /// Why the call was refused.
    pub reason: Option<String>,
    /// A sentence for a person on that reason.
    pub detail: Option<String>,
    /// The number of equal refusals that this record counts.
    pub count: Option<u64>,
    /// The call number of the last of these refusals.
    pub last: Option<CallId>,
    /// The broker's process, in an `open`.
    pub broker: Option<i64>,
    /// The host's boot, in an `open`.
    pub boot: Option<String>,
    /// Bytes of the file before this line, in an `open`.
    #[serde(default)]
    pub at: u64,
    /// Bytes of the torn line before this one, in an `open`.
    #[serde(default)]
    pub torn: u64,
    /// The hash of that torn line.
    pub torn_sha256: Option<String>,
    /// The hash of the last line that a broker left, where an `open` did not find that line at the end.
    pub missing: Option<String>,
    /// The file with the captured stdout.
    pub stdout: Option<String>,
    /// The file with the captured stderr.
    pub stderr: Option<String>,
    /// The file with the captured stdin.
    pub stdin: Option<String>,
}

impl ParsedRecord {
    /// The record on a line; `None` when the line is no JSON object in ASCII, or has no record's fields.
    pub fn of(line: &[u8]) -> Option<Self> {
        // The parser accepts any bytes in fields that it does not know, and a list of values in place of a
        // record.
        let may_be = line.starts_with(b"{") && line.is_ascii();
        may_be.then(|| serde_json::from_slice(line).ok()).flatten()
    }

    /// Whether it is the first known record of a call: its start, its refusal, or its end where
    /// `log = exit-only` keeps the start out.
    pub fn begins_call(&self) -> bool {
        self.kind.begins(self.socket.is_some())
    }
}

/// All fields of a record, in the order of its line.
#[derive(Debug)]
pub struct RecordFields(pub Vec<(String, Value)>);

impl RecordFields {
    /// The fields of a line; `None` when the line is no object.
    pub fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

impl<'de> Deserialize<'de> for RecordFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OrderedFields;
        impl<'de> Visitor<'de> for OrderedFields {
            type Value = RecordFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RecordFields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(RecordFields(fields))
            }
        }
        deserializer.deserialize_map(OrderedFields)
    }
}
