//! Generated rules files of three shapes, what loading one costs, and what one decision among its rules costs.

use std::fmt::{self, Write};
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sluice::ids::Claimed;
use sluice::rules::{Paths, Policy, Source, Vars};

use crate::memory::own_kib;
use crate::sample::Spread;

/// Batches of one measurement.
pub const BATCHES: usize = 50;
/// Decisions of one batch.
const BATCH: u32 = 2000;

/// What the generated rules have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Each rule has a program of its own.
    Programs,
    /// All have one program; each has a literal of its own.
    Literals,
    /// Each has a program and a regex of its own.
    Regexes,
}

/// What one decision costs.
#[derive(Debug, Serialize)]
pub struct Decision {
    /// The rules' shape.
    pub shape: Shape,
    /// Their number.
    pub rules: usize,
    /// The last rule matches: nanoseconds.
    pub match_ns: Spread,
    /// No rule matches, by its last word: nanoseconds.
    pub miss_ns: Spread,
}

/// What loading costs, in a process of its own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Load {
    /// The rules' shape.
    pub shape: Shape,
    /// Their number.
    pub rules: usize,
    /// From text to policy.
    pub load_ms: f64,
    /// Resident with the policy loaded.
    pub resident_kib: u64,
    /// Resident once every rule has matched.
    pub used_kib: u64,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Programs => "own programs",
            Self::Literals => "own literals",
            Self::Regexes => "own regexes",
        })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, rules, match_ns, miss_ns } = self;
        write!(f, "{rules:>6} rules, {shape:<12}  match {match_ns:.0}, miss {miss_ns:.0}")
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, rules, load_ms, resident_kib, used_kib } = self;
        write!(
            f,
            "{rules:>6} rules, {shape:<12}  {load_ms:.0} ms, {resident_kib} KiB resident, {used_kib} KiB once each has matched"
        )
    }
}

/// Times decisions among `rules` rules.
pub fn decide(shape: Shape, rules: usize) -> io::Result<Decision> {
    let policy = load(&text(shape, rules))?;
    let good = words(shape, rules - 1, "7");
    let bad = words(shape, rules - 1, "x");
    verify(policy.decide(&good, &NoPaths).is_ok() && policy.decide(&bad, &NoPaths).is_err())?;
    Ok(Decision { shape, rules, match_ns: time(&policy, &good), miss_ns: time(&policy, &bad) })
}

/// Loads `rules` rules, has each of them match once, and says what that took. Meant for a process that does nothing else.
pub fn load_once(shape: Shape, rules: usize) -> io::Result<Load> {
    let text = text(shape, rules);
    let begun = Instant::now();
    let policy = load(&text)?;
    let load_ms = begun.elapsed().as_secs_f64() * 1e3;
    let resident_kib = own_kib("VmRSS")?;
    let matched = (0..rules).filter(|&rule| policy.decide(&words(shape, rule, "7"), &NoPaths).is_ok());
    verify(matched.count() == rules)?;
    Ok(Load { shape, rules, load_ms, resident_kib, used_kib: own_kib("VmRSS")? })
}

fn time(policy: &Policy, words: &[Claimed]) -> Spread {
    Spread::of((0..BATCHES).map(|_| {
        let begun = Instant::now();
        for _ in 0..BATCH {
            drop(black_box(policy.decide(black_box(words), &NoPaths)));
        }
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
    }))
}

pub(crate) fn text(shape: Shape, rules: usize) -> String {
    let mut text = String::new();
    for number in 0..rules {
        let rule = match shape {
            Shape::Programs => format!("/opt/bin/p{number} run #n\n  n = [0-9]{{1,3}}"),
            Shape::Literals => format!("/opt/bin/tool job{number} #n\n  n = [0-9]{{1,3}}"),
            Shape::Regexes => format!("/opt/bin/p{number} run #n\n  n = [0-9]{{1,3}}|r{number}-[a-z]{{1,9}}"),
        };
        writeln!(text, "{rule}\n").expect("a string takes any text");
    }
    text
}

pub(crate) fn words(shape: Shape, number: usize, value: &str) -> Vec<Claimed> {
    let (program, first) = match shape {
        Shape::Programs | Shape::Regexes => (format!("/opt/bin/p{number}"), "run".to_owned()),
        Shape::Literals => ("/opt/bin/tool".to_owned(), format!("job{number}")),
    };
    [program, first, value.to_owned()].into_iter().filter_map(Claimed::new).collect()
}

pub(crate) fn load(text: &str) -> io::Result<Policy> {
    let path = Path::new("/bench.rules");
    sluice::rules::load(path, &Text(text), &Vars::default())
        .map_err(|diagnostics| io::Error::other(format!("{diagnostics:?}")))
}

fn verify(good: bool) -> io::Result<()> {
    if good { Ok(()) } else { Err(io::Error::other("the rules do not decide as they were written")) }
}

/// The one file there is.
struct Text<'a>(&'a str);

impl Source for Text<'_> {
    fn read(&self, _path: &Path) -> io::Result<String> {
        Ok(self.0.to_owned())
    }
}

/// No rule of these has an `in DIR` slot.
pub(crate) struct NoPaths;

impl Paths for NoPaths {
    fn lies_under(&self, _cwd: &Path, _value: &str, _dir: &Path) -> bool {
        false
    }
}
