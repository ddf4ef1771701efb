//! What happens when the manifest cannot be opened, cannot be written, or is taken away.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;

use crate::harness::{Broker, Reply, Setup, Status};

fn any_word() -> Setup {
    Broker::new("/bin/echo #word\n  allow_any = word\n")
}

const ELSEWHERE: &str = "defaults:\n  logfile = @DIR@/place/manifest.jsonl\n\n/bin/echo a\n";

#[test]
fn a_manifest_in_a_directory_that_others_write_is_refused() {
    for mode in [0o777, 0o770, 0o722] {
        let setup = Broker::new(ELSEWHERE).arranged(|dir| drop(dir.mkdir("place", mode)));
        setup.start_fails().said(&["place"]);
    }
}

#[test]
fn a_manifest_below_a_directory_that_others_write_is_refused() {
    let rules = "defaults:\n  logfile = @DIR@/open/audit/manifest.jsonl\n\n/bin/echo a\n";
    let setup = Broker::new(rules).arranged(|dir| {
        dir.mkdir("open", 0o777);
        dir.mkdir("open/audit", 0o700);
    });
    setup.start_fails().said(&["open"]);
}

#[test]
fn a_manifest_over_a_symlink_that_others_can_place_is_refused() {
    let linked = Broker::new(ELSEWHERE).arranged(|dir| {
        dir.mkdir("open", 0o777);
        symlink(dir.join("open"), dir.join("place")).expect("an own directory takes a link");
    });
    linked.start_fails().said(&["cannot keep the manifest"]);
    let planted = Broker::new("defaults:\n  logfile = @DIR@/open/place/manifest.jsonl\n\n/bin/echo a\n");
    let planted = planted.arranged(|dir| {
        dir.mkdir("open", 0o777);
        symlink(dir.join("audit"), dir.join("open/place")).expect("an own directory takes a link");
    });
    planted.start_fails().said(&["open"]);
    let itself = Broker::new(ELSEWHERE).arranged(|dir| {
        dir.mkdir("place", 0o700);
        symlink(dir.join("elsewhere"), dir.join("place/manifest.jsonl"))
            .expect("an own directory takes a link");
    });
    itself.start_fails().said(&["manifest.jsonl"]);
}

#[test]
fn what_is_no_plain_file_is_no_manifest() {
    let directory = Broker::new(ELSEWHERE).arranged(|dir| {
        dir.mkdir("place", 0o700);
        dir.mkdir("place/manifest.jsonl", 0o700);
    });
    directory.start_fails().said(&["manifest.jsonl"]);
    let fifo = Broker::new(ELSEWHERE).arranged(|dir| {
        let place = dir.mkdir("place", 0o700);
        nix::unistd::mkfifo(&place.join("manifest.jsonl"), Mode::S_IRUSR | Mode::S_IWUSR)
            .expect("a fifo can be made");
    });
    fifo.start_fails().said(&["manifest.jsonl"]);
    Broker::new("defaults:\n  logfile = /dev/full\n\n/bin/echo a\n")
        .start_fails()
        .said(&["/dev/full is not a regular file"]);
    Broker::new("defaults:\n  logfile = /dev/null\n\n/bin/echo a\n")
        .start_fails()
        .said(&["/dev/null is not a regular file"]);
}

/// The file beside the manifest is one that the rules never named: what is wrong with it is said of the
/// manifest.
#[test]
fn what_is_wrong_with_the_mark_is_said_of_the_manifest() {
    let broken: [fn(&crate::harness::TempDir); 3] = [
        |dir| drop(dir.mkdir("place/.manifest.jsonl.mark", 0o700)),
        |dir| symlink(dir.join("elsewhere"), dir.join("place/.manifest.jsonl.mark")).expect("linked"),
        |dir| {
            let mark = dir.write("place/.manifest.jsonl.mark", "");
            crate::harness::chmod(&mark, 0o666);
        },
    ];
    for breaks in broken {
        let setup = Broker::new(ELSEWHERE).arranged(move |dir| {
            dir.mkdir("place", 0o700);
            breaks(dir);
        });
        setup.start_fails().said(&[
            "cannot keep the manifest /",
            "place/manifest.jsonl: /",
            ".manifest.jsonl.mark",
        ]);
    }
}

#[test]
fn best_effort_does_not_start_without_a_manifest_either() {
    let rules = ELSEWHERE.replacen("defaults:\n", "defaults:\n  audit = best-effort\n", 1);
    let setup = Broker::new(&rules).arranged(|dir| {
        dir.mkdir("place", 0o700);
        dir.mkdir("place/manifest.jsonl", 0o700);
    });
    setup.start_fails().said(&["manifest.jsonl"]);
}

#[test]
fn two_brokers_do_not_share_a_manifest() {
    let broker = any_word().start();
    let rules = format!("defaults:\n  logfile = {}\n\n/bin/echo a\n", broker.manifest_path().display());
    Broker::new(&rules).start_fails().said(&["manifest.jsonl"]);
    broker.call(["/bin/echo", "a"]).exited(0);
}

// What cannot be written. A limit on the file size stands in for a full disk: it needs no privilege, and it
// can be lifted from outside.

const PROGRAM: &str = "#!/bin/sh\n: > @DIR@/ran/$1\n";

fn nearly_full(audit: &str) -> Broker {
    let rules = format!("defaults:\n  audit = {audit}\n\n@DIR@/prog #n #pad\n  n = [0-9]+\n  pad = x*\n");
    let setup = Broker::new(&rules).arranged(|dir| drop(dir.mkdir("ran", 0o700))).program("prog", PROGRAM);
    setup.under(&["prlimit", "--fsize=20000:unlimited", "--"]).start()
}

fn fill(broker: &Broker, calls: usize) -> (usize, usize) {
    let program = broker.dir().join("prog").to_string_lossy().into_owned();
    let statuses = (0..calls).map(|n| {
        let answer = broker.request(&[&*program, &*n.to_string(), &*"x".repeat(1500)]).run();
        match answer.reply {
            Reply::Status(Status(0)) => true,
            Reply::Status(Status::AUDIT) => false,
            Reply::Status(_) | Reply::Listing(_) | Reply::Closed | Reply::Silent | Reply::Garbled(_) => {
                answer.fail("want 0 or AUDIT")
            }
        }
    });
    let statuses: Vec<_> = statuses.collect();
    let ran = statuses.iter().filter(|&&ran| ran).count();
    (ran, statuses.len() - ran)
}

fn lift_the_limit(broker: &Broker) {
    let pid = broker.pid().0.to_string();
    let done = std::process::Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(done.expect("util-linux is installed").success());
}

#[test]
fn what_cannot_be_recorded_does_not_run() {
    let broker = nearly_full("strict");
    let (ran, refused) = fill(&broker, 30);
    assert!(ran > 0 && refused > 0, "{ran} ran, {refused} were refused");
    let marks = fs::read_dir(broker.dir().join("ran")).expect("the directory is there").count();
    assert_eq!(marks, ran);
    lift_the_limit(&broker);
    let program = broker.dir().join("prog").to_string_lossy().into_owned();
    broker.call([&*program, "100", ""]).exited(0);
    let starts = broker.records_of("start").len();
    assert_eq!(starts, ran + 1, "one start for each command that ran{}", broker.transcript(0));
    assert_eq!(broker.records_of("exit").len(), starts);
    broker.says("manifest.jsonl");
}

#[test]
fn best_effort_runs_and_says_so() {
    let broker = nearly_full("best-effort");
    let (ran, refused) = fill(&broker, 30);
    assert_eq!((ran, refused), (30, 0));
    assert!(broker.records_of("start").len() < 30);
    broker.says("manifest.jsonl");
    lift_the_limit(&broker);
}

#[test]
fn a_manifest_that_is_taken_away_refuses_calls_until_a_reload() {
    let broker = any_word().start();
    broker.call(["/bin/echo", "a"]).exited(0);
    let away = broker.dir().join("audit/away");
    fs::rename(broker.manifest_path(), &away).expect("an own file can be renamed");
    broker.call(["/bin/echo", "unseen"]).refused(Status::AUDIT).printed("");
    broker.call(["/bin/echo", "unseen"]).refused(Status::AUDIT).printed("");
    broker.hup();
    broker.call(["/bin/echo", "seen"]).exited(0).printed("seen\n");
    assert!(broker.records_of("start").iter().all(|record| record.argv()[1] == "seen"));
}

#[test]
fn a_manifest_that_is_replaced_or_cut_refuses_calls_until_a_reload() {
    for cut in [true, false] {
        let broker = any_word().start();
        broker.call(["/bin/echo", "a"]).exited(0);
        if cut {
            fs::File::options()
                .write(true)
                .open(broker.manifest_path())
                .and_then(|file| file.set_len(10))
                .expect("cut");
        } else {
            fs::remove_file(broker.manifest_path()).expect("an own file can be removed");
            fs::write(broker.manifest_path(), "").expect("an own file can be made");
        }
        broker.call(["/bin/echo", "unseen"]).refused(Status::AUDIT).printed("");
        fs::remove_file(broker.manifest_path()).expect("an own file can be removed");
        broker.hup();
        broker.call(["/bin/echo", "seen"]).exited(0);
    }
}

#[test]
fn best_effort_starts_a_new_manifest_where_one_was_taken_away() {
    let broker =
        Broker::new("defaults:\n  audit = best-effort\n\n/bin/echo #word\n  word = [a-z]+\n").start();
    broker.call(["/bin/echo", "a"]).exited(0);
    fs::rename(broker.manifest_path(), broker.dir().join("audit/away")).expect("an own file can be renamed");
    broker.call(["/bin/echo", "b"]).exited(0).printed("b\n");
    broker.record("start call=2");
}
