//! The figures as a table, or as one JSON object.

use std::fmt;

use serde::Serialize;

use crate::budget::Budget;
use crate::memory::{Memory, mib};
use crate::sample::{Row, Spread};

/// How the rows name this project's broker, and its client.
pub const OURS: &str = "sluice";
/// See [`OURS`].
pub const CLIENT: &str = "sluicify";
/// The broker that this one is compared with. Whether its calls fail is its own affair.
pub const PEER: &str = "sluicify 0.4.1";

/// Everything one run of `roundtrip` measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Processors that this run may use.
    pub processors: usize,
    /// Rounds behind each row.
    pub rounds: usize,
    /// Calls from a program that is already running.
    pub calls: Vec<Row>,
    /// A client program started for each call.
    pub programs: Vec<Row>,
    /// Resident memory of each broker.
    pub memory: Vec<Resident>,
    /// This project's figures beside their budgets.
    pub budgets: Vec<Budget>,
}

/// The resident memory of one broker at three moments.
#[derive(Debug, Serialize)]
pub struct Resident {
    /// The broker's name.
    pub what: &'static str,
    /// Before its first call.
    pub fresh: Memory,
    /// After the calls of this run, none running.
    pub idle: Memory,
    /// While calls run.
    pub running: Memory,
}

impl Report {
    /// The report with its budgets, as far as it has the figures.
    pub fn with_budgets(mut self) -> Self {
        let call = figure(&self.calls, OURS, 1, |row| row.p50_ratio);
        let rate = figure(&self.calls, OURS, 16, |row| row.rate_ratio);
        let program = figure(&self.programs, CLIENT, 1, |row| row.p50_ratio);
        let idle = self.memory.iter().find(|memory| memory.what == OURS).map(|memory| memory.idle);
        let figures = [
            call.map(|ratio| {
                Budget::at_most("p50 of a call over that of posix_spawn, 1 caller", ratio, 1.25)
            }),
            rate.map(|ratio| {
                Budget::at_least("rate of calls over that of posix_spawn, 16 callers", ratio, 0.7)
            }),
            program
                .map(|ratio| Budget::at_most("p50 of the client program over running directly", ratio, 2.5)),
            idle.map(|idle| Budget::at_most("idle broker, MiB", mib(idle.broker_kib), 8.0)),
            idle.map(|idle| {
                Budget::at_most(
                    "the same with its helpers, MiB",
                    mib(idle.broker_kib + idle.helpers_kib),
                    16.0,
                )
            }),
        ];
        self.budgets = figures.into_iter().flatten().collect();
        self
    }

    /// Calls that did not end with status 0, in the rows of all but the peer.
    pub fn failed(&self) -> usize {
        let rows = self.calls.iter().chain(&self.programs).filter(|row| row.what != PEER);
        rows.map(|row| row.failed).sum()
    }
}

pub(crate) fn figure(rows: &[Row], what: &str, callers: usize, pick: fn(&Row) -> Spread) -> Option<f64> {
    rows.iter().find(|row| row.what == what && row.callers == callers).map(|row| pick(row).median)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} processors, medians of {} interleaved rounds (least to most)",
            self.processors, self.rounds
        )?;
        rows(f, "a call of /bin/true from a running program", &self.calls)?;
        rows(f, "a program started for each call", &self.programs)?;
        memory(f, &self.memory)?;
        writeln!(f, "\nagainst the budgets, which speak of an idle machine")?;
        self.budgets.iter().try_for_each(|budget| writeln!(f, "{budget}"))
    }
}

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
        "{callers:>7}  {what:<19} {p50:>21} {p99:>22} {rate:>17} {calls:>6} {failed:>6} {p50_ratio:>17} {p99_ratio:>18} {rate_ratio:>17}"
    )
}

fn spread(spread: Spread, digits: usize) -> String {
    format!("{spread:.digits$}")
}

fn memory(f: &mut fmt::Formatter<'_>, brokers: &[Resident]) -> fmt::Result {
    writeln!(f, "\nresident memory, KiB (shared pages counted in each process)")?;
    for Resident { what, fresh, idle, running } in brokers {
        for (when, memory) in [("fresh", fresh), ("idle after the calls", idle), ("running", running)] {
            resident(f, what, when, memory)?;
        }
    }
    Ok(())
}

pub(crate) fn resident(f: &mut fmt::Formatter<'_>, what: &str, when: &str, memory: &Memory) -> fmt::Result {
    let Memory { broker_kib, helpers, helpers_kib, commands } = memory;
    let sum = broker_kib + helpers_kib;
    writeln!(
        f,
        "  {what:<16} {when:<22} {sum:>7} = broker {broker_kib} + {helpers} helpers {helpers_kib}; {commands} commands"
    )
}
