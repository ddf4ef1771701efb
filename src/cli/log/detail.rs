//! `sluice log --call`: all that is on record of one call, field by field, with the fields of later versions.

use std::io::{self, Write};

use serde_json::Value;

use crate::audit::{DeniedAccesses, RecordFields};
use crate::text::command_line;

use crate::text::printable;

use super::style::OutputStyle;
use super::when;

/// Writes one record of a call.
pub(super) fn write_record(line: &[u8], style: &OutputStyle, out: &mut dyn Write) -> io::Result<()> {
    let Some(RecordFields(fields)) = RecordFields::of(line) else {
        // A field of another program or of a later version has a value that cannot be decoded.
        return writeln!(out, "{}", printable(&String::from_utf8_lossy(line)));
    };
    for (key, value) in &fields {
        let text = match (key.as_str(), value) {
            ("kind", Value::String(kind)) => {
                writeln!(out, "{}", printable(kind))?;
                continue;
            }
            ("ts", Value::Number(ts)) => ts.as_u64().map(|ts| when::shown_exactly(ts, &style.zone)),
            ("argv" | "paths", Value::Array(words)) => {
                Some(command_line(words.iter().filter_map(Value::as_str)))
            }
            ("denied", Value::Array(all)) => {
                Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "))
            }
            (_, Value::String(text)) => Some(text.clone()),
            _ => None,
        };
        let text = text.unwrap_or_else(|| value.to_string());
        writeln!(out, "  {:<14} {}", printable(key), printable(&text))?;
    }
    Ok(())
}

/// Writes what the journal has of the kernel's denials, if it has any.
pub(super) fn write_denials(denied: &DeniedAccesses, out: &mut dyn Write) -> io::Result<()> {
    if denied.texts().is_empty() {
        return Ok(());
    }
    writeln!(out, "kernel (journal)\n  {:<14} {}", "denied", printable(&denied.texts().join("; ")))
}
