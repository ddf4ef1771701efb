//! Slices of work, and what becomes of them. A round is one slice of each subject in turn, so that whatever
//! the machine does beside falls on all alike; ratios are taken within a round, and a row is the median over
//! its rounds.

use std::fmt;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::subject::Subject;
use crate::table::Line;

/// Turns of one pair before the next pair has its own: longer than what is kept ahead of calls lasts.
const BLOCK_TURNS: usize = 50;
/// Before a block, for what the one before it left to others.
const BLOCK_REST: Duration = Duration::from_millis(10);

/// How much work one slice may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// No call starts after this.
    pub time: Duration,
    /// Most calls of one caller.
    pub calls: usize,
    /// How long a caller rests after each call.
    pub pause: Duration,
    /// How long all rests before the slice, for what the one before it left to others.
    pub rest: Duration,
}

/// What one slice saw.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// Of the calls that ended well, in order of length.
    latencies: Vec<Duration>,
    p50_ms: f64,
    p99_ms: f64,
    worst_ms: f64,
    rate: f64,
    calls: usize,
    failed: usize,
    error: Option<String>,
}

/// The middle of some numbers, and their ends.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// One row of the table: a subject over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The subject's name.
    pub what: &'static str,
    /// Callers at once.
    pub callers: usize,
    /// Median latency of a slice.
    pub p50_ms: Spread,
    /// 99th percentile of a slice.
    pub p99_ms: Spread,
    /// The longest call of a slice.
    pub worst_ms: Spread,
    /// Calls a second.
    pub rate: Spread,
    /// Calls in all.
    pub calls: usize,
    /// Calls that did not end with status 0.
    pub failed: usize,
    /// The last failure.
    pub error: Option<String>,
    /// Its p50 over that of the round's first subject.
    pub p50_ratio: Spread,
    /// Its p99 over that of the round's first subject.
    pub p99_ratio: Spread,
    /// Its rate over that of the round's first subject.
    pub rate_ratio: Spread,
}

/// One of the figures of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Median latency, in ms.
    P50,
    /// 99th percentile, in ms.
    P99,
    /// Calls a second.
    Rate,
}

/// Rounds of slices: one of each subject in turn.
#[derive(Debug)]
pub struct Rounds {
    names: Vec<&'static str>,
    callers: usize,
    slices: Vec<Vec<Slice>>,
}

/// Runs `rounds` rounds of all subjects with `callers` callers at once. The first subject is what the ratios
/// refer to.
pub fn measure(subjects: &[Subject], callers: usize, rounds: usize, bounds: Bounds) -> Vec<Row> {
    Rounds::run(subjects, callers, rounds, bounds).rows()
}

impl Rounds {
    /// Runs them with `callers` callers at once.
    pub fn run(subjects: &[Subject], callers: usize, rounds: usize, bounds: Bounds) -> Self {
        let round = |_| subjects.iter().map(|subject| slice(subject, callers, bounds)).collect();
        let names = subjects.iter().map(|subject| subject.name).collect();
        Self { names, callers, slices: (0..rounds).map(round).collect() }
    }

    /// The same with one caller and no slices. The two subjects of a pair run in turn, so that each finds the
    /// machine as the other left it; a bare run stands beside each call. Of several pairs, one has a block of
    /// turns, then the next one, in this order and then backwards, so that what changes over time falls on
    /// all alike. They do not alternate call by call: what one way leaves to others to do after its answer
    /// would then be in the other way's figures, and missing in its own.
    pub fn in_blocks(pairs: &[[Subject; 2]], rounds: usize, turns: usize) -> Self {
        let names = pairs.iter().flatten().map(|subject| subject.name).collect();
        Self { names, callers: 1, slices: (0..rounds).map(|_| blocks(pairs, turns)).collect() }
    }

    /// A row of each subject, with ratios to the first.
    pub fn rows(&self) -> Vec<Row> {
        let rows = self.names.iter().enumerate();
        rows.map(|(index, name)| row(name, self.callers, index, &self.slices)).collect()
    }

    /// Whether a subject of this name was measured.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// A figure of one subject.
    pub fn figure(&self, name: &str, figure: Figure) -> Spread {
        let index = self.index(name);
        Spread::of(self.slices.iter().map(|round| round[index].figure(figure)))
    }

    /// A figure of one subject over that of another one, taken within each round.
    pub fn ratio(&self, name: &str, floor: &str, figure: Figure) -> Spread {
        let (ours, floor) = (self.index(name), self.index(floor));
        Spread::of(self.slices.iter().map(|round| round[ours].figure(figure) / round[floor].figure(figure)))
    }

    /// The 99th percentile of one subject over that of another one. Each is taken of the calls of all rounds:
    /// the few longest calls of one round tell little. The spread is that of the same ratio without one of
    /// the rounds, each in turn.
    pub fn tail_line(&self, what: &str, name: &str, floor: &'static str) -> Line {
        let [ours, below] = [name, floor].map(|name| self.index(name));
        let ratio = |without| self.pooled_p99(ours, without) / self.pooled_p99(below, without);
        let parts = Spread::of((0..self.slices.len()).map(|round| ratio(Some(round))));
        let ratio = Spread { median: ratio(None), ..parts };
        let [figure, base] = [ours, below].map(|index| Spread::one(self.pooled_p99(index, None)));
        let calls = [ours, below].map(|index| self.pooled(index, None).len());
        let least = calls.into_iter().min().unwrap_or_default();
        Line::new(format!("{what} of {least}"), "ms", figure).over(floor, base, ratio)
    }

    /// In ms.
    fn pooled_p99(&self, index: usize, without: Option<usize>) -> f64 {
        percentile(&self.pooled(index, without), 99)
    }

    /// All calls of one subject, in order of length.
    fn pooled(&self, index: usize, without: Option<usize>) -> Vec<Duration> {
        let rounds = self.slices.iter().enumerate().filter(|(round, _)| Some(*round) != without);
        let mut all: Vec<_> =
            rounds.flat_map(|(_, slices)| slices[index].latencies.iter().copied()).collect();
        all.sort_unstable();
        all
    }

    /// A figure of one subject beside that of its floor.
    pub fn line(&self, what: &str, name: &str, floor: &'static str, figure: Figure) -> Line {
        let unit = if figure == Figure::Rate { "calls/s" } else { "ms" };
        let ratio = self.ratio(name, floor, figure);
        Line::new(what, unit, self.figure(name, figure)).over(floor, self.figure(floor, figure), ratio)
    }

    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|one| *one == name).expect("only what was measured is asked for")
    }
}

impl Slice {
    fn figure(&self, figure: Figure) -> f64 {
        match figure {
            Figure::P50 => self.p50_ms,
            Figure::P99 => self.p99_ms,
            Figure::Rate => self.rate,
        }
    }
}

fn slice(subject: &Subject, callers: usize, bounds: Bounds) -> Slice {
    thread::sleep(bounds.rest);
    let start = Barrier::new(callers + 1);
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..callers).map(|_| scope.spawn(|| one_caller(subject, &start, bounds))).collect();
        start.wait();
        let begun = Instant::now();
        let done =
            threads.into_iter().map(|thread| thread.join().expect("a caller does not panic")).collect();
        summary(done, begun.elapsed())
    })
}

/// Latencies of the calls that ended well, and the errors of the others.
type Done = (Vec<Duration>, Vec<String>);

fn one_caller(subject: &Subject, start: &Barrier, bounds: Bounds) -> Done {
    let mut done = Done::default();
    start.wait();
    let end = Instant::now() + bounds.time;
    for _ in 0..bounds.calls {
        if Instant::now() >= end {
            break;
        }
        once(subject, &mut done);
        if !bounds.pause.is_zero() {
            thread::sleep(bounds.pause);
        }
    }
    done
}

fn once(subject: &Subject, (good, bad): &mut Done) {
    let begun = Instant::now();
    match subject.once() {
        Ok(()) => good.push(begun.elapsed()),
        Err(error) => bad.push(error.to_string()),
    }
}

/// What one round in turn saw of each subject, in so many turns of each pair. Its rate is that of the time
/// that was its own.
fn blocks(pairs: &[[Subject; 2]], turns: usize) -> Vec<Slice> {
    let mut done: Vec<[Done; 2]> = pairs.iter().map(|_| Default::default()).collect();
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    for _ in 0..turns.div_ceil(BLOCK_TURNS) {
        for at in &order {
            block(&pairs[*at], &mut done[*at]);
        }
        order.reverse();
    }
    let own = |done: Done| {
        let spent = done.0.iter().sum();
        summary(vec![done], spent)
    };
    done.into_iter().flatten().map(own).collect()
}

/// The first turn's time does not count: it finds what the pair before it left.
fn block(pair: &[Subject; 2], done: &mut [Done; 2]) {
    thread::sleep(BLOCK_REST);
    for turn in 0..=BLOCK_TURNS {
        for (subject, done) in pair.iter().zip(done.iter_mut()) {
            let counted = done.0.len();
            once(subject, done);
            if turn == 0 {
                done.0.truncate(counted);
            }
        }
    }
}

fn summary(done: Vec<Done>, elapsed: Duration) -> Slice {
    let (good, bad): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    let mut good = good.concat();
    let mut bad = bad.concat();
    good.sort_unstable();
    Slice {
        p50_ms: percentile(&good, 50),
        p99_ms: percentile(&good, 99),
        worst_ms: percentile(&good, 100),
        rate: count(good.len()) / elapsed.as_secs_f64(),
        calls: good.len() + bad.len(),
        failed: bad.len(),
        error: bad.pop(),
        latencies: good,
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
}

fn row(what: &'static str, callers: usize, index: usize, rounds: &[Vec<Slice>]) -> Row {
    let over = |pick: fn(&Slice) -> f64| Spread::of(rounds.iter().map(|round| pick(&round[index])));
    let ratio = |pick: fn(&Slice) -> f64| {
        Spread::of(rounds.iter().map(|round| pick(&round[index]) / pick(&round[0])))
    };
    let mine = || rounds.iter().map(|round| &round[index]);
    Row {
        what,
        callers,
        p50_ms: over(|slice| slice.p50_ms),
        p99_ms: over(|slice| slice.p99_ms),
        worst_ms: over(|slice| slice.worst_ms),
        rate: over(|slice| slice.rate),
        calls: mine().map(|slice| slice.calls).sum(),
        failed: mine().map(|slice| slice.failed).sum(),
        error: mine().rev().find_map(|slice| slice.error.clone()),
        p50_ratio: ratio(|slice| slice.p50_ms),
        p99_ratio: ratio(|slice| slice.p99_ms),
        rate_ratio: ratio(|slice| slice.rate),
    }
}

impl Spread {
    /// One figure, which has no spread.
    pub fn one(value: f64) -> Self {
        Self { median: value, min: value, max: value }
    }

    /// All of it times `factor`.
    pub fn scaled(self, factor: f64) -> Self {
        Self { median: self.median * factor, min: self.min * factor, max: self.max * factor }
    }

    /// The spread of `values`; all zero when there are none.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        match values.as_slice() {
            [] => Self::default(),
            [min, ..] => Self { median: values[values.len() / 2], min: *min, max: values[values.len() - 1] },
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = self;
        let digits = f.precision().unwrap_or(0);
        write!(f, "{median:.digits$} ({min:.digits$}-{max:.digits$})")
    }
}

pub(crate) fn count(calls: usize) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(format!("{spread:?}"), "Spread { median: 2.0, min: 1.0, max: 3.0 }");
    }

    #[test]
    fn a_percentile_of_one_call_is_that_call() {
        assert_eq!(format!("{:.1}", percentile(&[Duration::from_millis(7)], 99)), "7.0");
    }
}
