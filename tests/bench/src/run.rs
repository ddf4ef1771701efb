//! All budgets in one table. What needs systemd is measured by this program started again, in a machine that
//! has one; the rest is measured here.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use clap::Args as Arguments;
use serde::Serialize;

use crate::table::Part;
use crate::{capture, decision};

/// Measures everything that has a budget, and what one would use instead.
#[derive(Debug, Arguments)]
pub struct Args {
    /// The project's directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// The broker
    #[arg(long, value_name = "PATH", default_value = "sluice")]
    broker: PathBuf,
    /// Its client
    #[arg(long, value_name = "PATH", default_value = "sluicify")]
    client: PathBuf,
    /// The least program, of `floor.rs`
    #[arg(long, value_name = "PATH")]
    floor: PathBuf,
    /// The broker to compare with, and its client
    #[arg(long, num_args = 2, value_names = ["BROKER", "CLIENT"])]
    peer: Vec<PathBuf>,
    /// A run of less than a minute, for a first look
    #[arg(long)]
    quick: bool,
}

/// One run.
#[derive(Debug, Serialize)]
pub struct Report {
    processors: usize,
    kernel: String,
    rounds: usize,
    /// Where captures were written.
    captures: PathBuf,
    /// What it measured.
    #[serde(flatten)]
    pub part: Part,
}

/// How much work a run is.
struct Effort {
    rounds: usize,
    slice_ms: u64,
    turns: usize,
    batches: usize,
    loads: usize,
    capture_rounds: usize,
    starts: usize,
}

const FULL: Effort =
    Effort { rounds: 7, slice_ms: 500, turns: 4000, batches: 50, loads: 5, capture_rounds: 41, starts: 15 };
const QUICK: Effort =
    Effort { rounds: 3, slice_ms: 200, turns: 1000, batches: 10, loads: 1, capture_rounds: 11, starts: 5 };

/// Streams are short and many. A host may take memory back that a virtual machine does not use, and gives it
/// again page by page: of a stream of 256 MiB that can be most of the time.
const CAPTURE_MIB: u64 = 32;

/// Measures everything.
pub fn run(args: &Args) -> io::Result<Report> {
    let effort = if args.quick { QUICK } else { FULL };
    eprintln!("bench: calls, in a machine with systemd");
    let calls = calls(args, &effort)?;
    eprintln!("bench: starts, in another one");
    let starts = starts(args, &effort)?;
    eprintln!("bench: decisions and loads");
    let (batches, loads) = (effort.batches, effort.loads);
    let rules = decision::run(&decision::Args { batches, loads, load: None, shape: None })?;
    eprintln!("bench: captures");
    let dir = std::env::temp_dir();
    let captures = capture::run(&capture::Args {
        role: None,
        broker: args.broker.clone(),
        client: args.client.clone(),
        peer: args.peer.clone(),
        dir: dir.clone(),
        mib: CAPTURE_MIB,
        rounds: effort.capture_rounds,
    })?;
    Ok(Report {
        processors: available_parallelism().map_or(0, usize::from),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        rounds: effort.rounds,
        captures: dir,
        part: calls.and(starts).and(rules.part).and(captures),
    })
}

/// Calls, in a machine with systemd.
fn calls(args: &Args, effort: &Effort) -> io::Result<Part> {
    let mut words = vec!["calls".into(), "--cpu-calls=0".into()];
    words.extend([format!("--rounds={}", effort.rounds), format!("--slice-ms={}", effort.slice_ms)]);
    words.push(format!("--turns={}", effort.turns));
    if !args.peer.is_empty() {
        words.push("--peer".into());
        words.extend(args.peer.iter().map(|path| path.display().to_string()));
    }
    in_machine(args, &words)
}

/// Starts, in a machine with systemd.
fn starts(args: &Args, effort: &Effort) -> io::Result<Part> {
    let floor = format!("--floor={}", args.floor.display());
    in_machine(args, &["start".into(), floor, format!("--starts={}", effort.starts)])
}

/// A part that a machine with systemd measures. Its programs are those of the release build, which it has
/// installed.
fn in_machine(args: &Args, words: &[String]) -> io::Result<Part> {
    let mut boot = Command::new(args.root.join("tests/machine/boot"));
    boot.arg("--service").arg(std::env::current_exe()?).args(words).arg("--json");
    boot.arg("--client").arg(&args.client);
    let done = boot.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    // It ends with 1 when a budget is not held; without an object, nothing was measured.
    let object = said.lines().find_map(|line| serde_json::from_str(line).ok());
    object.ok_or_else(|| io::Error::other(format!("nothing was measured: {}", said.trim())))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processors, kernel, rounds, captures, part } = self;
        writeln!(
            f,
            "/bin/true on {processors} processors, Linux {kernel}; medians of {rounds} interleaved rounds (least-most)"
        )?;
        writeln!(
            f,
            "off, scope, delegate: what `scope` says in the rules; one running caller, unless told otherwise"
        )?;
        writeln!(
            f,
            "v2: version 2 of the wire, without scopes; kept: on one connection; 0.4.1 on ours: its client, in version 1\nbare scopes: StartTransientUnit and no broker; captures and tee's file in {}\n",
            captures.display()
        )?;
        write!(f, "{part}")
    }
}
