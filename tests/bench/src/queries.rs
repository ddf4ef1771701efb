//! What reading a long history costs: queries of `sluice log`, and `sluice verify`, over a manifest of many
//! records.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::budget::Budget;
use crate::history::{RARE_RULE, write_history};
use crate::sample::Spread;
use crate::table::{Line, Part};
use clap::Args as Arguments;
use serde::Serialize;

/// Times queries over a manifest of a million records, each the median of several runs.
#[derive(Debug, Arguments)]
pub struct Args {
    /// The program, of a release build
    #[arg(long, value_name = "PATH", default_value = "sluice")]
    sluice: PathBuf,
    /// Records of the manifest
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Runs of each query
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only write the manifest, here
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// All queries of one run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    records: u64,
    bytes: u64,
    queries: Vec<Query>,
    /// The lines of the table.
    #[serde(flatten)]
    pub part: Part,
}

/// One query and what it cost.
#[derive(Debug, Serialize)]
struct Query {
    words: String,
    least_s: f64,
    median_s: f64,
    most_s: f64,
    resident_kib: i64,
}

/// Measures them, over a manifest that is written first.
pub fn run(args: &Args) -> io::Result<Report> {
    if let Some(path) = &args.write {
        write_history(path, args.records)?;
        return Ok(Report::default());
    }
    let path = std::env::temp_dir().join(format!("sluice-history-{}.jsonl", std::process::id()));
    write_history(&path, args.records)?;
    let report = measure(args, &path);
    std::fs::remove_file(&path)?;
    report
}

fn measure(args: &Args, path: &Path) -> io::Result<Report> {
    let bytes = path.metadata()?.len();
    let rule = RARE_RULE.to_string();
    let filtered = [
        &["log", "--rejects", "--lines=all"][..],
        &["log", "--rule", &rule, "--lines=all"],
        &["log", "--rule", "no-such-word", "--lines=all"],
        &["log", "--call=250000"],
        &["log", "--since=2023-11-14", "--rule", &rule],
    ];
    let filtered = filtered.iter().map(|words| time(args, path, words)).collect::<io::Result<Vec<_>>>()?;
    let slowest = filtered.iter().map(|query| query.median_s).fold(0.0, f64::max);
    let others = [
        &["log"][..],
        &["log", "--lines=all", "--json"],
        &["log", "--lines=all"],
        &["verify", "--journal=none"],
    ];
    let others = others.iter().map(|words| time(args, path, words)).collect::<io::Result<Vec<_>>>()?;
    let slowest = Line::new("slowest query with a filter", "s", Spread::one(slowest));
    let part = Part { lines: vec![slowest.within(Budget::at_most(1.0))], ..Part::default() };
    Ok(Report { records: args.records, bytes, queries: filtered.into_iter().chain(others).collect(), part })
}

fn time(args: &Args, path: &Path, words: &[&str]) -> io::Result<Query> {
    let mut seconds = Vec::new();
    for _ in 0..args.runs.max(1) {
        let mut command = Command::new(&args.sluice);
        command.args(words).stdout(Stdio::null());
        if words.first() == Some(&"log") {
            command.arg("--file");
        }
        let began = Instant::now();
        let status = command.arg(path).status()?;
        seconds.push(began.elapsed().as_secs_f64());
        if status.code().is_none_or(|code| code > 1) {
            return Err(io::Error::other(format!("{words:?} ended with {status}")));
        }
    }
    seconds.sort_unstable_by(f64::total_cmp);
    // The largest of all so far: what came before it took no more.
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)?;
    Ok(Query {
        words: words.join(" "),
        least_s: seconds[0],
        median_s: seconds[seconds.len() / 2],
        most_s: seconds[seconds.len() - 1],
        resident_kib: usage.max_rss(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} records, {} bytes; seconds, least to most", self.records, self.bytes)?;
        for Query { words, least_s, median_s, most_s, resident_kib } in &self.queries {
            writeln!(
                f,
                "  {words:<48} {median_s:>6.3} ({least_s:.3} to {most_s:.3}), at most {resident_kib} KiB so far"
            )?;
        }
        write!(f, "{}", self.part)
    }
}
