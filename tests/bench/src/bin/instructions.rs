//! Instructions of decode, match and record, beside those that were kept. See `instructions.rs` of the library.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sluice_bench::instructions::{Report, Work, run};

/// Counts instructions with valgrind.
#[derive(Debug, Parser)]
struct Args {
    /// The file that the counts are held against
    #[arg(long, value_name = "PATH", required_unless_present = "work")]
    kept: Option<PathBuf>,
    /// What is preloaded under valgrind
    #[arg(long, value_name = "PATH", required_unless_present = "work")]
    preload: Option<PathBuf>,
    /// Write the counts there
    #[arg(long)]
    keep: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Do this work and nothing else
    #[arg(long, requires = "rounds")]
    work: Option<Work>,
    /// So many times
    #[arg(long)]
    rounds: Option<u64>,
}

fn main() -> ExitCode {
    match serve(&Args::parse()) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve(args: &Args) -> io::Result<String> {
    if let (Some(work), Some(rounds)) = (args.work, args.rounds) {
        // Of one length, whatever the process's number.
        let dir = std::env::temp_dir().join(format!("sluice-count-{:010}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&dir)?;
        let done = run(work, rounds, &dir);
        fs::remove_dir_all(&dir)?;
        return done.map(|()| String::new());
    }
    let (Some(kept), Some(preload)) = (&args.kept, &args.preload) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let report = Report::count(kept, preload)?;
    if args.keep {
        fs::write(kept, report.fixture())?;
    }
    if args.json { Ok(serde_json::to_string(&report)? + "\n") } else { Ok(report.to_string()) }
}
