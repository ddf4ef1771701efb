//! What is counted, and what it is held against.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Report, Work, run};

/// Counts instructions with valgrind.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file that the counts are held against
    #[arg(long, value_name = "PATH", required_unless_present = "work")]
    kept: Option<PathBuf>,
    /// What is preloaded under valgrind
    #[arg(long, value_name = "PATH", required_unless_present = "work")]
    preload: Option<PathBuf>,
    /// Write the counts there
    #[arg(long)]
    keep: bool,
    /// Do this work and nothing else
    #[arg(long, requires = "rounds")]
    pub work: Option<Work>,
    /// So many times
    #[arg(long)]
    pub rounds: Option<u64>,
}

/// Counts, and writes the counts down where that is wanted.
pub fn count(args: &Args) -> io::Result<Report> {
    let (Some(kept), Some(preload)) = (&args.kept, &args.preload) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let report = Report::count(kept, preload)?;
    if args.keep {
        fs::write(kept, report.fixture())?;
    }
    Ok(report)
}

/// Does what is counted, in a directory of its own.
pub fn work(work: Work, rounds: u64) -> io::Result<()> {
    // Of one length, whatever the process's number.
    let dir = std::env::temp_dir().join(format!("sluice-count-{:010}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&dir)?;
    let done = run(work, rounds, Path::new(&dir));
    fs::remove_dir_all(&dir)?;
    done
}
