//! What real brokers recorded, as `sluice log` and `sluice verify` tell it: captures, rotation under load,
//! manifests that were cut, copied or removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use crate::captures::capturing;
use crate::harness::{Broker, Ended, SHELL, Status, Traced, sluice};

const RULES: &str = "/bin/echo #word\n  allow_any = word\n";

fn log(broker: &Broker, words: &[&str]) -> Ended {
    let manifest = broker.manifest_path();
    sluice([Path::new("log"), Path::new("--file"), &manifest].into_iter().chain(words.iter().map(Path::new)))
}

fn verify(files: &[&Path]) -> Ended {
    sluice([Path::new("verify"), Path::new("--journal=none")].into_iter().chain(files.iter().copied()))
}

/// How each call that is shown ended, in the order of their starts.
fn statuses(shown: &Ended) -> Vec<String> {
    let status = |row: &str| row.get(32..43).map(|cell| cell.trim().to_owned());
    shown.stdout().lines().skip(1).filter_map(status).collect()
}

fn beside(broker: &Broker, name: &str) -> PathBuf {
    broker.manifest_path().with_file_name(name)
}

#[test]
fn what_a_call_read_and_wrote_is_shown_and_printed() {
    let broker = capturing("").start();
    let script = "read line; echo got $line; echo oops >&2; exit 3";
    let answer = broker.request(&["/bin/sh", "-c", script]).stdin(&b"hello\n"[..]).run().exited(3);
    let start = answer.record("start");
    let shown = log(&broker, &["--call", "1"]).exited(0);
    let files =
        ["stdin", "stdout", "stderr"].map(|stream| format!("  {stream:<14} {}\n", start.text(stream)));
    let shown = shown.said(&files.each_ref().map(String::as_str));
    shown.said(&["  stdin_bytes    6\n", "  stdout_bytes   10\n", "  stderr_bytes   5\n"]);
    log(&broker, &["--output", "1"]).exited(0).printed("got hello\n");
    log(&broker, &["--output", "1", "--stderr"]).exited(0).printed("oops\n");
    log(&broker, &["--output", "1", "--stdin"]).exited(0).printed("hello\n");
}

#[test]
fn what_goes_on_after_a_call_is_shown_with_it() {
    let broker = capturing("background = keep").start();
    let (_read, write) = std::io::pipe().expect("a pipe");
    let script = "(sleep 0.2; echo later) & echo now";
    let call = broker.request(&["/bin/sh", "-c", script]).given(1, write).begin();
    call.wait().exited(0).audited(["start", "exit capturing=true"]);
    broker.record("capture call=1 stdout_bytes=10");
    log(&broker, &["--call", "1"]).exited(0).said(&[
        "capturing      true",
        "\ncapture\n",
        "stdout_bytes   10",
    ]);
    let records = log(&broker, &["--json"]).exited(0).stdout();
    let kinds: Vec<_> =
        records.lines().filter_map(|line| line.get(9..).and_then(|rest| rest.split('"').next())).collect();
    assert_eq!(kinds, ["start", "exit", "capture"]);
    log(&broker, &["--output", "1"]).exited(0).printed("now\nlater\n");
    assert_eq!(statuses(&log(&broker, &[]).exited(0)), ["0"]);
}

#[test]
fn ends_that_are_not_the_commands_are_told_apart() {
    let mut broker = Broker::new(&format!("defaults:\n  sync = yes\n\n{SHELL}  on_hangup = keep\n")).start();
    if let Some(traced) = Traced::failing(&broker, "fdatasync", "EIO", 1) {
        broker.sh("echo unseen").refused(Status::AUDIT).printed("");
        traced.end();
        broker.hup();
        assert_eq!(statuses(&log(&broker, &[]).exited(0))[0], "EIO");
        log(&broker, &["--call=1"]).exited(0).said(&["status         -6", "step           sync"]);
    }
    let mut call = broker.begin_sh("echo $$; exec sleep 60");
    call.pid();
    let caller = call.stay();
    broker.kill();
    drop(caller);
    broker.start_again();
    let shown = log(&broker, &["-n", "1"]).exited(0);
    assert!(shown.stdout().contains(" lost killed "), "{shown}");
}

#[test]
fn rotation_under_load_leaves_one_history() {
    const ROUNDS: usize = 3;
    let mut broker = capturing("").start();
    let mut long = broker.request(&["/bin/sh", "-c", "echo up; cat"]).stdin_open().begin();
    long.line();
    let path = broker.manifest_path();
    let rotated: Vec<_> =
        (1..=ROUNDS).map(|part| beside(&broker, &format!("manifest.jsonl.{part}"))).collect();
    thread::scope(|scope| {
        for caller in 0..4 {
            // Between the move and the reload they are refused, which is on record too: each has words of its
            // own, or several would be counted in one record.
            let (broker, call) = (&broker, move |number| format!("echo {caller}.{number}"));
            scope.spawn(move || {
                (0..10).for_each(|number| {
                    drop(broker.request(&["/bin/sh", "-c", &call(number)]).quick().run());
                });
            });
        }
        for old in rotated.iter().rev() {
            fs::rename(&path, old).expect("an own file can be renamed");
            broker.hup();
        }
    });
    long.write(b"end\n");
    long.close_stdin();
    long.wait().exited(0);
    broker.stop();
    let files: Vec<_> = rotated.iter().chain([&path]).map(PathBuf::as_path).collect();
    verify(&files).exited(0).said(&["of 41 calls"]);
    let shown = log(&broker, &["-n", "all"]).exited(0);
    let statuses = statuses(&shown);
    assert!(
        statuses[0] == "0" && statuses.iter().all(|status| status == "0" || status.starts_with("audit")),
        "{shown}"
    );
    log(&broker, &["--call=1"]).exited(0).said(&["stdin_bytes    4", "stdout_bytes   7"]);
    log(&broker, &["--output=1"]).exited(0).printed("up\nend\n");
    verify(&files[1..]).exited(1).said(&["lines are missing before it"]);
}

#[test]
fn a_cut_that_the_next_broker_found_is_not_good() {
    let mut broker = Broker::new(RULES).start();
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.stop();
    let text = fs::read_to_string(broker.manifest_path()).expect("there is a manifest");
    let kept: Vec<_> = text.split_inclusive('\n').take(2).collect();
    fs::write(broker.manifest_path(), kept.concat()).expect("an own file can be written");
    verify(&[&broker.manifest_path()]).exited(0);
    broker.start_again();
    verify(&[&broker.manifest_path()])
        .exited(1)
        .said(&["manifest.jsonl:3: lines before it are missing or were changed"]);
}

#[test]
fn a_manifest_that_was_removed_is_missed_until_it_is_given_again() {
    for audit in ["strict", "best-effort"] {
        let mut broker = Broker::new(&format!("defaults:\n  audit = {audit}\n\n{RULES}")).start();
        broker.call(["/bin/echo", "a"]).exited(0);
        broker.stop();
        let [path, away] = [broker.manifest_path(), beside(&broker, "away")];
        fs::rename(&path, &away).expect("an own file can be renamed");
        broker.start_again();
        broker.call(["/bin/echo", "b"]).exited(0);
        verify(&[&path]).exited(0).said(&["manifest.jsonl goes on from a file that was not given"]);
        verify(&[&path, &away]).exited(0).said(&["of 2 calls"]);
    }
}

#[test]
fn best_effort_begins_a_manifest_anew_under_a_running_broker() {
    let mut broker = Broker::new(&format!("defaults:\n  audit = best-effort\n\n{RULES}")).start();
    broker.call(["/bin/echo", "a"]).exited(0);
    let [path, away] = [broker.manifest_path(), beside(&broker, "away")];
    fs::rename(&path, &away).expect("an own file can be renamed");
    broker.call(["/bin/echo", "b"]).exited(0);
    broker.stop();
    verify(&[&path]).exited(0).said(&["goes on from a file that was not given"]);
    verify(&[&away, &path]).exited(0).said(&["of 2 calls"]);
}

#[test]
fn a_copy_and_what_is_left_of_a_cut_manifest_are_one_history() {
    let mut broker = Broker::new(RULES).start();
    broker.call(["/bin/echo", "a"]).exited(0);
    let [path, copy] = [broker.manifest_path(), beside(&broker, "copy")];
    fs::copy(&path, &copy).expect("an own file can be copied");
    fs::File::options().write(true).open(&path).and_then(|file| file.set_len(0)).expect("cut");
    broker.call(["/bin/echo", "b"]).refused(Status::AUDIT);
    broker.hup();
    broker.call(["/bin/echo", "c"]).exited(0);
    broker.stop();
    verify(&[&path]).exited(1).said(&["manifest.jsonl:1: lines before it are missing"]);
    verify(&[&copy, &path]).exited(0).said(&["of 3 calls"]);
}
