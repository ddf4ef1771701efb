//! What a decision costs among few and many rules, and what loading many rules costs.

use std::fmt;
use std::io;
use std::process::{Command, ExitCode};

use clap::Parser;
use serde::Serialize;
use sluice_bench::budget::Budget;
use sluice_bench::decision::{BATCHES, Decision, Load, Shape, decide, load_once};
use sluice_bench::memory::mib;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// Times decisions among 10, 1,000 and 10,000 rules, and loads 10,000 in a fresh process.
#[derive(Debug, Parser)]
struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Load this many rules, print the cost as JSON, and do nothing else
    #[arg(long, value_name = "RULES", requires = "shape")]
    load: Option<usize>,
    /// What these rules have in common
    #[arg(long)]
    shape: Option<Shape>,
}

#[derive(Debug, Serialize)]
struct Report {
    decisions: Vec<Decision>,
    loads: Vec<Load>,
    budgets: Vec<Budget>,
}

impl Report {
    fn new(decisions: Vec<Decision>, loads: Vec<Load>) -> Self {
        let slowest = |rules| {
            let rows = decisions.iter().filter(|row| row.rules == rules);
            rows.map(|row| row.match_ns.median.max(row.miss_ns.median)).fold(0.0, f64::max)
        };
        let (few, many) = (slowest(SIZES[0]), slowest(SIZES[2]));
        let load_ms = loads.iter().map(|load| load.load_ms).fold(0.0, f64::max);
        let resident = loads.iter().map(|load| mib(load.resident_kib)).fold(0.0, f64::max);
        let budgets = vec![
            Budget::at_most("slowest decision among 10,000 rules, us", many / 1e3, 5.0),
            Budget::at_most("the same over that among 10", many / few, 2.0),
            Budget::at_most("slowest load of 10,000 rules, s", load_ms / 1e3, 0.5),
            Budget::at_most("largest of them, MiB", resident, 64.0),
        ];
        Self { decisions, loads, budgets }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("decision: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> io::Result<String> {
    if let (Some(rules), Some(shape)) = (args.load, args.shape) {
        return Ok(serde_json::to_string(&load_once(shape, rules)?)?);
    }
    let shapes = [Shape::Programs, Shape::Literals];
    let decisions = shapes.iter().flat_map(|&shape| SIZES.map(|rules| decide(shape, rules)));
    let loads =
        [Shape::Programs, Shape::Literals, Shape::Regexes].map(|shape| in_fresh_process(shape, 10_000));
    let decisions = decisions.collect::<io::Result<_>>()?;
    let report = Report::new(decisions, loads.into_iter().collect::<io::Result<_>>()?);
    if args.json { Ok(serde_json::to_string(&report)?) } else { Ok(report.to_string()) }
}

fn in_fresh_process(shape: Shape, rules: usize) -> io::Result<Load> {
    let shape = serde_json::to_value(shape)?;
    let shape = shape.as_str().expect("a shape is written as its name");
    let own = std::env::current_exe()?;
    let done = Command::new(own).args(["--load", &rules.to_string(), "--shape", shape]).output()?;
    if !done.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()));
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\none decision, ns (least to most of {BATCHES} batches)")?;
        self.decisions.iter().try_for_each(|decision| writeln!(f, "{decision}"))?;
        writeln!(f, "\nloading, each in a fresh process")?;
        self.loads.iter().try_for_each(|load| writeln!(f, "{load}"))?;
        writeln!(f, "\nagainst the budgets, which speak of an idle machine")?;
        self.budgets.iter().try_for_each(|budget| writeln!(f, "{budget}"))
    }
}
