//! The rate at which a captured stream passes: against `tee` into a file on the same disk, and against
//! another broker, in one run, with stdout to `/dev/null`, to a pipe that is read, and to a file.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Instant;

use clap::{Args as Arguments, Subcommand};
use nix::unistd::geteuid;

use crate::broker::Broker;
use crate::budget::Budget;
use crate::sample::Spread;
use crate::table::{Beside, Line, Part};

/// What a program that is in no hurry writes at once.
const BLOCK_BYTES: usize = 128 * 1024;
const MIB: u64 = 1 << 20;
const UNIT: &str = "GB/s";

/// Measures captured streams against tee, in one run.
#[derive(Clone, Debug, Arguments)]
pub struct Args {
    /// Which end of a stream this process is
    #[command(subcommand)]
    pub role: Option<Role>,
    /// The broker
    #[arg(long, value_name = "PATH", default_value = "sluice")]
    pub broker: PathBuf,
    /// Its client
    #[arg(long, value_name = "PATH", default_value = "sluicify")]
    pub client: PathBuf,
    /// The broker to compare with, and its client
    #[arg(long, num_args = 2, value_names = ["BROKER", "CLIENT"])]
    pub peer: Vec<PathBuf>,
    /// Where captures and files go: a disk, or memory
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    /// Bytes of one stream, in MiB
    #[arg(long, default_value_t = 1024)]
    pub mib: u64,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
}

/// What this program is for the streams that it measures.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Role {
    /// Writes so many MiB
    Produce {
        /// How many
        mib: u64,
    },
    /// Reads to the end
    Consume,
}

/// Plays one end of a stream.
pub fn play(role: Role) -> io::Result<()> {
    match role {
        Role::Produce { mib } => produce(mib * MIB),
        Role::Consume => io::copy(&mut io::stdin().lock(), &mut io::sink()).map(drop),
    }
}

fn produce(bytes: u64) -> io::Result<()> {
    let mut block = io::repeat(b'x').take(bytes);
    let mut buffer = vec![0; BLOCK_BYTES];
    // Not `io::stdout`, which looks for line ends.
    let mut out = File::options().write(true).open("/dev/stdout")?;
    loop {
        let read = block.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..read])?;
    }
}

/// A way to have a stream captured: the shell's words for it, and where the capture is.
#[derive(Debug)]
struct Subject {
    line: String,
    captures: PathBuf,
    _broker: Option<Broker>,
}

/// Measures all sinks. The first subject is tee, then this project's broker, then the other one.
pub fn run(args: &Args) -> io::Result<Part> {
    let own = std::env::current_exe()?;
    let dir = args.dir.join(format!("sluice-capture-{}", process::id()));
    DirBuilder::new().mode(0o700).create(&dir)?;
    let producing = format!("{} capture produce {}", own.display(), args.mib);
    let mut subjects = vec![tee(&dir, &producing)?, ours(args, &dir, &producing)?];
    if let [broker, client] = &args.peer[..] {
        subjects.push(brokered("peer", (broker, client), &[], "", &dir, &producing)?);
    }
    let (consuming, file) = (format!("| {} capture consume", own.display()), dir.join("file"));
    let sinks = [
        ("/dev/null", "> /dev/null".to_owned()),
        ("a pipe", consuming),
        ("a file", format!("> {}", file.display())),
    ];
    let mut part = Part::default();
    for (sink, words) in sinks {
        let rounds = rounds(args, &subjects, &words, &file)?;
        part = part.and(lines(&format!("captured, stdout to {sink}"), &rounds));
    }
    drop(subjects);
    fs::remove_dir_all(dir)?;
    Ok(part)
}

/// Rounds that are not counted: memory that nobody touched for long is slow at first, in a virtual machine
/// above all.
const ROUNDS_AHEAD: usize = 2;

/// The rates of all subjects, one after the other, in each round. Who comes first changes, because a disk has
/// work left from the one before.
fn rounds(args: &Args, subjects: &[Subject], sink: &str, file: &Path) -> io::Result<Vec<Vec<f64>>> {
    for subject in std::iter::repeat_n(subjects, ROUNDS_AHEAD).flatten() {
        once(subject, sink, args.mib * MIB)?;
        fs::remove_file(file).or_else(not_there)?;
    }
    let mut rounds = vec![vec![0.0; subjects.len()]; args.rounds];
    for (number, rates) in rounds.iter_mut().enumerate() {
        for turn in 0..subjects.len() {
            let index = (number + turn) % subjects.len();
            rates[index] = once(&subjects[index], sink, args.mib * MIB)?;
            fs::remove_file(file).or_else(not_there)?;
        }
    }
    Ok(rounds)
}

fn lines(what: &str, rounds: &[Vec<f64>]) -> Part {
    let rate = |index: usize| Spread::of(rounds.iter().filter_map(|round| round.get(index).copied()));
    let ratio = Spread::of(rounds.iter().map(|round| round[1] / round[0]));
    let line = Line::new(what, UNIT, rate(1)).over("tee", rate(0), ratio).within(Budget::at_least(1.0));
    let has_peer = rounds.first().is_some_and(|round| round.len() > 2);
    let beside = Beside { what: what.to_owned(), unit: UNIT.to_owned(), ours: rate(1), theirs: rate(2) };
    Part { lines: vec![line], beside: has_peer.then_some(beside).into_iter().collect(), ..Part::default() }
}

fn not_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn tee(dir: &Path, producing: &str) -> io::Result<Subject> {
    let captures = dir.join("tee");
    fs::create_dir(&captures)?;
    let line = format!("{producing} | tee {}", captures.join("c").display());
    Ok(Subject { line, captures, _broker: None })
}

fn ours(args: &Args, dir: &Path, producing: &str) -> io::Result<Subject> {
    let options: &[&str] = if geteuid().is_root() { &["--allow-root"] } else { &[] };
    let defaults = "  capture_max = none\n  scope = off\n  journal = off\n";
    brokered("ours", (&args.broker, &args.client), options, defaults, dir, producing)
}

fn brokered(
    name: &str,
    (broker, client): (&Path, &Path),
    options: &[&str],
    defaults: &str,
    dir: &Path,
    producing: &str,
) -> io::Result<Subject> {
    let captures = dir.join(name);
    DirBuilder::new().mode(0o700).create(&captures)?;
    let defaults = format!("  stdoutfile = {}\n{defaults}", captures.join("c#$call").display());
    let name = format!("capture-{name}");
    let broker = Broker::with_rules(&name, broker, options, &defaults, producing)?;
    let line = format!("{} {} {producing}", client.display(), broker.socket().display());
    Ok(Subject { line, captures, _broker: Some(broker) })
}

/// One stream's rate in GB/s; what was captured has to be all of it.
fn once(subject: &Subject, sink: &str, bytes: u64) -> io::Result<f64> {
    let began = Instant::now();
    let status = Command::new("sh").args(["-c", &format!("{} {sink}", subject.line)]).status()?;
    let took = began.elapsed();
    let mut captured = 0;
    for entry in fs::read_dir(&subject.captures)? {
        let entry = entry?;
        captured += entry.metadata()?.len();
        fs::remove_file(entry.path())?;
    }
    if !status.success() || captured != bytes {
        return Err(io::Error::other(format!("{}: {status}, {captured} bytes of {bytes}", subject.line)));
    }
    // MiB of a stream are few enough for a float to hold their number.
    Ok(f64::from(u32::try_from(bytes / MIB).map_err(io::Error::other)?) * 1.048_576e-3 / took.as_secs_f64())
}
