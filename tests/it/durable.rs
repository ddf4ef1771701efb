//! `sync = yes`: what is on disk when a command starts and when its caller is answered, and what a disk that
//! fails does to calls. strace tells the order of the broker's own system calls, and makes one of them fail.

use std::fs;
use std::path::PathBuf;
use std::thread;

use crate::harness::{Broker, Record, Status, Traced, needs_strace};

const RULES: &str = "defaults:\n  sync = yes\n\n/bin/echo #word\n  word = [a-z0-9]+\n";

/// A broker that strace follows from its start, if there is one.
fn traced(rules: &str) -> Option<(Broker, PathBuf)> {
    if !needs_strace() {
        return None;
    }
    let calls = "trace=write,sendto,sendmsg,fdatasync,fsync,execve";
    let setup =
        Broker::new(rules).under(&["strace", "-D", "-f", "-y", "-qq", "-o", "@DIR@/trace", "-e", calls]);
    let trace = setup.dir().join("trace");
    Some((setup.start(), trace))
}

/// The places in the trace of the lines that have both of these.
fn places(trace: &str, what: &str, of: &str) -> Vec<usize> {
    trace
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains(what) && line.contains(of))
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn start_and_end_are_on_disk_before_the_command_and_the_answer() {
    let Some((mut broker, path)) = traced(RULES) else { return };
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.stop();
    let trace = fs::read_to_string(path).expect("strace wrote it");
    let synced = places(&trace, "fdatasync(", "manifest.jsonl>");
    let start = places(&trace, "write(", r#"\"kind\":\"start\""#)[0];
    let end = places(&trace, "write(", r#"\"kind\":\"exit\""#)[0];
    let command = places(&trace, "execve(", "\"/bin/echo\"")[0];
    let between = |from, until| synced.iter().any(|&at| from < at && at < until);
    assert!(between(start, command), "{trace}");
    let answer = places(&trace, "send", "XCLS").into_iter().filter(|&at| at > end).min().expect("an answer");
    assert!(between(end, answer), "{trace}");
}

#[test]
fn a_new_manifest_has_its_directory_on_disk() {
    let Some((mut broker, path)) = traced(RULES) else { return };
    broker.stop();
    let trace = fs::read_to_string(path).expect("strace wrote it");
    assert!(!places(&trace, "fsync(", "/audit>").is_empty(), "{trace}");
    assert!(!places(&trace, "fsync(", ".manifest.jsonl.mark>").is_empty(), "{trace}");
}

#[test]
fn without_sync_nothing_waits_for_the_disk() {
    let Some((mut broker, path)) = traced("/bin/echo #word\n  word = [a-z0-9]+\n") else { return };
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.stop();
    let trace = fs::read_to_string(path).expect("strace wrote it");
    assert!(places(&trace, "sync(", "").is_empty(), "{trace}");
}

fn many(broker: &Broker, callers: usize, calls: usize) {
    thread::scope(|scope| {
        for caller in 0..callers {
            scope.spawn(move || {
                for call in 0..calls {
                    let word = format!("c{caller}n{call}");
                    broker.request(&["/bin/echo", &*word]).quick().run().exited(0);
                }
            });
        }
    });
}

#[test]
fn callers_share_their_syncs() {
    let Some((mut broker, path)) = traced(RULES) else { return };
    many(&broker, 16, 10);
    broker.stop();
    let trace = fs::read_to_string(path).expect("strace wrote it");
    let syncs = places(&trace, "fdatasync(", "manifest.jsonl").len();
    assert!((1..2 * 160).contains(&syncs), "{syncs} syncs for 160 calls");
}

#[test]
fn a_start_that_cannot_be_synced_does_not_run_until_a_reload() {
    let setup = Broker::new(&RULES.replace("/bin/echo", "@DIR@/prog"));
    let broker =
        setup.arranged(|dir| drop(dir.mkdir("ran", 0o700))).program("prog", "#!/bin/sh\n: > @DIR@/ran/$1\n");
    let broker = broker.start();
    let Some(traced) = Traced::failing(&broker, "fdatasync", "EIO", 1) else { return };
    let program = broker.dir().join("prog").to_string_lossy().into_owned();
    let call = |word: &str| broker.call([&*program, word]);
    call("a").refused(Status::AUDIT);
    traced.end();
    call("b").refused(Status::AUDIT);
    assert_eq!(fs::read_dir(broker.dir().join("ran")).expect("it was made").count(), 0);
    let closed = broker.records_of("exit status=-6 step=sync errno=\"EIO\"");
    assert_eq!(closed.len(), broker.records_of("start").len());
    broker.hup();
    call("c").exited(0);
    assert_eq!(fs::read_dir(broker.dir().join("ran")).expect("it was made").count(), 1);
}

#[test]
fn best_effort_runs_what_cannot_be_synced_and_says_so_once() {
    let broker = Broker::new(&RULES.replace("sync = yes", "sync = yes\n  audit = best-effort")).start();
    let Some(traced) = Traced::failing(&broker, "fdatasync", "EIO", 1) else { return };
    (0..3).for_each(|_| drop(broker.call(["/bin/echo", "a"]).exited(0)));
    traced.end();
    assert_eq!(broker.said().matches("cannot write /").count(), 1, "{}", broker.said());
    let starts: Vec<Record> = broker.records_of("start");
    assert_eq!(starts.len(), 3, "one start each");
}
