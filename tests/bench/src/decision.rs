//! What a decision costs among few and many rules, and what loading many costs: generated rules files of
//! three shapes.

use std::fmt::{self, Write};
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clap::Args as Arguments;
use serde::{Deserialize, Serialize};
use sluice::ids::ClaimedWord;
use sluice::rules::{LocatedPath, PathResolver, Policy, RulesSource, VariableValues};

use crate::budget::Budget;
use crate::memory::{mib, own_kib};
use crate::sample::Spread;
use crate::table::{Line, Part};

/// Decisions of one batch.
const BATCH: u32 = 2000;
/// Numbers of rules: the fewest, and the most, have a budget.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// Times decisions among 10, 1,000 and 10,000 rules, and loads 10,000 in fresh processes.
#[derive(Clone, Debug, Arguments)]
pub struct Args {
    /// Batches of decisions in each policy, in turn
    #[arg(long, default_value_t = 50)]
    pub batches: usize,
    /// Loads of each shape
    #[arg(long, default_value_t = 5)]
    pub loads: usize,
    /// Load this many rules, print the cost as JSON, and do nothing else
    #[arg(long, value_name = "RULES", requires = "shape")]
    pub load: Option<usize>,
    /// What these rules have in common
    #[arg(long)]
    pub shape: Option<Shape>,
}

/// What was measured of rules.
#[derive(Debug, Serialize)]
pub struct Report {
    decisions: Vec<Decision>,
    loads: Vec<Load>,
    /// The lines of the table.
    #[serde(flatten)]
    pub part: Part,
}

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

/// What one decision costs, in batches that alternate with those of other sizes.
#[derive(Debug, Serialize)]
pub struct Decision {
    shape: Shape,
    rules: usize,
    /// Whether the last rule matches, or none does, by its last word.
    matches: bool,
    ns: Spread,
    /// Over the same among the fewest rules.
    ratio: Spread,
}

/// What loading costs, in a process of its own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Load {
    shape: Shape,
    rules: usize,
    /// From text to policy.
    load_ms: f64,
    /// Resident with the policy loaded.
    resident_kib: u64,
    /// Resident once every rule has matched.
    used_kib: u64,
}

/// Measures decisions and loads.
pub fn run(args: &Args) -> io::Result<Report> {
    let mut decisions = Vec::new();
    for shape in [Shape::Programs, Shape::Literals] {
        decisions.extend(decide(shape, args.batches)?);
    }
    let shapes = [Shape::Programs, Shape::Literals, Shape::Regexes];
    let loads = (0..args.loads).flat_map(|_| shapes).map(|shape| in_fresh_process(shape, SIZES[2]));
    let loads: Vec<Load> = loads.collect::<io::Result<_>>()?;
    let mut lines = decision_lines(&decisions);
    lines.extend(load_lines(&loads, &shapes));
    Ok(Report { decisions, loads, part: Part { lines, ..Part::default() } })
}

/// The slowest case, and the one that grows most.
fn decision_lines(decisions: &[Decision]) -> Vec<Line> {
    let of = |rules| decisions.iter().filter(move |one| one.rules == rules);
    let slowest = of(SIZES[2]).max_by(|a, b| a.ns.median.total_cmp(&b.ns.median));
    let steepest = of(SIZES[2]).max_by(|a, b| a.ratio.median.total_cmp(&b.ratio.median));
    let (Some(slowest), Some(steepest)) = (slowest, steepest) else { return Vec::new() };
    let same = |one: &&Decision| one.shape == steepest.shape && one.matches == steepest.matches;
    let few = of(SIZES[0]).find(same).map(|one| one.ns).unwrap_or_default();
    vec![
        Line::new("decision among 10,000 rules", "us", slowest.ns.scaled(1e-3)).within(Budget::at_most(5.0)),
        Line::new("the same over 10 rules", "us", steepest.ns.scaled(1e-3))
            .over("10 rules", few.scaled(1e-3), steepest.ratio)
            .within(Budget::at_most(2.0)),
    ]
}

/// The slowest shape, and the largest.
fn load_lines(loads: &[Load], shapes: &[Shape]) -> Vec<Line> {
    let worst = |pick: fn(&Load) -> f64| {
        let of = |shape| Spread::of(loads.iter().filter(|load| load.shape == shape).map(pick));
        let spreads = shapes.iter().map(|&shape| of(shape));
        spreads.max_by(|a, b| a.median.total_cmp(&b.median)).unwrap_or_default()
    };
    vec![
        Line::new("load of 10,000 rules", "s", worst(|load| load.load_ms / 1e3)).within(Budget::at_most(0.5)),
        Line::new("resident with 10,000 rules", "MiB", worst(|load| mib(load.resident_kib)))
            .within(Budget::at_most(64.0)),
    ]
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "one decision, ns (least-most), and over that among 10 rules")?;
        self.decisions.iter().try_for_each(|decision| writeln!(f, "{decision}"))?;
        writeln!(f, "\nloading, each in a fresh process")?;
        self.loads.iter().try_for_each(|load| writeln!(f, "{load}"))?;
        write!(f, "\n{}", self.part)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, rules, matches, ns, ratio } = self;
        let verdict = if *matches { "match" } else { "miss" };
        write!(f, "{rules:>6} rules, {shape:<12}  {verdict:<5} {ns:.0}, {ratio:.2}")
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

/// Times decisions among each number of rules, one batch of each in turn.
fn decide(shape: Shape, batches: usize) -> io::Result<Vec<Decision>> {
    let policies = SIZES.iter().map(|&rules| load(&text(shape, rules))).collect::<io::Result<Vec<_>>>()?;
    let mut decisions = Vec::new();
    for (matches, value) in [(true, "7"), (false, "x")] {
        let cases: Vec<_> = policies.iter().zip(SIZES.map(|rules| words(shape, rules - 1, value))).collect();
        for (policy, words) in &cases {
            verify(policy.decide(words, &NoPaths).is_ok() == matches)?;
        }
        let rounds: Vec<Vec<f64>> = (0..batches)
            .map(|_| cases.iter().map(|(policy, words)| batch_ns(policy, words)).collect())
            .collect();
        decisions.extend(SIZES.iter().enumerate().map(|(index, &rules)| {
            let ns = Spread::of(rounds.iter().map(|round| round[index]));
            let ratio = Spread::of(rounds.iter().map(|round| round[index] / round[0]));
            Decision { shape, rules, matches, ns, ratio }
        }));
    }
    Ok(decisions)
}

fn in_fresh_process(shape: Shape, rules: usize) -> io::Result<Load> {
    let shape = serde_json::to_value(shape)?;
    let shape = shape.as_str().expect("a shape is written as its name");
    let own = std::env::current_exe()?;
    let done =
        Command::new(own).args(["decision", "--load", &rules.to_string(), "--shape", shape]).output()?;
    if !done.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()));
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// Loads `rules` rules, has each of them match once, and says what that took. Meant for a process that does
/// nothing else.
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

fn batch_ns(policy: &Policy, words: &[ClaimedWord]) -> f64 {
    let begun = Instant::now();
    for _ in 0..BATCH {
        drop(black_box(policy.decide(black_box(words), &NoPaths)));
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
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

pub(crate) fn words(shape: Shape, number: usize, value: &str) -> Vec<ClaimedWord> {
    let (program, first) = match shape {
        Shape::Programs | Shape::Regexes => (format!("/opt/bin/p{number}"), "run".to_owned()),
        Shape::Literals => ("/opt/bin/tool".to_owned(), format!("job{number}")),
    };
    [program, first, value.to_owned()].into_iter().filter_map(ClaimedWord::new).collect()
}

pub(crate) fn load(text: &str) -> io::Result<Policy> {
    let path = Path::new("/bench.rules");
    sluice::rules::load(path, &Text(text), &VariableValues::default())
        .map_err(|diagnostics| io::Error::other(format!("{diagnostics:?}")))
}

fn verify(good: bool) -> io::Result<()> {
    if good { Ok(()) } else { Err(io::Error::other("the rules do not decide as they were written")) }
}

/// The one file there is.
struct Text<'a>(&'a str);

impl RulesSource for Text<'_> {
    fn read(&self, _path: &Path) -> io::Result<String> {
        Ok(self.0.to_owned())
    }
}

/// No rule of these has an `in DIR` slot.
pub(crate) struct NoPaths;

impl PathResolver for NoPaths {
    fn locate(&self, _cwd: &Path, _value: &str, _dir: &Path) -> Option<LocatedPath> {
        None
    }
}
