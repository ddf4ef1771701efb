//! Everything that was measured of calls, for looking closer: all rows, processor time, memory.

use std::fmt;

use serde::Serialize;

use crate::calls::{Args, SCOPE};
use crate::cpu::Shares;
use crate::figures::Figures;
use crate::memory::Memory;
use crate::report::{resident, rows};
use crate::sample::Row;
use crate::table::{self, Part};

/// One run of `calls`.
#[derive(Debug, Serialize)]
pub struct Details {
    processors: usize,
    rounds: usize,
    pause_ms: u64,
    /// One call after the other, in turn with the bare command, one at a time with rests, programs, many
    /// callers. Ratios are to the first row of each.
    single: Vec<Row>,
    turns: Vec<Row>,
    paced: Vec<Row>,
    programs: Vec<Row>,
    many: Vec<Row>,
    /// Processor time of a call.
    shares_us: Vec<(&'static str, Shares)>,
    /// The broker whose calls are in scopes, with its nursery and what is parked.
    memory: Vec<Resident>,
    /// The lines of the table.
    #[serde(flatten)]
    pub part: Part,
}

/// The resident memory of the broker at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Resident {
    /// When.
    pub when: &'static str,
    /// The same for the table, when the broker is idle then, which has a budget.
    pub idle: Option<&'static str>,
    /// How much.
    pub memory: Memory,
}

impl Details {
    /// The details of these figures.
    pub fn new(
        processors: usize,
        args: &Args,
        figures: Figures,
        shares_us: Vec<(&'static str, Shares)>,
    ) -> Self {
        Self {
            processors,
            rounds: args.rounds,
            pause_ms: args.pause_ms,
            single: figures.single.rows(),
            turns: figures.turns.rows(),
            paced: figures.paced.rows(),
            programs: figures.programs.rounds.rows(),
            many: figures.many.rows(),
            shares_us,
            part: figures.part(args),
            memory: figures.memory,
        }
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processors, rounds, pause_ms, .. } = self;
        writeln!(f, "{processors} processors, medians of {rounds} interleaved rounds (least-most)")?;
        rows(f, "one call of /bin/true after the other", &self.single)?;
        rows(f, "the same, in turn: bare and without a scope, bare and in one", &self.turns)?;
        rows(f, &format!("one at a time, {pause_ms} ms between"), &self.paced)?;
        rows(f, "a program started for each call", &self.programs)?;
        rows(f, "many callers", &self.many)?;
        writeln!(f, "\nprocessor time of one call, us")?;
        self.shares_us.iter().try_for_each(|(what, one)| shares(f, what, one))?;
        writeln!(f, "\nresident memory, KiB (shared pages counted in each process)")?;
        self.memory.iter().try_for_each(|one| resident(f, SCOPE, one.when, &one.memory))?;
        writeln!(f)?;
        table::lines(f, &self.part.lines)
    }
}

fn shares(f: &mut fmt::Formatter<'_>, what: &str, shares: &Shares) -> fmt::Result {
    let Shares { manager, bus, journal, broker, nursery, adapters, commands } = shares;
    let sum = manager + bus + journal + broker + nursery + adapters + commands;
    writeln!(
        f,
        "  {what:<19} {sum:>6.0} = broker {broker:.0} + nursery {nursery:.0} + adapters {adapters:.0} + launcher and command {commands:.0} + journal {journal:.0} + manager {manager:.0} + bus {bus:.0}"
    )
}
