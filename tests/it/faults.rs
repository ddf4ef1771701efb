//! The broker killed at each of its system calls, and each of them failing, between a caller's request and
//! its answer. The test run takes a sample; `tests/faults` takes them all. What must be true afterwards the
//! harness checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use crate::harness::{Broker, Connection, Reply, SOON, Status, Traced, frame, within};

/// What a call's own program leaves behind when it ran.
const PROGRAM: &str = "#!/bin/sh\n: > @DIR@/ran/$1\n";

const ERRORS: [&str; 6] = ["EIO", "ENOSPC", "EMFILE", "ENOMEM", "EINTR", "EAGAIN"];

/// System calls that are not made to fail: they cannot, or only so that a Rust program ends (its memory), or
/// their failure would be one that the kernel never gives (a `close` that closes nothing, a `futex` that
/// waits for nobody, an `epoll_wait` on what is no epoll, an `epoll_ctl` that does not find what is watched).
const SURE: &str = " brk clock_gettime clock_nanosleep close epoll_ctl epoll_wait exit exit_group futex getegid geteuid getpid \
    getrandom gettid getuid madvise mmap mprotect munmap restart_syscall rseq rt_sigaction rt_sigprocmask sched_yield \
    set_robust_list sigaltstack ";

/// A place where a fault may strike: the `at`th system call of this name in a thread.
type Place = (String, u32);

struct Site {
    broker: Broker,
    turn: u32,
}

impl Site {
    fn new(more: &str) -> Self {
        let rules =
            format!("defaults:\n{more}  scope = off\n\n@DIR@/prog #n\n  n = [0-9]+\n  timeout = 30s\n");
        let setup =
            Broker::new(&rules).arranged(|dir| drop(dir.mkdir("ran", 0o700))).program("prog", PROGRAM);
        Self { broker: setup.start(), turn: 0 }
    }

    /// One call under a number of its own, and what came back.
    fn call(&mut self) -> (u32, Reply) {
        self.turn += 1;
        let program = self.broker.dir().join("prog").to_string_lossy().into_owned();
        let null = fs::File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null");
        // A broker that is dead already answers nobody.
        let Ok(connection) = Connection::open(&self.broker.socket()) else {
            return (self.turn, Reply::Closed);
        };
        connection.send(&frame(&[&*program, &*self.turn.to_string()]), &[null.as_fd(); 3]);
        (self.turn, connection.reply())
    }

    fn mark(&self, turn: u32) -> PathBuf {
        self.broker.dir().join("ran").join(turn.to_string())
    }

    /// Every place that a call passes.
    fn survey(&mut self) -> Option<Vec<Place>> {
        self.call();
        let path = self.broker.dir().join("trace");
        let traced = Traced::listing(&self.broker, &path)?;
        self.call();
        traced.end();
        Some(places(&fs::read_to_string(path).expect("strace wrote it")))
    }

    /// What the records say of a call whose reply is known.
    fn judge(&self, turn: u32, reply: &Reply) -> Result<(), String> {
        let records = self.broker.records();
        let words = |turn: u32| move |argv: Vec<String>| argv.get(1) == Some(&turn.to_string());
        let start = records.iter().find(|record| record.is("start") && words(turn)(record.argv()));
        let number = start.map(|start| start.number("call"));
        let end = records.iter().find(|record| record.is("exit") && Some(record.number("call")) == number);
        if self.mark(turn).exists() && start.is_none() {
            return Err("it ran, and its start is not on record".into());
        }
        match reply {
            Reply::Status(Status(0)) if end.is_none() => {
                Err("it was answered, and its end is not on record".into())
            }
            Reply::Status(Status(0)) if !self.mark(turn).exists() => {
                Err("it was answered 0 and did not run".into())
            }
            Reply::Status(Status::SPAWN | Status::NO_RULE | Status::FDS) if self.mark(turn).exists() => {
                Err("it ran, and was answered that it did not".into())
            }
            Reply::Status(_) | Reply::Closed => Ok(()),
            Reply::Listing(_) | Reply::Silent | Reply::Garbled(_) => {
                Err(format!("it was answered {reply:?}"))
            }
        }
    }
}

/// The names and counts in a trace of several threads: `PID name(arguments) = result`.
fn places(trace: &str) -> Vec<Place> {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *counts.entry((thread, name)).or_default() += 1;
        }
    }
    let all =
        counts.into_iter().flat_map(|((_, name), most)| (1..=most).map(move |at| (name.to_owned(), at)));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Kills the broker at every `step`th place from the `from`th on.
fn kill_at_places(from: usize, step: usize) {
    let mut site = Site::new("");
    let Some(places) = site.survey() else { return };
    let mut complaints = Vec::new();
    let (mut rounds, mut unanswered) = (0, 0);
    for (name, at) in places.iter().skip(from).step_by(step) {
        let traced = Traced::fatal(&site.broker, name, *at);
        let (turn, reply) = site.call();
        site.broker.kill();
        drop(traced);
        site.broker.start_again();
        complaints.extend(site.judge(turn, &reply).err().map(|why| format!("{name} {at}: {why}")));
        rounds += 1;
        unanswered += u32::from(reply == Reply::Closed);
    }
    report(&format!("killed at {rounds} of {} system calls, {unanswered} before the answer", places.len()));
    assert!(unanswered > rounds / 3, "the kills came too late");
    assert!(complaints.is_empty(), "{complaints:#?}{}", site.broker.transcript(0));
}

/// Has every `step`th fallible place from the `from`th on fail once with each error.
fn fail_at_places(from: usize, step: usize, more: &str) {
    let mut site = Site::new(more);
    let Some(mut places) = site.survey() else { return };
    places.retain(|(name, _)| !SURE.contains(&format!(" {name} ")));
    let faults = places.iter().flat_map(|place| ERRORS.map(|error| (place, error)));
    let (mut complaints, mut rounds) = (Vec::new(), 0);
    for ((name, at), error) in faults.skip(from).step_by(step) {
        rounds += 1;
        if let Err(why) = strike(&mut site, name, *at, error) {
            complaints.push(format!("{name} {at} {error}: {why}"));
        }
    }
    report(&format!("{rounds} failures at {} system calls", places.len()));
    assert!(complaints.is_empty(), "{complaints:#?}{}", site.broker.said());
}

fn strike(site: &mut Site, name: &str, at: u32, error: &str) -> Result<(), String> {
    let traced = Traced::failing_once(&site.broker, name, error, at);
    let (turn, reply) = site.call();
    drop(traced);
    if !site.broker.pid().runs() {
        site.broker.kill();
        site.broker.start_again();
        return Err("it ended the broker".into());
    }
    if site.broker.rules().contains("sync = yes") {
        // A disk that did not sync is believed again after a reload.
        site.broker.hup();
    }
    // An end that could not be written is written before the next line.
    let (after, next) = site.call();
    if next != Reply::Status(Status(0)) {
        return Err(format!("the next call was answered {next:?}"));
    }
    site.judge(turn, &reply)?;
    site.judge(after, &next)
}

/// Says what a long run did.
pub(crate) fn report(text: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{text}").expect("stderr is open");
}

#[test]
fn a_kill_at_a_sample_of_system_calls_breaks_no_promise() {
    kill_at_places(3, 11);
}

#[test]
fn a_failure_of_a_sample_of_system_calls_breaks_no_promise() {
    fail_at_places(5, 41, "");
}

#[test]
#[ignore = "takes minutes; tests/faults runs it"]
fn a_kill_at_each_system_call_breaks_no_promise() {
    kill_at_places(0, 1);
}

#[test]
#[ignore = "takes minutes; tests/faults runs it"]
fn a_failure_of_each_system_call_breaks_no_promise() {
    fail_at_places(0, 1, "");
}

#[test]
#[ignore = "takes minutes; tests/faults runs it"]
fn a_failure_of_each_system_call_breaks_no_promise_of_sync() {
    fail_at_places(0, 7, "  sync = yes\n");
}

/// A descriptor of a broken manifest that comes back must be written again: the ends that were owed are
/// there.
#[test]
fn an_end_that_could_not_be_written_is_written_later() {
    let mut site = Site::new("");
    site.call();
    // A call's thread writes its start, then its end.
    let Some(traced) = Traced::failing_once(&site.broker, "write", "EIO", 2) else { return };
    site.call();
    traced.end();
    site.broker.says("cannot write /");
    assert_eq!(site.broker.records_of("exit").len(), 1, "{}", site.broker.transcript(0));
    assert_eq!(site.call().1, Reply::Status(Status(0)));
    within(SOON, "the end that was owed", || (site.broker.records_of("exit").len() == 3).then_some(()));
    site.broker.says("is written again");
}
