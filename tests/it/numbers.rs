//! Numbers that never repeat and a chain that goes on, whatever becomes of the manifest between two records.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Broker, Record, Reply, SHELL, Setup, Status, check_files, find, needs};

fn any_word() -> Setup {
    Broker::new("/bin/echo #word\n  allow_any = word\n")
}

/// One call, and its number.
fn number(broker: &Broker) -> u64 {
    broker.call(["/bin/echo", "a"]).exited(0).record("start").number("call")
}

fn mark(broker: &Broker) -> std::path::PathBuf {
    broker.dir().join("audit/.manifest.jsonl.mark")
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("an own file can be removed");
}

#[test]
fn a_manifest_removed_while_no_broker_runs_costs_no_number() {
    for killed in [false, true] {
        let mut broker = any_word().start();
        assert_eq!((number(&broker), number(&broker)), (1, 2));
        if killed {
            broker.kill()
        } else {
            broker.stop()
        }
        remove(&broker.manifest_path());
        broker.start_again();
        assert_eq!(number(&broker), 3);
        assert!(broker.record("open").is("open next=3 !missing"), "{}", broker.transcript(0));
    }
}

#[test]
fn a_manifest_moved_while_no_broker_runs_is_followed_by_another() {
    let mut broker = any_word().start();
    number(&broker);
    broker.stop();
    let old = broker.dir().join("audit/old");
    fs::rename(broker.manifest_path(), &old).expect("an own file can be renamed");
    broker.start_again();
    assert_eq!(number(&broker), 2);
    let new = broker.manifest_path();
    broker.stop();
    check_files(&[&old, &new]);
}

#[test]
fn a_mark_that_is_removed_or_spoiled_costs_no_number() {
    let spoil: [fn(&Path); 3] =
        [remove, |path| drop(fs::write(path, "next=0")), |path| drop(fs::write(path, [0; 96]))];
    for spoil in spoil {
        let mut broker = any_word().start();
        number(&broker);
        broker.stop();
        spoil(&mark(&broker));
        broker.start_again();
        assert_eq!(number(&broker), 2);
    }
}

#[test]
fn a_mark_that_is_removed_under_a_broker_is_made_again_by_a_reload() {
    let mut broker = any_word().start();
    number(&broker);
    remove(&mark(&broker));
    assert_eq!(number(&broker), 2);
    broker.hup();
    assert_eq!(number(&broker), 3);
    broker.stop();
    remove(&broker.manifest_path());
    broker.start_again();
    assert_eq!(number(&broker), 4);
}

#[test]
fn numbers_of_counted_refusals_do_not_come_again_after_a_kill() {
    let mut broker = any_word().start();
    for _ in 0..20 {
        broker.request(&["/bin/nope"]).quick().run().refused(Status::NO_RULE);
    }
    broker.kill();
    broker.start_again();
    assert_eq!(number(&broker), 21);
}

#[test]
fn a_manifest_whose_end_was_cut_off_is_noticed() {
    let mut broker = any_word().start();
    number(&broker);
    broker.stop();
    let text = fs::read_to_string(broker.manifest_path()).expect("there is a manifest");
    let kept: Vec<_> = text.lines().take(2).collect();
    fs::write(broker.manifest_path(), kept.join("\n") + "\n").expect("an own file can be written");
    broker.start_again();
    let open = broker.records_of("open").pop().expect("an open record");
    assert!(open.is("open next=2 missing"), "{open}");
    assert_eq!(number(&broker), 2);
}

#[test]
fn a_reload_that_names_another_manifest_takes_the_numbers_along_and_back() {
    let mut broker = any_word().start();
    number(&broker);
    let [first, second] = ["audit/manifest.jsonl", "audit/second.jsonl"].map(|name| broker.dir().join(name));
    let rules = |path: &Path| {
        format!("defaults:\n  logfile = {}\n\n/bin/echo #word\n  allow_any = word\n", path.display())
    };
    broker.reload(&rules(&second));
    broker.call(["/bin/echo", "b"]).exited(0);
    let starts = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains(r#""kind":"start""#)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(starts(&second)[0].contains(r#""call":2"#), "{:?}", starts(&second));
    check_files(&[&first, &second]);
    broker.reload(&rules(&first));
    assert_eq!(number(&broker), 3);
}

#[test]
fn calls_that_run_over_a_rotation_end_in_the_new_file() {
    let mut broker = Broker::shell();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; read go"]).stdin_open().begin();
    call.line();
    let old = broker.dir().join("audit/manifest.1");
    fs::rename(broker.manifest_path(), &old).expect("an own file can be renamed");
    broker.hup();
    assert!(broker.record("open").is("open running=[1]"), "{}", broker.transcript(0));
    call.write(b"go\n");
    call.wait().exited(0);
    broker.record("exit call=1");
    let new = broker.manifest_path();
    broker.stop();
    check_files(&[&old, &new]);
}

#[test]
fn calls_that_a_kill_ends_after_a_rotation_are_lost_in_the_new_file() {
    let mut broker = Broker::new(&format!("{SHELL}  on_hangup = keep\n")).start();
    let mut call = broker.begin_sh("echo $$; exec sleep 60");
    call.pid();
    drop(call);
    let old = broker.dir().join("audit/manifest.1");
    fs::rename(broker.manifest_path(), &old).expect("an own file can be renamed");
    broker.hup();
    broker.kill();
    broker.start_again();
    broker.record("lost call=1 reason=killed");
    let new = broker.manifest_path();
    broker.stop();
    check_files(&[&old, &new]);
}

#[test]
fn a_manifest_that_was_copied_and_cut_is_refused_with_the_recipe() {
    let broker = any_word().start();
    number(&broker);
    let old = broker.dir().join("audit/manifest.1");
    fs::copy(broker.manifest_path(), &old).expect("an own file can be copied");
    fs::File::options()
        .write(true)
        .open(broker.manifest_path())
        .and_then(|file| file.set_len(0))
        .expect("cut");
    broker.call(["/bin/echo", "unseen"]).refused(Status::AUDIT).printed("");
    broker.says("copytruncate");
    let reject = broker.record("reject");
    assert!(reject.is("reject reason=audit") && reject.text("detail").contains("nocreate"), "{reject}");
    broker.hup();
    let after = number(&broker);
    let numbers: HashSet<_> =
        broker.records_of("reject").iter().map(|record| record.number("call")).collect();
    assert!(after > 2 && !numbers.contains(&after), "{after}, {numbers:?}");
}

#[test]
fn a_manifest_that_somebody_else_wrote_to_is_refused_until_a_reload() {
    use std::io::Write as _;
    let broker = any_word().start();
    number(&broker);
    let file = fs::File::options().append(true).open(broker.manifest_path());
    file.and_then(|mut file| file.write_all(b"{\"kind\":\"x\"}\n")).expect("an own file can be written");
    broker.call(["/bin/echo", "unseen"]).refused(Status::AUDIT).printed("");
    broker.says("written to by somebody else");
    remove(&broker.manifest_path());
    broker.hup();
    number(&broker);
}

#[test]
fn a_manifest_that_comes_back_is_written_again_without_a_reload() {
    let broker = any_word().start();
    number(&broker);
    let away = broker.dir().join("audit/away");
    fs::rename(broker.manifest_path(), &away).expect("an own file can be renamed");
    broker.call(["/bin/echo", "unseen"]).refused(Status::AUDIT);
    fs::rename(&away, broker.manifest_path()).expect("an own file can be renamed");
    number(&broker);
    broker.says("is written again");
}

/// What was refused while the manifest was away is in the file that was away.
#[test]
fn refusals_between_a_move_and_the_reload_are_in_the_old_file() {
    let mut broker = any_word().start();
    let old = broker.dir().join("audit/manifest.1");
    fs::rename(broker.manifest_path(), &old).expect("an own file can be renamed");
    broker.call(["/bin/echo", "unseen"]).refused(Status::AUDIT);
    broker.hup();
    number(&broker);
    let new = broker.manifest_path();
    broker.stop();
    let records = check_files(&[&old, &new]);
    assert!(records.iter().any(|record: &Record| record.is("reject reason=audit")));
}

#[test]
fn two_brokers_do_not_share_a_manifest_that_was_removed() {
    let broker = any_word().start();
    remove(&broker.manifest_path());
    let rules = format!("defaults:\n  logfile = {}\n\n/bin/echo a\n", broker.manifest_path().display());
    Broker::new(&rules).start_fails().said(&["another broker writes", "manifest.jsonl"]);
    broker.hup();
}

/// The recipe of REFERENCE.md, for this broker.
fn recipe(broker: &Broker) -> String {
    let reference = include_str!("../../REFERENCE.md");
    let (_, recipe) = reference.split_once("```\n/home/you/").expect("there is a recipe");
    let (_, body) = recipe.split_once("manifest.jsonl {\n").expect("it names the manifest");
    let (body, _) = body.split_once("```").expect("it ends");
    let tell = body.lines().find(|line| line.contains("systemctl")).expect("it has the broker reload");
    let body =
        body.replace(tell, &format!("kill -HUP {}", broker.pid().0)).replace("rotate 52", "rotate 500");
    format!("{} {{\n{body}", broker.manifest_path().display())
}

#[test]
fn logrotate_rotates_under_load_by_the_recipe_of_the_reference() {
    const ROUNDS: usize = 60;
    if !needs("logrotate", "logrotate") {
        return;
    }
    let mut broker = any_word().start();
    let [conf, state] = ["rotate.conf", "rotate.state"].map(|name| broker.dir().join(name));
    fs::write(&conf, recipe(&broker)).expect("an own file can be written");
    // Rules that take a while to read: the file must be changed before that.
    broker.rewrite(&(0..5000).map(|rule| format!("/bin/echo {rule}\n")).collect::<String>());
    broker.hup();
    let (manifest, over) = (broker.manifest_path(), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    // Between the move and the signal it is refused.
                    broker.call(["/bin/echo", "7"]);
                }
            });
        }
        for _ in 0..ROUNDS {
            let mut logrotate = Command::new(find("logrotate").expect("it is installed"));
            logrotate.arg("--force").arg("--state").arg(&state).arg(&conf);
            assert!(logrotate.status().expect("it can be started").success());
            let follows = || {
                (manifest.exists() && broker.call(["/bin/echo", "7"]).reply == Reply::Status(Status(0)))
                    .then_some(())
            };
            crate::harness::within(crate::harness::SOON, "a manifest after the rotation", follows);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    broker.stop();
    let files =
        fs::read_dir(broker.dir().join("audit")).expect("it is there").flatten().map(|file| file.path());
    let files: Vec<_> = files.filter(|path| !path.to_string_lossy().ends_with(".mark")).collect();
    assert!(files.len() > ROUNDS, "{} files", files.len());
    let words = ["verify", "--journal=none"].map(std::path::PathBuf::from);
    crate::harness::sluice(words.iter().chain(&files)).exited(0);
}
