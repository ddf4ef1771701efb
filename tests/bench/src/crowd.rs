//! A thousand callers at once, on sockets with default settings: most of them wait for a place, and each is
//! answered. Threads of this process have the descriptors that they need; programs have what a program has.

use std::fs::{self, File};
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::broker::Broker;
use crate::calls::Args;
use crate::programs::find;
use crate::sample::{Spread, count};
use crate::subject::Subject;

/// Callers at once.
pub const CALLERS: usize = 1_000;
/// The client, for a crowd of programs.
pub const CLIENTS: &str = "sluicify";
/// What these run: long enough for all of them to be there at one time.
const LASTING: [&str; 2] = ["/bin/sleep", "0.3"];
/// Most rounds: each is seconds of work.
const ROUNDS_MAX: usize = 3;
/// What a caller's thread needs.
const STACK_BYTES: usize = 256 * 1024;
/// Descriptors of a caller: its connection and two pipes, and as many on their way, of which a user without
/// privileges may have no more than the limit of open files says.
const CALLER_FDS: usize = 5;
/// Descriptors of this process beside those of the callers.
const FDS_SPARE: usize = 200;

/// What became of the callers of one subject.
#[derive(Debug)]
pub struct Crowd {
    /// The subject's name.
    pub what: &'static str,
    /// Callers of all rounds.
    pub calls: usize,
    /// Those that were not answered, or with another status than 0.
    pub failed: usize,
    /// Until the last one was answered, in each round.
    pub seconds: Vec<f64>,
    /// The last failure.
    pub error: Option<String>,
}

/// Makes a crowd of callers of each subject in turn.
pub fn run(subjects: &[Subject], rounds: usize) -> io::Result<Vec<Crowd>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = u64::try_from(CALLERS * CALLER_FDS + FDS_SPARE).map_err(io::Error::other)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted).min(hard), hard)?;
    let rounds: Vec<Vec<_>> = (0..rounds.min(ROUNDS_MAX))
        .map(|_| subjects.iter().map(round).collect())
        .collect::<io::Result<_>>()
        // What is started later has the usual limit again.
        .and_then(|rounds| {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map(|()| rounds).map_err(Into::into)
        })?;
    Ok(subjects.iter().enumerate().map(|(index, subject)| crowd(subject.name, index, &rounds)).collect())
}

/// Starts a crowd of client programs, once.
pub fn programs(args: &Args) -> io::Result<Crowd> {
    let broker = Broker::with_rules("crowd", &args.broker, &[], "  scope = off\n", &LASTING.join(" "))?;
    let client = find(&args.client)?;
    let said = std::env::temp_dir().join(format!("sluice-bench-{}-said", std::process::id()));
    let stderr = File::options().append(true).create_new(true).open(&said)?;
    let begun = Instant::now();
    let mut children = Vec::new();
    for _ in 0..CALLERS {
        let mut command = Command::new(&client);
        command.arg(broker.socket()).args(LASTING).stdin(Stdio::null()).stdout(Stdio::null());
        children.push(command.stderr(stderr.try_clone()?).spawn()?);
    }
    let ended = children.iter_mut().map(Child::wait).collect::<io::Result<Vec<_>>>()?;
    let seconds = vec![begun.elapsed().as_secs_f64()];
    let failed = ended.iter().filter(|status| !status.success()).count();
    let error = fs::read_to_string(&said)?.lines().next_back().map(str::to_owned);
    fs::remove_file(said)?;
    Ok(Crowd { what: CLIENTS, calls: CALLERS, failed, seconds, error })
}

fn crowd(what: &'static str, index: usize, rounds: &[Vec<Round>]) -> Crowd {
    let mine = || rounds.iter().map(|round| &round[index]);
    Crowd {
        what,
        calls: rounds.len() * CALLERS,
        failed: mine().map(|(_, errors)| errors.len()).sum(),
        seconds: mine().map(|(seconds, _)| *seconds).collect(),
        error: mine().flat_map(|(_, errors)| errors).next_back().cloned(),
    }
}

/// Seconds until all were answered, and the failures.
type Round = (f64, Vec<String>);

fn round(subject: &Subject) -> io::Result<Round> {
    let start = Barrier::new(CALLERS + 1);
    thread::scope(|scope| {
        let one = || {
            start.wait();
            subject.once().err().map(|error| error.to_string())
        };
        let builder = || thread::Builder::new().stack_size(STACK_BYTES);
        let threads =
            (0..CALLERS).map(|_| builder().spawn_scoped(scope, one)).collect::<io::Result<Vec<_>>>();
        let threads = threads.expect("a thousand threads can be had");
        start.wait();
        let begun = Instant::now();
        let errors = threads
            .into_iter()
            .filter_map(|thread| thread.join().expect("a caller does not panic"))
            .collect();
        Ok((begun.elapsed().as_secs_f64(), errors))
    })
}

impl Crowd {
    /// The subject's name without that of the broker.
    pub fn way(&self) -> &'static str {
        self.what.rsplit(", ").next().unwrap_or_default()
    }

    /// What to know of those that failed.
    pub fn note(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        Some(format!("{CALLERS} callers at once, {}: the last failure: {error}", self.what))
    }

    /// The time until the last one was answered.
    pub fn seconds(&self) -> Spread {
        Spread::of(self.seconds.iter().copied())
    }

    /// That time over another crowd's, taken within each round.
    pub fn seconds_over(&self, floor: &Self) -> Spread {
        Spread::of(self.seconds.iter().zip(&floor.seconds).map(|(ours, floor)| ours / floor))
    }

    /// Callers that failed, as a figure.
    pub fn failed(&self) -> Spread {
        Spread::one(count(self.failed))
    }
}
