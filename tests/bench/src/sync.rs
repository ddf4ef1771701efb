//! What `sync = yes` costs a call: calls through a broker that syncs its records, through one that does not,
//! and, for the disk's own part of it, one record's length appended and synced, in one run.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::broker::Broker;
use crate::caller::Caller;
use crate::report::rows;
use crate::sample::{Bounds, Row, measure};
use crate::subject::Subject;
use clap::Args as Arguments;
use nix::unistd::geteuid;
use serde::Serialize;

const COMMAND: &str = "/bin/true";
/// What shows that a subject runs commands at all.
const FALSE: &str = "/bin/false";

/// Measures calls with and without `sync = yes`. Manifests lie in TMPDIR, which should be on a disk.
#[derive(Debug, Arguments)]
pub struct Args {
    /// The broker
    #[arg(long, value_name = "PATH", default_value = "sluice")]
    broker: PathBuf,
    /// Callers at once
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    callers: Vec<usize>,
    /// Rounds of one slice for each subject
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Longest time of one slice, in ms
    #[arg(long, default_value_t = 500)]
    slice_ms: u64,
}

/// Calls with and without it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where the manifests lie.
    dir: PathBuf,
    /// Its file system.
    fs: String,
    rounds: usize,
    calls: Vec<Row>,
}

impl Report {
    /// Whether every call ended well.
    pub fn is_good(&self) -> bool {
        self.calls.iter().all(|row| row.failed == 0)
    }
}

/// Measures both, and the disk.
pub fn run(args: &Args) -> io::Result<Report> {
    let dir = fs::canonicalize(std::env::temp_dir())?;
    let as_root: &[&str] = if geteuid().is_root() { &["--allow-root"] } else { &[] };
    let plain = Broker::start("plain", &args.broker, as_root, "  scope = off\n  journal = off\n")?;
    let synced =
        Broker::start("synced", &args.broker, as_root, "  scope = off\n  journal = off\n  sync = yes\n")?;
    let own = dir.join(format!("sluice-bench-{}-sync", std::process::id()));
    let subjects = [
        subject("sync = no", &plain)?,
        subject("sync = yes", &synced)?,
        Subject::durable("append, fdatasync", File::create(&own)?),
    ];
    // The file is the process's alone from here on.
    fs::remove_file(&own)?;
    let bounds = Bounds {
        time: Duration::from_millis(args.slice_ms),
        calls: usize::MAX,
        pause: Duration::ZERO,
        rest: Duration::ZERO,
    };
    let calls =
        args.callers.iter().flat_map(|&callers| measure(&subjects, callers, args.rounds, bounds)).collect();
    Ok(Report { fs: filesystem(&dir)?, dir, rounds: args.rounds, calls })
}

fn subject(name: &'static str, broker: &Broker) -> io::Result<Subject> {
    Subject::brokered(name, Caller::new(&broker.socket(), &[FALSE])?).verify()?;
    Ok(Subject::brokered(name, Caller::new(&broker.socket(), &[COMMAND])?))
}

/// The type and device of the file system that a directory is on, by the longest mount point above it.
fn filesystem(dir: &Path) -> io::Result<String> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(point).then(|| (point.len(), format!("{kind} on {device}")))
    });
    Ok(above.max_by_key(|(length, _)| *length).map(|(_, name)| name).unwrap_or_default())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, fs, rounds, calls } = self;
        writeln!(
            f,
            "manifests in {}, {fs}; medians of {rounds} interleaved rounds (least to most)",
            dir.display()
        )?;
        rows(f, "a call of /bin/true from a running program", calls)
    }
}
