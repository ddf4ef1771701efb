//! What calls cost where systemd is, with manifest and journal: against `posix_spawn` of the same command,
//! against what the manager can do when nobody else is involved, and against other programs that one would
//! start instead, all in one run. To be run as a service of a user's manager; `run.rs` starts it in a machine
//! that has one.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use clap::Args as Arguments;

use crate::broker::Broker;
use crate::caller::Caller;
use crate::cpu;
use crate::crowd;
use crate::details::{Details, Resident};
use crate::figures;
use crate::first;
use crate::groups::Groups;
use crate::manager::{Manager, Properties};
use crate::memory;
use crate::piped::PipedCaller;
use crate::programs;
use crate::sample::{Bounds, Rounds};
use crate::subject::Subject;

/// How the rows name what has no broker around it.
pub const SPAWN: &str = "posix_spawn";
/// A call in a transient scope.
pub const SCOPE: &str = "sluice, scope";
/// A call without one.
pub const OFF: &str = "sluice, off";
/// The same in version 2, with a new connection for each call.
pub const V2: &str = "sluice, v2";
/// The same on one connection, which all callers share.
pub const KEPT: &str = "sluice, v2 kept";
/// A call in a group that the broker makes.
pub const DELEGATE: &str = "sluice, delegate";
/// A process in a scope without a broker, with the properties that the broker gives.
pub const BARE: &str = "bare scopes";
/// The same with nothing but the process.
pub const FEWEST: &str = "barest scopes";
/// A process in a group of its own without a broker: what the kernel takes for that.
pub const GROUPS: &str = "bare groups";
/// The bare command in turn with calls in scopes.
pub const SPAWN_BY_SCOPE: &str = "spawn (scope)";
/// The broker that this one is compared with. Whether its calls fail is its own affair.
pub const PEER: &str = "sluicify 0.4.1";

const COMMAND: &str = "/bin/true";
/// What shows that a subject runs commands at all.
const FALSE: &str = "/bin/false";
/// Before a slice: the manager and the journal have ended what the one before it left them to do.
pub(crate) const REST: Duration = Duration::from_millis(100);
/// The scopes that are kept ahead are there by then.
const PARKED_IN: Duration = Duration::from_millis(500);
/// After a burst, the broker keeps more scopes for a while; then it is idle.
const IDLE_IN: Duration = Duration::from_secs(7);
/// Slices with rests have so many times the time of the others, and those of one caller.
const PACED_SLICES: u64 = 3;
const SINGLE_SLICES: u64 = 2;

/// Measures calls with the manager of this user.
#[derive(Clone, Debug, Arguments)]
pub struct Args {
    /// The broker
    #[arg(long, value_name = "PATH", default_value = "sluice")]
    pub broker: PathBuf,
    /// Its client
    #[arg(long, value_name = "PATH", default_value = "sluicify")]
    pub client: PathBuf,
    /// The broker to compare with, and its client
    #[arg(long, num_args = 2, value_names = ["BROKER", "CLIENT"])]
    pub peer: Vec<PathBuf>,
    /// The broker of an earlier build: its first calls of sockets are held against ours
    #[arg(long, value_name = "BROKER")]
    pub before: Option<PathBuf>,
    /// Callers at once where there are many
    #[arg(long, default_value_t = 16)]
    pub callers: usize,
    /// Rounds of one slice for each subject
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Longest time of one slice, in ms
    #[arg(long, default_value_t = 500)]
    pub slice_ms: u64,
    /// Calls of each way in turn with the bare command, in all rounds
    #[arg(long, default_value_t = 4000)]
    pub turns: usize,
    /// Rest of a caller that rests between its calls, in ms
    #[arg(long, default_value_t = 20)]
    pub pause_ms: u64,
    /// Calls over which processor time is divided; 0 leaves that out
    #[arg(long, default_value_t = 1000)]
    pub cpu_calls: usize,
}

/// The brokers of one run.
#[derive(Debug)]
pub struct Brokers {
    pub(crate) off: Broker,
    pub(crate) scope: Broker,
    pub(crate) delegate: Broker,
    pub(crate) peer: Option<Broker>,
}

/// Measures everything, and makes the lines of it.
pub fn run(args: &Args) -> io::Result<Details> {
    let brokers = Brokers::start(args)?;
    let mut memory = vec![resident(&brokers, "before its first call", None, Duration::ZERO)?];
    brokers.verify()?;
    memory.push(resident(&brokers, "after a call", Some("after a call"), PARKED_IN)?);
    let single = single(args, &brokers)?;
    let turns = in_turn(args, &brokers)?;
    let paced = paced(args, &brokers)?;
    let programs = programs::run(args, &brokers)?;
    let many = many(args, &brokers)?;
    let mut crowds = crowd::run(&brokers.calls(COMMAND)?, args.rounds)?;
    crowds.push(crowd::programs(args)?);
    memory.push(resident(&brokers, "after a burst", None, Duration::ZERO)?);
    let peer = brokers.peer.as_ref().map(|peer| memory::of_broker(peer.pid())).transpose()?;
    memory.push(resident(&brokers, "idle again", Some("after all calls above"), IDLE_IN)?);
    let first = first::run(args)?;
    let shares = if args.cpu_calls > 0 { shares(args, &brokers)? } else { Vec::new() };
    let processors = available_parallelism().map_or(0, usize::from);
    let no_groups = brokers.groups().err();
    let figures =
        figures::Figures { single, turns, paced, programs, many, crowds, first, memory, peer, no_groups };
    Ok(Details::new(processors, args, figures, shares))
}

impl Brokers {
    fn start(args: &Args) -> io::Result<Self> {
        let peer = match &args.peer[..] {
            [broker, _] => Some(Broker::start("peer", broker, &[], "")?),
            _ => None,
        };
        Ok(Self {
            off: Broker::start("off", &args.broker, &[], "  scope = off\n")?,
            scope: Broker::start("scope", &args.broker, &[], "  scope = require\n")?,
            delegate: Broker::delegated("delegate", &args.broker, "  scope = delegate\n")?,
            peer,
        })
    }

    /// All of them, by the names of their rows.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &Broker)> {
        let ours = [(OFF, &self.off), (SCOPE, &self.scope), (DELEGATE, &self.delegate)];
        ours.into_iter().chain(self.peer.as_ref().map(|peer| (PEER, peer)))
    }

    /// That they run commands.
    fn verify(&self) -> io::Result<()> {
        self.calls(FALSE)?.iter().try_for_each(Subject::verify)
    }

    /// A call of a command through each broker, and in version 2 through the one without scopes.
    fn calls(&self, command: &str) -> io::Result<Vec<Subject>> {
        let mut calls: Vec<_> =
            self.all().map(|(name, broker)| called(name, broker, command)).collect::<io::Result<_>>()?;
        calls.splice(1..1, self.piped(command)?);
        Ok(calls)
    }

    /// The calls in version 2.
    fn piped(&self, command: &str) -> io::Result<[Subject; 2]> {
        let (socket, words) = (self.off.socket(), [command]);
        Ok([
            Subject::piped(V2, PipedCaller::new(&socket, &words)?),
            Subject::piped(KEPT, PipedCaller::kept(&socket, &words)?),
        ])
    }

    /// The bare command, a call of it through each broker, and what a group takes, where that can be had.
    fn subjects(&self) -> io::Result<Vec<Subject>> {
        let mut subjects = vec![Subject::direct(SPAWN, &[COMMAND])?];
        subjects.extend(self.calls(COMMAND)?);
        subjects.extend(self.groups());
        Ok(subjects)
    }

    /// The bare command in a group beside those of the broker that makes some.
    fn groups(&self) -> io::Result<Subject> {
        let of = |command| Ok(Subject::in_group(GROUPS, Groups::beside(self.delegate.pid(), &[command])?));
        of(FALSE).and_then(|subject: Subject| subject.verify())?;
        of(COMMAND)
    }
}

fn called(name: &'static str, broker: &Broker, command: &str) -> io::Result<Subject> {
    Ok(Subject::brokered(name, Caller::new(&broker.socket(), &[command])?))
}

fn resident(
    brokers: &Brokers,
    when: &'static str,
    idle: Option<&'static str>,
    after: Duration,
) -> io::Result<Resident> {
    sleep(after);
    Ok(Resident { when, idle, memory: memory::of_broker(brokers.scope.pid())? })
}

fn single(args: &Args, brokers: &Brokers) -> io::Result<Rounds> {
    let time = Duration::from_millis(SINGLE_SLICES * args.slice_ms);
    Ok(Rounds::run(&brokers.subjects()?, 1, args.rounds, Bounds { time, ..args.bounds() }))
}

fn in_turn(args: &Args, brokers: &Brokers) -> io::Result<Rounds> {
    let pairs = [
        [Subject::direct(SPAWN, &[COMMAND])?, called(OFF, &brokers.off, COMMAND)?],
        [Subject::direct(SPAWN_BY_SCOPE, &[COMMAND])?, called(SCOPE, &brokers.scope, COMMAND)?],
    ];
    Ok(Rounds::in_blocks(&pairs, args.rounds, args.turns.div_ceil(args.rounds.max(1))))
}

fn paced(args: &Args, brokers: &Brokers) -> io::Result<Rounds> {
    let subjects = [
        Subject::direct(SPAWN, &[COMMAND])?,
        called(OFF, &brokers.off, COMMAND)?,
        called(SCOPE, &brokers.scope, COMMAND)?,
    ];
    let time = Duration::from_millis(PACED_SLICES * args.slice_ms);
    let bounds = Bounds { time, pause: Duration::from_millis(args.pause_ms), ..args.bounds() };
    Ok(Rounds::run(&subjects, 1, args.rounds, bounds))
}

fn many(args: &Args, brokers: &Brokers) -> io::Result<Rounds> {
    let manager = Manager::connect()?;
    let mut subjects = brokers.subjects()?;
    subjects.push(Subject::in_scope(BARE, &manager, Properties::Brokers));
    subjects.push(Subject::in_scope(FEWEST, &manager, Properties::Fewest));
    Ok(Rounds::run(&subjects, args.callers, args.rounds, args.bounds()))
}

fn shares(args: &Args, brokers: &Brokers) -> io::Result<Vec<(&'static str, cpu::Shares)>> {
    let ours = brokers.all().filter(|(name, _)| *name != PEER);
    let mut subjects: Vec<_> = ours
        .map(|(name, broker)| Ok((called(name, broker, COMMAND)?, broker.pid())))
        .collect::<io::Result<_>>()?;
    subjects.extend(brokers.piped(COMMAND)?.map(|subject| (subject, brokers.off.pid())));
    let of = |(subject, broker): (Subject, u32)| {
        Ok((subject.name, cpu::shares(&subject, broker, args.cpu_calls)?))
    };
    subjects.into_iter().map(of).collect()
}

impl Args {
    /// The bounds of one slice.
    pub(crate) fn bounds(&self) -> Bounds {
        let time = Duration::from_millis(self.slice_ms);
        Bounds { time, calls: usize::MAX, pause: Duration::ZERO, rest: REST }
    }

    /// The program that starts a call on the peer.
    pub(crate) fn peer_client(&self) -> Option<&Path> {
        self.peer.get(1).map(PathBuf::as_path)
    }
}
