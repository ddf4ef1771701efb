//! What the next broker makes of one that was killed: a torn line is set apart, a call without an end is
//! closed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::captures::{capturing, held};
use crate::harness::{Broker, Pid, SOON, Setup, chain_anew, sluice, within};

fn shell(more: &str) -> Setup {
    Broker::new(&format!("/bin/sh -c #script\n  allow_any = script\n  on_hangup = keep\n{more}"))
}

/// Kills the broker while one call runs.
fn kill_in_a_call(broker: &mut Broker) {
    kill_after(broker, |_| ());
}

/// The same, some time after the call began.
fn kill_after(broker: &mut Broker, meanwhile: impl FnOnce(&Broker)) {
    let mut call = broker.begin_sh("echo $$; exec sleep 60");
    let pid = call.pid();
    let caller = call.stay();
    meanwhile(broker);
    broker.kill();
    drop(caller);
    within(SOON, "the command is gone", || (!pid.runs()).then_some(()));
}

fn append(broker: &Broker, bytes: &[u8]) {
    let file = fs::File::options().append(true).open(broker.manifest_path());
    file.and_then(|mut file| file.write_all(bytes)).expect("an own file can be written");
}

/// Moves the manifest away, and has the broker begin another one. Gives where the old one is.
fn rotate(broker: &Broker) -> PathBuf {
    let old = broker.manifest_path().with_extension("jsonl.1");
    fs::rename(broker.manifest_path(), &old).expect("an own file can be renamed");
    broker.hup();
    old
}

/// The pid of what a call of `broker` left running.
fn left_running(broker: &Broker, script: &str) -> Pid {
    let answer = broker.sh(script).exited(0);
    Pid(String::from_utf8_lossy(&answer.stdout).trim().parse().expect("it printed a pid"))
}

/// Rewrites a text in the manifest, and the chain with it.
fn rewrite(broker: &Broker, from: &str, to: &str) {
    let text = fs::read_to_string(broker.manifest_path()).expect("there is a manifest");
    assert!(text.contains(from), "{text}");
    let lines: Vec<_> = text.lines().map(|line| line.replace(from, to)).collect();
    fs::write(broker.manifest_path(), chain_anew(&lines).concat()).expect("an own file can be written");
}

#[test]
fn a_call_that_a_kill_interrupted_is_lost_and_said_once() {
    let mut broker = shell("").start();
    kill_in_a_call(&mut broker);
    broker.start_again();
    broker.stop();
    broker.start_again();
    let lost = broker.records_of("lost");
    assert!(lost.len() == 1 && lost[0].is("lost call=1 reason=killed"), "{}", broker.transcript(0));
}

#[test]
fn a_call_that_the_host_interrupted_says_so() {
    let mut broker = shell("").start();
    kill_in_a_call(&mut broker);
    let boot = broker.record("open").text("boot").to_owned();
    assert_eq!(boot.len(), 32, "{boot}");
    rewrite(&broker, &boot, &"0".repeat(32));
    broker.start_again();
    broker.record("lost call=1 reason=host");
    // The mark knows another last line; only the record was of interest.
    fs::remove_file(broker.manifest_path()).expect("an own file can be removed");
    broker.kill();
}

#[test]
fn a_call_whose_start_is_not_recorded_leaves_a_gap() {
    let mut broker = shell("  log = exit-only\n").start();
    kill_in_a_call(&mut broker);
    broker.start_again();
    assert!(broker.records_of("lost").is_empty());
    broker.sh("true").exited(0).audited(["exit call=2"]);
}

#[test]
fn a_torn_start_is_set_apart_and_not_taken_for_a_call() {
    let mut broker = shell("").start();
    broker.sh("true").exited(0);
    broker.kill();
    append(&broker, br#"{"kind":"start","call":2,"ts":1700000000000,"socket":"it","ru"#);
    broker.start_again();
    let open = broker.records_of("open").pop().expect("an open record");
    assert!(open.is("open torn=61"), "{open}");
    assert!(broker.records_of("lost").is_empty());
}

#[test]
fn two_torn_lines_in_two_lives_are_both_set_apart() {
    let mut broker = shell("").start();
    for _ in 0..2 {
        broker.sh("true").exited(0);
        broker.kill();
        append(&broker, b"{\"kind\":\"exit\",");
        broker.start_again();
    }
    assert_eq!(broker.records_of("open torn=15").len(), 2);
}

#[test]
fn a_line_that_lacks_only_its_newline_is_a_record() {
    let mut broker = shell("").start();
    broker.sh("true").exited(0);
    broker.kill();
    let text = fs::read(broker.manifest_path()).expect("there is a manifest");
    fs::write(broker.manifest_path(), &text[..text.len() - 1]).expect("an own file can be written");
    broker.start_again();
    assert_eq!(broker.records_of("exit call=1").len(), 1);
    assert!(broker.records_of("lost").is_empty());
    assert!(broker.records().iter().all(|record| record.value != Value::Null));
}

#[test]
fn a_start_that_lacks_only_its_newline_is_closed() {
    let mut broker = shell("").start();
    kill_in_a_call(&mut broker);
    let text = fs::read(broker.manifest_path()).expect("there is a manifest");
    fs::write(broker.manifest_path(), &text[..text.len() - 1]).expect("an own file can be written");
    broker.start_again();
    broker.record("lost call=1 reason=killed");
}

#[test]
fn numbers_after_a_lost_call_are_fresh() {
    let mut broker = shell("").start();
    for round in 1..=3 {
        kill_in_a_call(&mut broker);
        broker.start_again();
        assert_eq!(broker.records_of("lost").len(), round);
    }
    broker.sh("true").exited(0).audited(["start call=4", "exit call=4"]);
}

#[test]
fn a_lost_call_says_what_its_captures_hold() {
    let mut broker = capturing("on_hangup = keep").start();
    kill_in_a_call(&mut broker);
    broker.start_again();
    let (start, lost) = (broker.record("start call=1"), broker.record("lost call=1 reason=killed"));
    let bytes = held(&start, "stdout").len() as u64;
    assert!(bytes > 0 && lost.number("stdout_bytes") == bytes, "{lost}");
    assert!(lost.is("lost stdin_bytes=0 stderr_bytes=0 !truncated"), "{lost}");
}

#[test]
fn captures_that_a_kill_interrupted_after_their_call_are_closed_by_the_next_broker() {
    let mut broker = capturing("background = keep").start();
    let answer = broker.sh("sleep 60 & echo $!").exited(0);
    let left = Pid(String::from_utf8_lossy(&answer.stdout).trim().parse().expect("it printed a pid"));
    answer.audited(["start call=1", "exit call=1 capturing"]);
    broker.kill();
    broker.start_again();
    let (start, capture) = (broker.record("start call=1"), broker.record("capture call=1 reason=killed"));
    assert_eq!(capture.number("stdout_bytes"), held(&start, "stdout").len() as u64, "{capture}");
    left.signal(Signal::SIGKILL);
    broker.stop();
    broker.start_again();
    assert_eq!(broker.records_of("capture").len(), 1, "it is said once");
}

#[test]
fn what_runs_on_in_a_new_file_is_found_by_the_next_broker() {
    let mut broker = capturing("on_hangup = keep").start();
    let mut old = PathBuf::new();
    kill_after(&mut broker, |broker| old = rotate(broker));
    broker.start_again();
    let (carried, lost) = (broker.record("carried call=1 !capturing !keeping"), broker.record("lost call=1"));
    assert_eq!(lost.number("stdout_bytes"), held(&carried, "stdout").len() as u64, "{lost}");
    assert!(lost.is("lost reason=killed stdin_bytes=0 stderr_bytes=0"), "{lost}");
    broker.record("open running=[1]");
    broker.stop();
    let paths = [old, broker.manifest_path()];
    sluice([["verify".into(), "--journal=none".into()].as_slice(), &paths].concat()).exited(0);
    let shown = sluice(["log".as_ref(), "--call=1".as_ref(), "--file".as_ref(), paths[1].as_os_str()]);
    shown.exited(0).said(&["start\n", "\ncarried\n", "\nlost\n"]);
    let json = sluice(["log".as_ref(), "--json".as_ref(), "--file".as_ref(), paths[1].as_os_str()]).exited(0);
    let kinds = json.stdout().lines().map(|line| line[9..].split('"').next().map(str::to_owned)).collect();
    let kinds: Option<Vec<_>> = kinds;
    assert_eq!(kinds.expect("each has a kind"), ["start", "carried", "lost"]);
    broker.start_again();
    assert_eq!(broker.records_of("lost").len(), 1, "it is said once");
}

#[test]
fn captures_that_went_on_into_a_new_file_are_closed_by_the_next_broker() {
    let mut broker = capturing("background = keep").start();
    // Whoever reads stays, or nothing would be captured on.
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let script = ["/bin/sh", "-c", "sleep 60 & echo $!"];
    broker
        .request(&script)
        .given(1, write)
        .begin()
        .wait()
        .exited(0)
        .audited(["start", "exit capturing=true"]);
    let mut said = [0; 16];
    let bytes = read.read(&mut said).expect("a pipe can be read");
    rotate(&broker);
    broker.record("carried call=1 capturing=true");
    broker.kill();
    broker.start_again();
    let (carried, capture) = (broker.record("carried call=1"), broker.record("capture call=1 reason=killed"));
    assert_eq!(capture.number("stdout_bytes"), held(&carried, "stdout").len() as u64, "{capture}");
    let left = String::from_utf8_lossy(&said[..bytes]).trim().parse().expect("it printed a pid");
    Pid(left).signal(Signal::SIGKILL);
}

#[test]
fn a_file_that_was_cut_is_told_of_the_calls_that_run() {
    let mut broker = capturing("on_hangup = keep").start();
    kill_after(&mut broker, |broker| {
        fs::write(broker.manifest_path(), "").expect("an own file can be written");
        broker.hup();
    });
    broker.start_again();
    let (carried, lost) = (broker.record("carried call=1"), broker.record("lost call=1 reason=killed"));
    assert_eq!(lost.number("stdout_bytes"), held(&carried, "stdout").len() as u64, "{lost}");
}

#[test]
fn a_call_of_which_nothing_could_be_found_is_not_carried() {
    let mut broker = shell("").start();
    kill_after(&mut broker, |broker| drop(rotate(broker)));
    broker.start_again();
    assert!(broker.records_of("carried").is_empty());
    broker.record("lost call=1 reason=killed !stdout_bytes !ended");
}

#[test]
fn an_end_says_whether_something_was_kept() {
    let mut broker = shell("  background = keep\n").start();
    broker.sh("true").exited(0).audited(["start", "exit !keeping"]);
    let left = left_running(&broker, "sleep 60 >/dev/null 2>&1 & echo $!");
    broker.record("exit call=2 keeping=true !capturing !left");
    broker.stop();
    assert!(!left.runs(), "the broker left it behind");
    broker.start_again();
    assert!(broker.records_of("kept").is_empty(), "a broker that left by itself has ended all");
}
