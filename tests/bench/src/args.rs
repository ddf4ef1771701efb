//! The command line of `roundtrip`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::sample::Bounds;

/// Measures calls of /bin/true through brokers against running it directly, in one run.
#[derive(Debug, Parser)]
pub struct Args {
    /// The broker of this project
    #[arg(long, value_name = "PATH")]
    pub broker: Option<PathBuf>,
    /// Its client, for the row that starts it each time
    #[arg(long, value_name = "PATH")]
    pub client: Option<PathBuf>,
    /// The broker to compare with
    #[arg(long, value_name = "PATH")]
    pub peer_broker: Option<PathBuf>,
    /// Its client
    #[arg(long, value_name = "PATH")]
    pub peer_client: Option<PathBuf>,
    /// Callers at once
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub callers: Vec<usize>,
    /// Rounds of one slice for each subject
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Longest time of one slice, in ms
    #[arg(long, default_value_t = 400)]
    pub slice_ms: u64,
    /// Most calls of one caller in one slice
    #[arg(long, default_value_t = 5000)]
    pub slice_calls: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// The bounds of one slice.
    pub fn bounds(&self) -> Bounds {
        let time = Duration::from_millis(self.slice_ms);
        Bounds { time, calls: self.slice_calls, pause: Duration::ZERO, rest: Duration::ZERO }
    }
}
