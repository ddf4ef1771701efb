//! What a brokered call costs: against `posix_spawn` of the same command, and against another broker, in one run.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Parser;
use nix::unistd::geteuid;
use sluice_bench::args::Args;
use sluice_bench::broker::Broker;
use sluice_bench::caller::Caller;
use sluice_bench::memory::{self, Memory};
use sluice_bench::report::{CLIENT, OURS, PEER, Report, Resident};
use sluice_bench::sample::{Row, measure};
use sluice_bench::subject::Subject;

const COMMAND: &str = "/bin/true";
/// What shows that a subject runs commands at all.
const FALSE: &str = "/bin/false";
/// Calls that run at once when memory is measured: what a socket allows by default.
const RUNNING_CALLS: usize = 64;

fn main() -> ExitCode {
    let args = Args::parse();
    let report = match run(&args) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("roundtrip: {error}");
            return ExitCode::from(2);
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    } else {
        print!("{report}");
    }
    ExitCode::from(u8::from(report.failed() > 0))
}

/// A broker of the run, and what it held before its first call.
struct Bench {
    what: &'static str,
    program: &'static str,
    broker: Broker,
    fresh: Memory,
}

fn run(args: &Args) -> io::Result<Report> {
    let mut brokers = Vec::new();
    // Ours has to be told that root is meant; the other one does not ask.
    let as_root: &[&str] = if geteuid().is_root() { &["--allow-root"] } else { &[] };
    let given = [(OURS, CLIENT, &args.broker, as_root), (PEER, PEER, &args.peer_broker, &[])];
    for (what, program, path, options) in given {
        if let Some(path) = path {
            let broker = Broker::start(&what.replace(' ', "-"), path, options, "")?;
            let fresh = memory::of_broker(broker.pid())?;
            brokers.push(Bench { what, program, broker, fresh });
        }
    }
    let report = Report {
        processors: available_parallelism().map_or(0, usize::from),
        rounds: args.rounds,
        calls: calls(args, &brokers)?,
        programs: programs(args, &brokers)?,
        memory: brokers.iter().map(resident).collect::<io::Result<_>>()?,
        budgets: Vec::new(),
    };
    Ok(report.with_budgets())
}

fn calls(args: &Args, brokers: &[Bench]) -> io::Result<Vec<Row>> {
    let mut subjects = vec![Subject::direct("posix_spawn", &[COMMAND])?];
    for bench in brokers {
        let subject = |command| {
            Ok::<_, io::Error>(Subject::brokered(
                bench.what,
                Caller::new(&bench.broker.socket(), &[command])?,
            ))
        };
        subject(FALSE)?.verify()?;
        subjects.push(subject(COMMAND)?);
    }
    let rows =
        args.callers.iter().flat_map(|&callers| measure(&subjects, callers, args.rounds, args.bounds()));
    Ok(rows.collect())
}

fn programs(args: &Args, brokers: &[Bench]) -> io::Result<Vec<Row>> {
    let mut subjects = vec![Subject::direct(COMMAND, &[COMMAND])?];
    for bench in brokers {
        let client = if bench.what == OURS { &args.client } else { &args.peer_client };
        if let Some(client) = client {
            let socket = bench.broker.socket();
            let subject = |command| Subject::direct(bench.program, &[utf8(client)?, utf8(&socket)?, command]);
            subject(FALSE)?.verify()?;
            subjects.push(subject(COMMAND)?);
        }
    }
    Ok(measure(&subjects, 1, args.rounds, args.bounds()))
}

fn resident(bench: &Bench) -> io::Result<Resident> {
    let Bench { what, broker, fresh, .. } = bench;
    let idle = memory::of_broker(broker.pid())?;
    let running = memory::while_running(broker.pid(), &broker.socket(), RUNNING_CALLS)?;
    Ok(Resident { what, fresh: *fresh, idle, running })
}

fn utf8(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other(format!("not UTF-8: {}", path.display())))
}
