//! Instructions of one call's way through the library, where times are not stable and counts are: the request
//! decoded, the rule found, start and end recorded. Counted by `valgrind --tool=callgrind` as the difference
//! between so many rounds and twice as many, and held against a file that is kept with the sources. A report,
//! not a test.

mod command;

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use sluice::audit::{
    CallOutcome, CallStart, Caller, CapturedBytes, DeniedAccesses, JournalSink, Manifest, RecordAuthor,
    StartedCall,
};
use sluice::cgroup::CgroupUsage;
use sluice::ids::{ClaimedWord, SocketName};
use sluice::rules::{BoundWord, JournalMode, MatchedRule, Policy};
use sluice::sys::Sender;
use sluice::wire::{Request, Status};

use crate::decision::{NoPaths, Shape, load, text, words};

pub use command::{Args, count, work};

/// Rules among which the last one matches.
const RULES: usize = 100;
/// Rounds of the smaller run.
const ROUNDS: u64 = 500;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Bytes to a request.
    Decode,
    /// A request to the rule that allows it.
    Match,
    /// A request to the reason why nothing does.
    Miss,
    /// The start and the end of a call to the manifest, without the journal.
    Record,
    /// A call: decode, match and record.
    Call,
}

const ALL: [Work; 5] = [Work::Decode, Work::Match, Work::Miss, Work::Record, Work::Call];

/// What was counted, beside what was kept.
#[derive(Debug, Serialize)]
pub struct Report(Vec<Count>);

/// Instructions of one round.
#[derive(Debug, Serialize)]
struct Count {
    what: String,
    now: u64,
    kept: Option<u64>,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decode => "decode",
            Self::Match => "match",
            Self::Miss => "miss",
            Self::Record => "record",
            Self::Call => "call",
        })
    }
}

impl Report {
    /// Counts everything, in processes of this program under valgrind, beside what `kept` says.
    /// `preload` is what they need to run there.
    pub fn count(kept: &Path, preload: &Path) -> io::Result<Self> {
        let kept = fs::read_to_string(kept).or_else(|source| match source.kind() {
            io::ErrorKind::NotFound => Ok(String::new()),
            _ => Err(source),
        })?;
        let count = |work: &Work| {
            let now = under_valgrind(*work, 2 * ROUNDS, preload)?;
            let now = (now - under_valgrind(*work, ROUNDS, preload)?) / ROUNDS;
            let what = work.to_string();
            Ok(Count { kept: number_of(&kept, &what), what, now })
        };
        Ok(Self(ALL.iter().map(count).collect::<io::Result<_>>()?))
    }

    /// The counts as they are kept.
    pub fn fixture(&self) -> String {
        self.0.iter().map(|count| format!("{} {}\n", count.what, count.now)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "instructions, beside those that were kept")?;
        for Count { what, now, kept } in &self.0 {
            match kept {
                Some(kept) => {
                    let percent = (as_f64(*now) / as_f64(*kept) - 1.0) * 100.0;
                    writeln!(f, "  {what:<8} {now:>8} {kept:>8} {percent:>+7.1} %")?;
                }
                None => writeln!(f, "  {what:<8} {now:>8}        -")?,
            }
        }
        Ok(())
    }
}

/// Does the work so many times, with a manifest in `dir`.
pub fn run(work: Work, rounds: u64, dir: &Path) -> io::Result<()> {
    let policy = load(&text(Shape::Programs, RULES))?;
    let (good, bad) = (words(Shape::Programs, RULES - 1, "7"), words(Shape::Programs, RULES - 1, "x"));
    let message = Request::Call(good.clone()).encode().ok_or(io::ErrorKind::InvalidInput)?;
    let sink = JournalSink::new(JournalMode::Off, Box::new(|_| {}))?;
    let author = RecordAuthor { rules: "/bench.rules", policy: policy.hash() };
    let manifest = Manifest::open(&dir.join("manifest.jsonl"), &author, sink).map_err(io::Error::other)?;
    let matched = find(&policy, &good)?;
    for _ in 0..rounds {
        match work {
            Work::Decode => drop(decode(&message)?),
            Work::Match => drop(black_box(find(&policy, black_box(&good))?)),
            Work::Miss => drop(black_box(policy.decide(black_box(&bad), &NoPaths))),
            Work::Record => record(&manifest, &policy, &matched)?,
            Work::Call => record(&manifest, &policy, &find(&policy, &decode(&message)?)?)?,
        }
    }
    manifest.close()
}

fn decode(message: &[u8]) -> io::Result<Vec<ClaimedWord>> {
    match black_box(Request::decode(black_box(message))) {
        Ok(Request::Call(words)) => Ok(words),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

fn find(policy: &Policy, words: &[ClaimedWord]) -> io::Result<MatchedRule> {
    policy.decide(words, &NoPaths).map_err(|miss| io::Error::other(miss.explanation))
}

fn record(manifest: &Manifest, policy: &Policy, matched: &MatchedRule) -> io::Result<()> {
    let caller = Caller::new(Sender { pid: 1000, uid: 1000, gid: 1000 }, None);
    let opening = CallStart {
        socket: &SocketName::new("bench"),
        rule: matched.rule.line,
        file: None,
        argv: matched.argv.iter().map(BoundWord::as_str).collect(),
        paths: Vec::new(),
        resolved: "/opt/bin/p99",
        cwd: "/",
        caller: &caller,
        child: 1001,
        scope: "off",
        group: None,
        cgroup: None,
        captures: [None; 3],
        confinement: None,
        policy: policy.hash(),
        hidden: false,
    };
    let (started, written) = StartedCall::new(manifest, None, &opening);
    written?;
    let (account, captured) = (CgroupUsage::default(), CapturedBytes::default());
    let status = Status::exited(0);
    let outcome = CallOutcome::Ran {
        status,
        signal: None,
        cause: None,
        left: 0,
        keeps: false,
        denied: DeniedAccesses::default(),
        account,
        captured,
    };
    started.finish(&outcome, &opening)
}

fn under_valgrind(work: Work, rounds: u64, preload: &Path) -> io::Result<u64> {
    let own = std::env::current_exe()?;
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["count", "--work", &work.to_string(), "--rounds", &rounds.to_string()])
        .env("LD_PRELOAD", preload)
        .output()
        .map_err(|source| io::Error::other(format!("valgrind: {source}")))?;
    let said = String::from_utf8_lossy(&done.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.filter(|_| done.status.success()).ok_or_else(|| io::Error::other(said.into_owned()))
}

fn number_of(kept: &str, what: &str) -> Option<u64> {
    kept.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(' ')?.trim().parse().ok())
}

fn as_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again() {
        let report = Report(vec![Count { what: "match".into(), now: 812, kept: None }]);
        assert_eq!(number_of(&report.fixture(), "match"), Some(812));
        assert_eq!(number_of(&report.fixture(), "miss"), None);
    }
}
