//! A manifest as a broker would have written it over months: calls of several rules, some that overlap,
//! refusals.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// The first record's time, in milliseconds since 1970.
const BEGIN_MS: u64 = 1_700_000_000_000;
/// Calls that run at once.
const OVERLAP: u64 = 8;
/// One request of this many is refused.
const REFUSED: u64 = 20;
/// One call of this many is of the rule that a query asks for.
const RARE: u64 = 1_000;
/// The line of that rule.
pub const RARE_RULE: u64 = 97;

/// Writes a manifest of this many records.
pub fn write_history(path: &Path, records: u64) -> io::Result<()> {
    let mut writer = Writer { file: BufWriter::new(File::create(path)?), prev: "0".repeat(64), records: 0 };
    writer.line(&format!(r#"{{"kind":"open","ts":{BEGIN_MS},"version":"0.1.0","broker":4711,"next":1"#))?;
    let mut running = std::collections::VecDeque::new();
    let mut call = 0;
    while writer.records < records {
        call += 1;
        let ts = BEGIN_MS + writer.records * 40;
        if call % REFUSED == 0 {
            writer.line(&reject(call, ts))?;
            continue;
        }
        writer.line(&start(call, ts))?;
        running.push_back(call);
        if running.len() as u64 > OVERLAP
            && let Some(ended) = running.pop_front()
        {
            writer.line(&exit(ended, ts))?;
        }
    }
    writer.file.flush()
}

fn start(call: u64, ts: u64) -> String {
    let rule = if call % RARE == 1 { RARE_RULE } else { 10 + call % 7 };
    format!(
        r#"{{"kind":"start","call":{call},"ts":{ts},"socket":"agent","rule":{rule},"argv":["git","-C","/home/you/review","log","--oneline","-n","{}"],"resolved":"/usr/bin/git","cwd":"/","pid":{},"uid":1000,"gid":1000,"child":{},"scope":"sluice-agent-4711-{call}.scope","policy":"{}""#,
        call % 99,
        5000 + call % 900,
        6000 + call % 900,
        "5".repeat(64)
    )
}

fn exit(call: u64, ts: u64) -> String {
    format!(
        r#"{{"kind":"exit","call":{call},"ts":{ts},"status":{},"duration_ms":12,"cpu_ms":4,"memory_peak":2338816"#,
        u64::from(call.is_multiple_of(9))
    )
}

fn reject(call: u64, ts: u64) -> String {
    format!(
        r#"{{"kind":"reject","call":{call},"ts":{ts},"socket":"agent","pid":77,"uid":1000,"gid":1000,"argv":["git","push"],"reason":"no_rule","detail":"no rule has these words","status":-1"#
    )
}

/// Lines with their chain.
struct Writer {
    file: BufWriter<File>,
    prev: String,
    records: u64,
}

impl Writer {
    fn line(&mut self, head: &str) -> io::Result<()> {
        let line = format!("{head},\"prev\":\"{}\"}}", self.prev);
        writeln!(self.file, "{line}")?;
        self.prev = format!("{:x}", Sha256::digest(line));
        self.records += 1;
        Ok(())
    }
}
