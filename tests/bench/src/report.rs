//! Rows as a table, for looking closer.

use std::fmt;

use crate::memory::Memory;
use crate::sample::{Row, Spread};

/// A table of rows, below its title.
pub fn rows(f: &mut fmt::Formatter<'_>, title: &str, rows: &[Row]) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    let head = [
        "callers",
        "what",
        "p50 ms",
        "p99 ms",
        "rate/s",
        "calls",
        "failed",
        "p50 ratio",
        "p99 ratio",
        "rate ratio",
    ];
    line(f, head.map(str::to_owned))?;
    for row in rows {
        let numbers = [spread(row.p50_ms, 3), spread(row.p99_ms, 3), spread(row.rate, 0)];
        let [p50, p99, rate] = numbers;
        let ratios = [row.p50_ratio, row.p99_ratio, row.rate_ratio].map(|ratio| spread(ratio, 2));
        let [p50_ratio, p99_ratio, rate_ratio] = ratios;
        let counts = [row.callers, row.calls, row.failed].map(|count| count.to_string());
        let [callers, calls, failed] = counts;
        let what = row.what.to_owned();
        line(f, [callers, what, p50, p99, rate, calls, failed, p50_ratio, p99_ratio, rate_ratio])?;
        if let Some(error) = &row.error {
            writeln!(f, "         last failure: {error}")?;
        }
    }
    Ok(())
}

fn line(f: &mut fmt::Formatter<'_>, cells: [String; 10]) -> fmt::Result {
    let [callers, what, p50, p99, rate, calls, failed, p50_ratio, p99_ratio, rate_ratio] = cells;
    writeln!(
        f,
        "{callers:>7}  {what:<26} {p50:>21} {p99:>22} {rate:>17} {calls:>6} {failed:>6} {p50_ratio:>17} {p99_ratio:>18} {rate_ratio:>17}"
    )
}

fn spread(spread: Spread, digits: usize) -> String {
    format!("{spread:.digits$}")
}

pub(crate) fn resident(f: &mut fmt::Formatter<'_>, what: &str, when: &str, memory: &Memory) -> fmt::Result {
    let Memory { broker_kib, helpers, helpers_kib, commands } = memory;
    let sum = broker_kib + helpers_kib;
    writeln!(
        f,
        "  {what:<16} {when:<22} {sum:>7} = broker {broker_kib} + {helpers} helpers {helpers_kib}; {commands} commands"
    )
}
