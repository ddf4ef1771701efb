//! How a broker bears numbers: what a fresh call costs beside a thousand running ones, ten thousand silent
//! connections, a thousand sockets, ten thousand rules, reload after reload; and what the broker holds
//! meanwhile. Each beside an empty broker in the same rounds. `situation.rs` brings them about,
//! `footprint.rs` looks from outside.

mod command;
mod footprint;
mod report;
mod situation;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::caller::Caller;
use crate::memory;
use crate::sample::{Bounds, measure};
use crate::subject::Subject;

pub use command::{Args, run};
pub use footprint::Footprint;
pub use report::{Report, Row};
pub use situation::{SITUATIONS, Situation};

/// What every broker of a run has in its `defaults`.
const DEFAULTS: &str = "  scope = off\n  journal = off\n";
const COMMAND: &str = "/bin/true";
/// What shows that a subject runs commands at all.
const FALSE: &str = "/bin/false";

/// How a run measures.
#[derive(Clone, Copy, Debug)]
pub struct Method<'a> {
    /// The broker's program.
    pub program: &'a Path,
    /// Its options.
    pub options: &'a [&'a str],
    /// Rounds of one slice for each of the two brokers.
    pub rounds: usize,
    /// Longest time of one slice.
    pub slice: Duration,
    /// How long the broker is watched while nobody calls.
    pub idle: Duration,
}

/// Brings a situation about `size` times as large as one of its kind, and measures beside it.
pub fn row(method: &Method<'_>, situation: &Situation, size: usize) -> io::Result<Row> {
    let empty = Broker::start("empty", method.program, method.options, DEFAULTS)?;
    let begun = Instant::now();
    let mut scene = situation.set(method, size)?;
    called(&scene.broker)?;
    let first_ms = begun.elapsed().as_secs_f64() * 1e3;
    scene.fill(size)?;
    let begun = Instant::now();
    called(&scene.broker)?;
    let fresh_ms = begun.elapsed().as_secs_f64() * 1e3;
    let subjects = [subject("empty", &empty)?, subject(situation.name, &scene.broker)?];
    let bounds = Bounds {
        time: method.slice,
        calls: usize::MAX,
        pause: Duration::ZERO,
        rest: Duration::from_millis(50),
    };
    let mut rows = measure(&subjects, situation.callers, method.rounds, bounds);
    let fresh = rows.pop().ok_or_else(|| io::Error::other("no row"))?;
    let (memory, footprint) = (memory::of_broker(scene.broker.pid())?, Footprint::of(scene.broker.pid())?);
    scene.rest();
    let idle_us = footprint::busy_us(scene.broker.pid(), method.idle)?;
    Ok(Row { what: situation.name, size, first_ms, fresh_ms, fresh, memory, footprint, idle_us })
}

fn subject(name: &'static str, broker: &Broker) -> io::Result<Subject> {
    Ok(Subject::brokered(name, Caller::new(&broker.socket(), &[COMMAND])?))
}

/// That the broker runs commands.
fn called(broker: &Broker) -> io::Result<()> {
    Subject::brokered("first", Caller::new(&broker.socket(), &[FALSE])?).verify()
}
