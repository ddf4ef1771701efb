//! The client program up to where it would connect: a run that finds no socket, beside the least program and
//! the command itself; and its system calls until then, where strace is there to count them.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::programs::find;
use crate::sample::{Bounds, Rounds, Spread, count};
use crate::subject::Subject;
use crate::table::{Line, Part};

use super::{Args, FLOOR, over};

/// Nobody listens here, and nothing is looked for beside it.
const NOWHERE: &str = "/nowhere";
const COMMAND: &str = "/bin/true";
/// How the client says that there is no broker.
const UNREACHED: i32 = 125;
const CLIENT: &str = "sluicify, no socket";
const VERSION: &str = "sluicify --version";

/// Measures the client.
pub(super) fn run(args: &Args) -> io::Result<Part> {
    let (client, floor) = (find(&args.client)?, find(&args.floor)?);
    let subjects = [
        Subject::direct(FLOOR, &[&floor])?,
        Subject::direct(COMMAND, &[COMMAND])?,
        Subject::direct(CLIENT, &[&client, NOWHERE, COMMAND])?.ending(UNREACHED),
        Subject::direct(VERSION, &[&client, "--version"])?,
    ];
    let time = Duration::from_millis(args.slice_ms);
    let bounds = Bounds { time, calls: usize::MAX, pause: Duration::ZERO, rest: Duration::ZERO };
    let rounds = Rounds::run(&subjects, 1, args.rounds, bounds);
    let mut part = Part::default();
    part.lines.push(over(&rounds, CLIENT, CLIENT, FLOOR));
    part.lines.push(over(&rounds, CLIENT, CLIENT, COMMAND));
    part.lines.push(over(&rounds, VERSION, VERSION, FLOOR));
    let failed = rounds.rows().into_iter().filter_map(|row| Some(format!("{}: {}", row.what, row.error?)));
    part.notes.extend(failed);
    match (system_calls(&floor), system_calls(&client)) {
        (Ok(floor), Ok(client)) => part.lines.push(
            Line::new("sluicify, system calls to connect", "calls", Spread::one(client)).over(
                FLOOR,
                Spread::one(floor),
                Spread::one(client / floor),
            ),
        ),
        (Err(error), _) | (_, Err(error)) => {
            part.notes.push(format!("not counted: system calls of sluicify: {error}"));
        }
    }
    Ok(part)
}

/// System calls of a run, exec and its end included, or up to `connect`.
fn system_calls(program: &str) -> io::Result<f64> {
    let told = std::env::temp_dir().join(format!("sluice-bench-{}-trace", std::process::id()));
    let counted = traced(program, &told);
    fs::remove_file(&told).ok();
    counted
}

fn traced(program: &str, told: &Path) -> io::Result<f64> {
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(told).args(["--", program, NOWHERE, COMMAND]).stdin(Stdio::null());
    let status = strace.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if ![Some(0), Some(UNREACHED)].contains(&status.code()) {
        return Err(io::Error::other(status.to_string()));
    }
    let text = fs::read_to_string(told)?;
    let calls = text.lines().take_while(|line| !line.starts_with("+++"));
    Ok(count(calls.take_while(|line| !line.starts_with("connect(")).count()))
}
