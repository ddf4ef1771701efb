//! The first call of a socket for which nothing is kept ahead. That is the state of a socket that slept, and
//! of one that was never called, which can be had without a minute's wait: a broker has many sockets, one of
//! them is called until the broker is warm, then each of the others once.

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::budget::Budget;
use crate::caller::Caller;
use crate::calls::{Args, OFF};
use crate::sample::Spread;
use crate::table::Line;

/// First calls of one broker, and most brokers of each kind.
const FIRST_CALLS: usize = 12;
const ROUNDS_MAX: usize = 5;
/// Calls that warm a broker.
const WARMING: usize = 10;
/// Between first calls: what the one before had made ahead is there.
const REST: Duration = Duration::from_millis(50);
/// How the other build's calls are called.
const BEFORE: &str = "build before";
/// They are to be no slower than those of the other build; the rest is what two runs of one build differ by.
const BEFORE_MAX: f64 = 1.05;

/// First calls of each kind of broker, in ms, round by round.
#[derive(Debug, Default)]
pub struct FirstCalls {
    off: Vec<Vec<f64>>,
    scope: Vec<Vec<f64>>,
    /// Of another build of the broker, in scopes.
    before: Vec<Vec<f64>>,
}

/// Starts brokers, and calls a socket of each in turn.
pub fn run(args: &Args) -> io::Result<FirstCalls> {
    let mut calls = FirstCalls::default();
    for _ in 0..args.rounds.min(ROUNDS_MAX) {
        let mut brokers = vec![
            (warm("first-off", &args.broker, "off")?, &mut calls.off),
            (warm("first-scope", &args.broker, "require")?, &mut calls.scope),
        ];
        if let Some(before) = &args.before {
            brokers.push((warm("first-before", before, "require")?, &mut calls.before));
        }
        for (_, figures) in &mut brokers {
            figures.push(Vec::new());
        }
        for number in 1..=FIRST_CALLS {
            for (broker, figures) in &mut brokers {
                let took = first_call(broker, number)?;
                figures.last_mut().into_iter().for_each(|figures| figures.push(took));
            }
        }
    }
    Ok(calls)
}

/// A broker with a socket that was called, and others that were not.
fn warm(name: &str, program: &Path, scope: &str) -> io::Result<Broker> {
    let broker = Broker::activated(name, program, &[], &format!("  scope = {scope}\n"), FIRST_CALLS + 1)?;
    let caller = Caller::new(&broker.socket(), &["/bin/true"])?;
    (0..WARMING).try_for_each(|_| caller.call().map(drop))?;
    Ok(broker)
}

/// In ms.
fn first_call(broker: &Broker, number: usize) -> io::Result<f64> {
    sleep(REST);
    let caller = Caller::new(&broker.nth_socket(number), &["/bin/true"])?;
    let begun = Instant::now();
    match caller.call()? {
        0 => Ok(begun.elapsed().as_secs_f64() * 1e3),
        status => Err(io::Error::other(format!("a first call: status {status}"))),
    }
}

impl FirstCalls {
    /// Those in scopes beside those without, and beside the other build's.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = vec![self.over(OFF, &self.off)];
        if !self.before.is_empty() {
            lines.push(self.over(BEFORE, &self.before).within(Budget::at_most(BEFORE_MAX)));
        }
        lines
    }

    /// The ratio is that of the medians of all calls, its spread that of single rounds.
    fn over(&self, name: &str, floor: &[Vec<f64>]) -> Line {
        let [ours, below] = [&self.scope[..], floor].map(|rounds| median(&rounds.concat()));
        let rounds = self.scope.iter().zip(floor).map(|(ours, floor)| median(ours) / median(floor));
        let ratio = Spread { median: ours / below, ..Spread::of(rounds) };
        let what = format!("scope, first call of a socket, p50 of {}", self.scope.concat().len());
        Line::new(what, "ms", Spread::one(ours)).over(name, Spread::one(below), ratio)
    }
}

fn median(figures: &[f64]) -> f64 {
    Spread::of(figures.iter().copied()).median
}
