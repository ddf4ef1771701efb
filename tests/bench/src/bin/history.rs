//! What reading a long history costs: queries of `sluice log`, and `sluice verify`, over a manifest of many records.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use serde::Serialize;
use sluice_bench::budget::Budget;
use sluice_bench::history::{RARE_RULE, write_history};

/// Times queries over a manifest of a million records, each the median of several runs.
#[derive(Debug, Parser)]
struct Args {
    /// The program, of a release build
    #[arg(long, value_name = "PATH")]
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
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    records: u64,
    bytes: u64,
    queries: Vec<Query>,
    budgets: Vec<Budget>,
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

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("history: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> io::Result<String> {
    if let Some(path) = &args.write {
        write_history(path, args.records)?;
        return Ok(String::new());
    }
    let path = std::env::temp_dir().join(format!("sluice-history-{}.jsonl", std::process::id()));
    write_history(&path, args.records)?;
    let report = measure(args, &path);
    std::fs::remove_file(&path)?;
    let report = report?;
    if args.json { Ok(serde_json::to_string(&report)?) } else { Ok(report.to_string()) }
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
    let budgets = vec![Budget::at_most("slowest query with a filter, s", slowest, 1.0)];
    Ok(Report {
        records: args.records,
        bytes,
        queries: filtered.into_iter().chain(others).collect(),
        budgets,
    })
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
        self.budgets.iter().try_for_each(|budget| writeln!(f, "{budget}"))
    }
}
