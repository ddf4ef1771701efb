//! From what the calls did to the lines of the table.

use std::io;

use crate::budget::Budget;
use crate::calls::{Args, BARE, DELEGATE, GROUPS, KEPT, OFF, PEER, SCOPE, SPAWN, SPAWN_BY_SCOPE, V2};
use crate::crowd::{CALLERS, CLIENTS, Crowd};
use crate::details::Resident;
use crate::first::FirstCalls;
use crate::memory::{Memory, mib};
use crate::programs::{CLIENT, DIRECT, PEER_CLIENT, Programs, V1_CLIENT};
use crate::sample::Figure::{P50, P99, Rate};
use crate::sample::{Figure, Rounds, Row, Spread, count};
use crate::table::{Beside, Line, Part, Way};

/// Everything that was measured of calls.
#[derive(Debug)]
pub struct Figures {
    /// One call after the other.
    pub single: Rounds,
    /// Calls in turn with the bare command: without a scope, and in one.
    pub turns: Rounds,
    /// One call after the other, with rests between.
    pub paced: Rounds,
    /// Programs that are started, one after the other.
    pub programs: Programs,
    /// Many callers.
    pub many: Rounds,
    /// A thousand callers on each broker.
    pub crowds: Vec<Crowd>,
    /// First calls of sockets.
    pub first: FirstCalls,
    /// The broker whose calls are in scopes, at several moments.
    pub memory: Vec<Resident>,
    /// The peer after all of this.
    pub peer: Option<Memory>,
    /// Why the kernel's part of a group could not be measured.
    pub no_groups: Option<io::Error>,
}

impl Figures {
    /// The lines, the ways, and the peer.
    pub fn part(&self, args: &Args) -> Part {
        let mut lines = self.single_lines(args);
        lines.extend(self.many_lines(args));
        lines.extend(self.version_2_lines(args));
        lines.extend(self.group_lines(args));
        lines.extend(self.crowds.iter().filter(|crowd| crowd.what != PEER).map(crowd_line));
        lines.push(self.failed_line());
        lines.extend(self.memory_lines());
        lines.extend(self.first.lines());
        let beside = self.peer.map_or_else(Vec::new, |peer| self.beside(args, &peer));
        let no_groups = self.no_groups.iter().map(|error| format!("not measured: {GROUPS}: {error}"));
        let left_out = self.programs.left_out.iter().cloned().chain(no_groups);
        let notes = left_out.chain(self.failures()).collect();
        Part { lines, ways: self.ways(), notes, beside }
    }

    fn single_lines(&self, args: &Args) -> Vec<Line> {
        let Self { single, turns, paced, programs, .. } = self;
        let rests = |way, figure| format!("{way}, {} ms between calls, {figure}", args.pause_ms);
        let (scope, tail) = (Budget::at_most(1.1), Budget::at_most(1.5));
        vec![
            single.line("off, call after call, p50", OFF, SPAWN, P50).within(Budget::at_most(1.25)),
            single.line("scope, call after call, p50", SCOPE, OFF, P50).within(scope),
            single.tail_line("scope, call after call, p99", SCOPE, OFF).within(tail),
            turns.line("off, in turn with it, p50", OFF, SPAWN, P50).within(Budget::at_most(1.25)),
            turns.line("scope, in turn with it, p50", SCOPE, OFF, P50).within(scope),
            turns.tail_line("scope, in turn with it, p99", SCOPE, OFF).within(tail),
            programs.rounds.line("off, by sluicify, p50", CLIENT, DIRECT, P50).within(Budget::at_most(2.5)),
            single.line("scope, call after call, p50", SCOPE, SPAWN, P50),
            turns.line("scope, in turn with it, p50", SCOPE, SPAWN_BY_SCOPE, P50),
            turns.line("the bare command beside scopes, p50", SPAWN_BY_SCOPE, SPAWN, P50),
            paced.line(&rests("off", "p50"), OFF, SPAWN, P50),
            paced.line(&rests("scope", "p50"), SCOPE, OFF, P50),
            paced.tail_line(&rests("scope", "p99"), SCOPE, OFF),
            single.line("delegate, call after call, p50", DELEGATE, OFF, P50),
            single.tail_line("delegate, call after call, p99", DELEGATE, OFF),
        ]
    }

    fn many_lines(&self, args: &Args) -> Vec<Line> {
        let line =
            |way, name, floor| self.many.line(&format!("{way}, {} callers", args.callers), name, floor, Rate);
        vec![
            line("off", OFF, SPAWN).within(Budget::at_least(0.7)),
            line("scope", SCOPE, OFF).within(Budget::at_least(0.9)),
            line("delegate", DELEGATE, OFF),
            line("scope", SCOPE, BARE),
        ]
    }

    /// Calls of version 2 beside those of version 1.
    fn version_2_lines(&self, args: &Args) -> Vec<Line> {
        let Self { single, many, programs, .. } = self;
        let one = |way, name| single.line(&format!("{way}, call after call, p50"), name, OFF, P50);
        let several = |way, name| many.line(&format!("{way}, {} callers", args.callers), name, OFF, Rate);
        let mut lines = vec![
            one("v2", V2),
            one("v2 kept", KEPT),
            single.tail_line("v2 kept, call after call, p99", KEPT, OFF),
            several("v2", V2),
            several("v2 kept", KEPT),
        ];
        lines.extend([V2, KEPT].into_iter().filter_map(|name| self.crowd_beside(name, OFF)));
        if programs.rounds.has(V1_CLIENT) {
            lines.push(programs.rounds.line("v2, by sluicify, p50", CLIENT, V1_CLIENT, P50));
        }
        lines
    }

    /// How long a crowd takes, beside another one.
    fn crowd_beside(&self, name: &str, floor: &'static str) -> Option<Line> {
        let crowd = |name| self.crowds.iter().find(|crowd| crowd.what == name);
        let (ours, below) = (crowd(name)?, crowd(floor)?);
        let line = Line::new(format!("{}, {CALLERS} callers at once", ours.way()), "s", ours.seconds());
        Some(line.over(floor, below.seconds(), ours.seconds_over(below)))
    }

    /// Calls beside what the kernel takes for their groups.
    fn group_lines(&self, args: &Args) -> Vec<Line> {
        if !self.many.has(GROUPS) {
            return Vec::new();
        }
        let many =
            |way, name, floor| self.many.line(&format!("{way}, {} callers", args.callers), name, floor, Rate);
        vec![
            self.single.line("bare groups, one after the other, p50", GROUPS, SPAWN, P50),
            many("bare groups", GROUPS, SPAWN),
            many("scope", SCOPE, GROUPS),
            many("delegate", DELEGATE, GROUPS),
        ]
    }

    /// Calls of all rows but the crowds' that did not end with status 0. The peer's are its own affair.
    fn failed_line(&self) -> Line {
        let failed = Spread::one(count(self.rows().iter().map(|row| row.failed).sum()));
        Line::new("all other calls, failures", "calls", failed).within(Budget::at_most(0.0))
    }

    /// The last failure of each row that has one.
    fn failures(&self) -> impl Iterator<Item = String> {
        let rows = self.rows().into_iter().filter_map(|row| {
            row.error.map(|error| format!("{}, {} callers: the last failure: {error}", row.what, row.callers))
        });
        self.crowds.iter().filter_map(Crowd::note).chain(rows)
    }

    fn rows(&self) -> Vec<Row> {
        let rows = [&self.single, &self.turns, &self.paced, &self.programs.rounds, &self.many];
        let rows = rows.into_iter().flat_map(Rounds::rows);
        rows.filter(|row| ![PEER, PEER_CLIENT].contains(&row.what)).collect()
    }

    fn memory_lines(&self) -> Vec<Line> {
        let idle = self.memory.iter().filter_map(|one| Some((one.idle?, one.memory)));
        idle.flat_map(|(when, memory)| {
            let parked = Spread::one(mib(memory.broker_kib + memory.helpers_kib));
            let broker = Spread::one(mib(memory.broker_kib));
            [
                Line::new(format!("idle broker, {when}"), "MiB", broker).within(Budget::at_most(8.0)),
                Line::new("the same, with parked processes", "MiB", parked).within(Budget::at_most(16.0)),
            ]
        })
        .collect()
    }

    fn ways(&self) -> Vec<Way> {
        let rows = self.programs.rounds.rows();
        let way = |row: Row| Way {
            what: row.what.to_owned(),
            p50_ms: row.p50_ms,
            p99_ms: row.p99_ms,
            rate: row.rate,
            ratio: row.p50_ratio,
        };
        rows.into_iter().map(way).collect()
    }

    fn beside(&self, args: &Args, peer: &Memory) -> Vec<Beside> {
        let two = |rounds: &Rounds, what: &str, figure: Figure, ours, theirs| Beside {
            what: what.to_owned(),
            unit: if figure == Rate { "calls/s" } else { "ms" }.to_owned(),
            ours: rounds.figure(ours, figure),
            theirs: rounds.figure(theirs, figure),
        };
        let mut beside = vec![
            two(&self.single, "off, call after call, p50", P50, OFF, PEER),
            two(&self.single, "off, call after call, p99", P99, OFF, PEER),
            two(&self.programs.rounds, "off, by the client program, p50", P50, CLIENT, PEER_CLIENT),
            two(&self.many, &format!("off, {} callers", args.callers), Rate, OFF, PEER),
        ];
        let crowd = |name| self.crowds.iter().find(|crowd| crowd.what == name);
        if let (Some(ours), Some(theirs)) = (crowd(OFF), crowd(PEER)) {
            let two = |what: String, unit: &str, pick: fn(&Crowd) -> Spread| Beside {
                what,
                unit: unit.to_owned(),
                ours: pick(ours),
                theirs: pick(theirs),
            };
            beside.push(two(format!("off, {CALLERS} callers at once"), "s", Crowd::seconds));
            beside.push(two(format!("failures, of {}", ours.calls), "calls", Crowd::failed));
        }
        let resident = |memory: &Memory| Spread::one(mib(memory.broker_kib + memory.helpers_kib));
        if let Some(last) = self.memory.last() {
            let (ours, theirs) = (resident(&last.memory), resident(peer));
            let what = "all its processes, idle".to_owned();
            beside.push(Beside { what, unit: "MiB".to_owned(), ours, theirs });
        }
        beside
    }
}

fn crowd_line(crowd: &Crowd) -> Line {
    let what = match crowd.what {
        CLIENTS => format!("off, {CALLERS} {CLIENTS} at once, failures"),
        _ => format!("{}, {CALLERS} callers at once, failures", crowd.way()),
    };
    Line::new(what, "calls", crowd.failed()).within(Budget::at_most(0.0))
}
