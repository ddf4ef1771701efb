//! What a scope costs a call: against `posix_spawn` of the same command, against calls without a scope, and against what
//! the manager can do when nobody else is involved, in one run. To be run as a service of a user's manager.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use clap::Parser;
use sluice_bench::broker::Broker;
use sluice_bench::caller::Caller;
use sluice_bench::cpu;
use sluice_bench::manager::{Manager, Properties};
use sluice_bench::memory;
use sluice_bench::sample::{Bounds, Row, measure};
use sluice_bench::scopes::{BARE, FEWEST, OFF, REST, Report, Resident, SCOPE};
use sluice_bench::spawn::Line;
use sluice_bench::subject::Subject;

const COMMAND: &str = "/bin/true";
/// What shows that a subject runs commands at all.
const FALSE: &str = "/bin/false";
/// The scopes that are kept ahead are there by then.
const PARKED_IN: Duration = Duration::from_millis(500);
/// Slices with rests have so many times the time of the others.
const PACED_SLICES: u64 = 4;

/// Measures calls in transient scopes with the manager of this user.
#[derive(Debug, Parser)]
struct Args {
    /// The broker
    #[arg(long, value_name = "PATH", default_value = "sluice")]
    broker: PathBuf,
    /// Callers at once where there are many
    #[arg(long, default_value_t = 16)]
    callers: usize,
    /// Rounds of one slice for each subject
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Longest time of one slice, in ms
    #[arg(long, default_value_t = 500)]
    slice_ms: u64,
    /// Rest of a caller that rests between its calls, in ms
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
    /// Calls over which processor time is divided
    #[arg(long, default_value_t = 1000)]
    cpu_calls: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let report = match run(&args) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("scopes: {error}");
            return ExitCode::from(2);
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    } else {
        print!("{report}");
    }
    ExitCode::from(u8::from(!report.is_good()))
}

fn run(args: &Args) -> io::Result<Report> {
    let off = Broker::start("off", &args.broker, &[], "  scope = off\n")?;
    let scope = Broker::start("scope", &args.broker, &[], "  scope = require\n")?;
    let mut memory = vec![resident(&scope, "before its first call", false)?];
    called(&off)?;
    called(&scope)?;
    memory.push(resident(&scope, "after a call", true)?);
    let single = single(args, &off, &scope)?;
    let paced = paced(args, &off, &scope)?;
    let many = many(args, &off, &scope)?;
    memory.push(resident(&scope, "after a burst", false)?);
    let off_us = cpu::shares(&calls(&off, OFF)?, off.pid(), args.cpu_calls)?;
    let scope_us = cpu::shares(&calls(&scope, SCOPE)?, scope.pid(), args.cpu_calls)?;
    let processors = available_parallelism().map_or(0, usize::from);
    let (rounds, pause_ms, budgets) = (args.rounds, args.pause_ms, Vec::new());
    Ok(Report { processors, rounds, pause_ms, single, paced, many, off_us, scope_us, memory, budgets }
        .with_budgets())
}

/// That the broker runs commands.
fn called(broker: &Broker) -> io::Result<()> {
    Subject::brokered(SCOPE, Caller::new(&broker.socket(), &[FALSE])?).verify()
}

fn resident(broker: &Broker, when: &'static str, idle: bool) -> io::Result<Resident> {
    sleep(PARKED_IN);
    Ok(Resident { when, memory: memory::of_broker(broker.pid())?, idle })
}

fn calls(broker: &Broker, name: &'static str) -> io::Result<Subject> {
    Ok(Subject::brokered(name, Caller::new(&broker.socket(), &[COMMAND])?))
}

fn single(args: &Args, off: &Broker, scope: &Broker) -> io::Result<Vec<Row>> {
    let words = ["/usr/bin/systemd-run", "--user", "--scope", "--quiet", "--collect", COMMAND];
    let systemd_run = Line::new(&words)?.with(&["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"])?;
    let subjects = [
        Subject::direct("posix_spawn", &[COMMAND])?,
        calls(off, OFF)?,
        calls(scope, SCOPE)?,
        Subject::line("systemd-run --scope", systemd_run),
    ];
    Ok(measure(&subjects, 1, args.rounds, args.bounds()))
}

fn paced(args: &Args, off: &Broker, scope: &Broker) -> io::Result<Vec<Row>> {
    let subjects = [Subject::direct("posix_spawn", &[COMMAND])?, calls(off, OFF)?, calls(scope, SCOPE)?];
    let time = Duration::from_millis(PACED_SLICES * args.slice_ms);
    let bounds = Bounds { time, pause: Duration::from_millis(args.pause_ms), ..args.bounds() };
    Ok(measure(&subjects, 1, args.rounds, bounds))
}

fn many(args: &Args, off: &Broker, scope: &Broker) -> io::Result<Vec<Row>> {
    let manager = Manager::connect()?;
    let subjects = [
        Subject::in_scope(BARE, &manager, Properties::Brokers),
        Subject::in_scope(FEWEST, &manager, Properties::Fewest),
        calls(scope, SCOPE)?,
        calls(off, OFF)?,
        Subject::direct("posix_spawn", &[COMMAND])?,
    ];
    Ok(measure(&subjects, args.callers, args.rounds, args.bounds()))
}

impl Args {
    fn bounds(&self) -> Bounds {
        let time = Duration::from_millis(self.slice_ms);
        Bounds { time, calls: usize::MAX, pause: Duration::ZERO, rest: REST }
    }
}
