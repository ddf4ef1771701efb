//! The benchmark: `run` measures all that has a budget, the others look closer at one thing. It exits with 1
//! when a budget is not held or a call failed, with 2 when it could not measure.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;
use sluice_bench::{calls, capture, confined, decision, instructions, queries, run, scale, start, sync};

/// Measures what calls, rules and captures cost.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All budgets in one table
    Run(run::Args),
    /// Calls, with a manager: all rows, processor time, memory
    Calls(calls::Args),
    /// Brokers that their first callers start, and the client's own start
    Start(start::Args),
    /// Decisions among few and many rules, and loading many
    Decision(decision::Args),
    /// Captured streams against tee
    Capture(capture::Args),
    /// Calls and work under each built-in profile, against unconfined ones
    Confined(confined::Args),
    /// `sync = yes` against `sync = no`
    Sync(sync::Args),
    /// `sluice log` and `sluice verify` over a long manifest
    History(queries::Args),
    /// A fresh call, and what the broker holds, beside many of each thing
    Scale(scale::Args),
    /// Instructions of decode, match and record, with valgrind
    Count(instructions::Args),
}

fn main() -> ExitCode {
    let Args { what, json } = Args::parse();
    let is_good = match &what {
        What::Run(args) => run::run(args).and_then(|report| shown(&report, json, report.part.is_good())),
        What::Calls(args) => calls::run(args).and_then(|report| shown(&report, json, report.part.is_good())),
        What::Start(args) => start::run(args).and_then(|part| shown(&part, json, part.is_good())),
        What::Decision(decision::Args { load: Some(rules), shape: Some(shape), .. }) => {
            decision::load_once(*shape, *rules).and_then(|load| shown(&load, true, true))
        }
        What::Decision(args) => {
            decision::run(args).and_then(|report| shown(&report, json, report.part.is_good()))
        }
        What::Capture(capture::Args { role: Some(role), .. }) => capture::play(*role).map(|()| true),
        What::Capture(args) => capture::run(args).and_then(|part| shown(&part, json, part.is_good())),
        What::Confined(args @ confined::Args { open: Some(file), .. }) => {
            confined::open_many(args, file).map(|()| true)
        }
        What::Confined(args) => confined::run(args).and_then(|part| shown(&part, json, part.is_good())),
        What::Sync(args) => sync::run(args).and_then(|report| shown(&report, json, report.is_good())),
        What::History(args) => {
            queries::run(args).and_then(|report| shown(&report, json, report.part.is_good()))
        }
        What::Scale(args) => scale::run(args).and_then(|report| shown(&report, json, report.failed() == 0)),
        What::Count(instructions::Args { work: Some(work), rounds: Some(rounds), .. }) => {
            instructions::work(*work, *rounds).map(|()| true)
        }
        What::Count(args) => instructions::count(args).and_then(|report| shown(&report, json, true)),
    };
    match is_good {
        Ok(is_good) => ExitCode::from(u8::from(!is_good)),
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn shown(report: &(impl Display + Serialize), json: bool, is_good: bool) -> io::Result<bool> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{report}");
    }
    Ok(is_good)
}
