//! The figures of `scopes`: what a call costs in a scope of its own, as a table or as one JSON object.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::budget::Budget;
use crate::cpu::Shares;
use crate::memory::{Memory, mib};
use crate::report::{figure, resident, rows};
use crate::sample::{Row, Spread};

/// How the rows name a call in a transient scope.
pub const SCOPE: &str = "sluice, scope";
/// See [`SCOPE`]: a call without one.
pub const OFF: &str = "sluice, scope = off";
/// A process in a scope without a broker, with the properties that the broker gives.
pub const BARE: &str = "StartTransientUnit";
/// The same with nothing but the process.
pub const FEWEST: &str = "the same, no more";

/// Before a slice: the manager and the journal have ended what the one before it left them to do.
pub const REST: Duration = Duration::from_millis(100);

/// Everything one run of `scopes` measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Processors that this run may use.
    pub processors: usize,
    /// Rounds behind each row.
    pub rounds: usize,
    /// How long a caller that rests does so, in ms.
    pub pause_ms: u64,
    /// One call after the other; over `posix_spawn`.
    pub single: Vec<Row>,
    /// One call at a time, with a rest between; over `posix_spawn`.
    pub paced: Vec<Row>,
    /// Many callers; over [`BARE`].
    pub many: Vec<Row>,
    /// Processor time of a call, without a scope.
    pub off_us: Shares,
    /// The same in one.
    pub scope_us: Shares,
    /// The broker whose calls are in scopes, with its nursery and what is parked.
    pub memory: Vec<Resident>,
    /// The figures beside their budgets.
    pub budgets: Vec<Budget>,
}

/// The resident memory of the broker at one moment.
#[derive(Debug, Serialize)]
pub struct Resident {
    /// When.
    pub when: &'static str,
    /// How much.
    pub memory: Memory,
    /// Whether the budget of an idle broker is meant for this moment.
    pub idle: bool,
}

impl Report {
    /// The report with its budgets.
    pub fn with_budgets(mut self) -> Self {
        let of = |rows: &[Row], callers, pick: fn(&Row) -> Spread| {
            figure(rows, SCOPE, callers, pick).expect("scopes are measured")
        };
        let callers = self.many.first().map_or(0, |row| row.callers);
        self.budgets = vec![
            Budget::at_most(
                "p50 of a call over posix_spawn, 1 caller",
                of(&self.single, 1, |row| row.p50_ratio),
                1.6,
            ),
            Budget::at_most(
                "p99 of a call over posix_spawn, 1 caller",
                of(&self.single, 1, |row| row.p99_ratio),
                4.0,
            ),
            Budget::at_most(
                "p50 of a call over posix_spawn, rests between",
                of(&self.paced, 1, |row| row.p50_ratio),
                1.6,
            ),
            Budget::at_most(
                "p99 of a call over posix_spawn, rests between",
                of(&self.paced, 1, |row| row.p99_ratio),
                4.0,
            ),
            Budget::at_least(
                "rate over bare StartTransientUnit, many callers",
                of(&self.many, callers, |row| row.rate_ratio),
                0.9,
            ),
        ];
        for Resident { memory, .. } in self.memory.iter().filter(|resident| resident.idle) {
            let sum = memory.broker_kib + memory.helpers_kib;
            self.budgets.push(Budget::at_most("idle broker, MiB", mib(memory.broker_kib), 8.0));
            self.budgets.push(Budget::at_most("the same with its helpers, MiB", mib(sum), 16.0));
        }
        self
    }

    /// Whether every call ended well and every budget is held.
    pub fn is_good(&self) -> bool {
        let rows = [&self.single, &self.paced, &self.many];
        rows.into_iter().flatten().all(|row| row.failed == 0) && self.budgets.iter().all(Budget::holds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processors, rounds, pause_ms, .. } = self;
        writeln!(f, "{processors} processors, medians of {rounds} interleaved rounds (least to most)")?;
        rows(f, "one call of /bin/true after the other", &self.single)?;
        rows(f, &format!("one at a time, {pause_ms} ms between"), &self.paced)?;
        rows(f, "many callers", &self.many)?;
        writeln!(f, "\nprocessor time of one call, us")?;
        shares(f, OFF, &self.off_us)?;
        shares(f, SCOPE, &self.scope_us)?;
        writeln!(f, "\nresident memory, KiB (shared pages counted in each process)")?;
        self.memory.iter().try_for_each(|one| resident(f, SCOPE, one.when, &one.memory))?;
        writeln!(f, "\nagainst the budgets, which speak of an idle machine")?;
        self.budgets.iter().try_for_each(|budget| writeln!(f, "{budget}"))
    }
}

fn shares(f: &mut fmt::Formatter<'_>, what: &str, shares: &Shares) -> fmt::Result {
    let Shares { manager, bus, journal, broker, nursery, commands } = shares;
    let sum = manager + bus + journal + broker + nursery + commands;
    writeln!(
        f,
        "  {what:<19} {sum:>6.0} = broker {broker:.0} + nursery {nursery:.0} + launcher and command {commands:.0} + journal {journal:.0} + manager {manager:.0} + bus {bus:.0}"
    )
}
