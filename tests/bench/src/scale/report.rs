//! The figures as a table, or as one JSON object.

use std::fmt;

use serde::Serialize;

use super::Footprint;
use crate::memory::Memory;
use crate::sample;

/// One situation of one size.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The situation.
    pub what: &'static str,
    /// How much of it.
    pub size: usize,
    /// From before the broker's start to the end of its first call.
    pub first_ms: f64,
    /// The first call once the situation is there.
    pub fresh_ms: f64,
    /// Calls beside it, over those of an empty broker.
    pub fresh: sample::Row,
    /// Resident memory.
    pub memory: Memory,
    /// Threads and descriptors.
    pub footprint: Footprint,
    /// Processor time of a second in which nobody calls, in microseconds.
    pub idle_us: f64,
}

/// Everything one run measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Processors that this run may use.
    pub processors: usize,
    /// Rounds behind each row.
    pub rounds: usize,
    /// The situations.
    pub rows: Vec<Row>,
}

impl Report {
    /// Calls that did not end with status 0.
    pub fn failed(&self) -> usize {
        self.rows.iter().map(|row| row.fresh.failed).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processors, rounds, rows } = self;
        writeln!(f, "{processors} processors, medians of {rounds} interleaved rounds (least to most)")?;
        writeln!(
            f,
            "{:>6} {:<19} {:>8} {:>8} {:>21} {:>22} {:>9} {:>16} {:>17} {:>6} {:>9} {:>9} {:>7} {:>7} {:>8}",
            "size",
            "beside",
            "start ms",
            "fresh ms",
            "p50 ms",
            "p99 ms",
            "worst ms",
            "p50 ratio",
            "p99 ratio",
            "failed",
            "broker K",
            "helpers K",
            "threads",
            "fds",
            "idle us"
        )?;
        rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, size, first_ms, fresh_ms, fresh, memory, footprint, idle_us } = self;
        let text = |spread: sample::Spread, digits: usize| format!("{spread:.digits$}");
        write!(
            f,
            "{size:>6} {what:<19} {first_ms:>8.1} {fresh_ms:>8.1} {:>21} {:>22} {:>9.2} {:>16} {:>17} {:>6} {:>9} {:>9} {:>7} {:>7} {idle_us:>8.0}",
            text(fresh.p50_ms, 3),
            text(fresh.p99_ms, 3),
            fresh.worst_ms.max,
            text(fresh.p50_ratio, 2),
            text(fresh.p99_ratio, 2),
            fresh.failed,
            memory.broker_kib,
            memory.helpers_kib,
            footprint.threads,
            footprint.descriptors.map_or_else(|| "?".to_owned(), |count| count.to_string()),
        )?;
        fresh.error.iter().try_for_each(|error| write!(f, "\n       last failure: {error}"))
    }
}
