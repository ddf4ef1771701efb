//! Which situations a run measures, and how.

use std::io;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use nix::unistd::geteuid;

use super::{Method, Report, SITUATIONS, row};

/// Measures a fresh call, and what the broker holds, beside many of each thing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The broker
    #[arg(long, value_name = "PATH")]
    broker: PathBuf,
    /// Only the situations whose name holds one of these
    #[arg(value_name = "SITUATION")]
    only: Vec<String>,
    /// Rounds of one slice for each of the two brokers
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Longest time of one slice, in ms
    #[arg(long, default_value_t = 400)]
    slice_ms: u64,
    /// How long the broker is watched while nobody calls, in ms
    #[arg(long, default_value_t = 2000)]
    idle_ms: u64,
}

/// Measures each situation that is wanted.
pub fn run(args: &Args) -> io::Result<Report> {
    let options: &[&str] = if geteuid().is_root() { &["--allow-root"] } else { &[] };
    let method = Method {
        program: &args.broker,
        options,
        rounds: args.rounds,
        slice: Duration::from_millis(args.slice_ms),
        idle: Duration::from_millis(args.idle_ms),
    };
    let mut rows = Vec::new();
    let is_wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| name.contains(only));
    for situation in SITUATIONS.iter().filter(|situation| is_wanted(situation.name)) {
        let [less, more] = situation.sizes;
        for size in if less == more { vec![more] } else { vec![less, more] } {
            eprintln!("scale: {size} {}", situation.name);
            rows.push(row(&method, situation, size)?);
        }
    }
    let processors = available_parallelism().map_or(0, usize::from);
    Ok(Report { processors, rounds: args.rounds, rows })
}
