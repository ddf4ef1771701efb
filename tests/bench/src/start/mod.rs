//! What starts cost: a broker that its first caller starts, through the units that users have, from the
//! connection to the answer; and the client program up to where it would connect. Each beside the least
//! program that does the same, in rounds that alternate. To be run as a service of a user's manager.

mod client;
mod gate;

use std::io;
use std::path::PathBuf;

use clap::Args as Arguments;

use crate::sample::{Rounds, Spread};
use crate::table::{Line, Part};

use gate::{Asked, Gate};

/// Measures starts with the manager of this user.
#[derive(Debug, Arguments)]
pub struct Args {
    /// The client
    #[arg(long, value_name = "PATH", default_value = "sluicify")]
    pub client: PathBuf,
    /// The least program, of `floor.rs`
    #[arg(long, value_name = "PATH")]
    pub floor: PathBuf,
    /// Starts of each broker
    #[arg(long, default_value_t = 15)]
    pub starts: usize,
    /// Rounds of one slice for each program
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Longest time of one slice, in ms
    #[arg(long, default_value_t = 200)]
    pub slice_ms: u64,
    /// Rules where there are many
    #[arg(long, default_value_t = 10_000)]
    pub rules: usize,
    /// Records where there are many
    #[arg(long, default_value_t = 100_000)]
    pub records: u64,
}

/// How the rows name what is started instead.
const FLOOR: &str = "least program";

/// Measures everything.
pub fn run(args: &Args) -> io::Result<Part> {
    let brokers = if Gate::can_be()? {
        Part { lines: brokers(args)?, ..Part::default() }
    } else {
        let note = "not measured: starts of brokers: sluice's units are not installed".to_owned();
        Part { notes: vec![note], ..Part::default() }
    };
    Ok(brokers.and(client::run(args)?))
}

/// A broker of each kind, started again and again by a caller, in turn with the least program.
fn brokers(args: &Args) -> io::Result<Vec<Line>> {
    let least = Gate::least(&args.floor)?;
    let (few, many) = (Gate::new("few", 3)?, Gate::new("many", args.rules)?);
    let (closed, unmarked) = (Gate::new("closed", 3)?, Gate::new("unmarked", 3)?);
    closed.write_history(args.records)?;
    unmarked.write_history(args.records)?;
    let (rules, records) = (args.rules, args.records);
    let rows = [
        (FLOOR.to_owned(), &least, Asked::Call),
        ("start by a caller, to its listing".to_owned(), &few, Asked::Listing),
        ("start by a caller, to its call's end".to_owned(), &few, Asked::Call),
        (format!("the same, {rules} rules"), &many, Asked::Call),
        (format!("the same, {records} records"), &closed, Asked::Call),
        (format!("the same, {records} records, no mark"), &unmarked, Asked::Call),
    ];
    // What was written has no broker behind it yet: each has one, once.
    rows.iter().try_for_each(|(_, gate, asked)| gate.start(*asked).map(drop))?;
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for _ in 0..args.starts {
        unmarked.stop()?;
        unmarked.remove_mark()?;
        rounds.push(rows.iter().map(|(_, gate, asked)| gate.start(*asked)).collect::<io::Result<_>>()?);
    }
    let figure = |at: usize| Spread::of(rounds.iter().map(|round| round[at]));
    let ratio = |at: usize| Spread::of(rounds.iter().map(|round| round[at] / round[0]));
    let line = |at: usize| Line::new(rows[at].0.as_str(), "ms", figure(at)).over(FLOOR, figure(0), ratio(at));
    Ok((1..rows.len()).map(line).collect())
}

/// A figure of a program beside that of the least one.
fn over(rounds: &Rounds, what: &str, name: &str, floor: &'static str) -> Line {
    rounds.line(what, name, floor, crate::sample::Figure::P50)
}
