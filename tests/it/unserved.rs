//! Rules that cannot be put in force where systemd holds the socket: callers are refused until somebody mends
//! them, and are served from then on. With a socket of the broker's own, it leaves instead (`config.rs`).

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::activation::{activated, named};
use crate::closing::{Lingering, before_they_close, stop_threads};
use crate::harness::{
    Broker, MAGIC, Piped, Reply, SHELL, SOON, Setup, Status, Traced, VERSION, chmod, found, frame, header,
    sluicify,
};

const WRONG: &str = "/bin/echo #n\n";

/// How long a connection that says nothing is held where there is room.
const SILENCE: Duration = Duration::from_secs(5);

fn with_rules(rules: &str) -> Option<Setup> {
    let mut setup = activated(&["agent"])?;
    setup.rewrite(rules);
    Some(setup)
}

/// It serves the next caller, stops in order, and left a whole record.
#[track_caller]
fn serves_now(mut broker: Broker) {
    broker.sh("echo up").exited(0).printed("up\n").audited(["start socket=agent", "exit status=0"]);
    broker.says("sluice: ready");
    broker.stop();
}

#[test]
fn who_mends_the_rules_just_calls_again() {
    let Some(setup) = with_rules(WRONG) else { return };
    let mut broker = setup.start_unserved();
    broker.says("it.rules:4:11: error: ");
    for _ in 0..20 {
        broker.sh("echo up").refused(Status::NO_RULE).printed("");
    }
    let connection = broker.connect();
    connection.send(&header(MAGIC, VERSION, 0), &[]);
    assert_eq!(connection.reply(), Reply::Status(Status::NO_RULE));
    broker.rewrite(SHELL);
    serves_now(broker);
}

#[test]
fn requests_of_version_2_are_refused_for_the_same_reason() {
    let Some(setup) = with_rules(WRONG) else { return };
    let broker = setup.start_unserved();
    let connection = Piped::open(&broker.socket());
    let asked = connection.ask(&["/bin/sh", "-c", "true"]);
    assert_eq!(connection.0.reply(), Reply::Status(Status::NO_RULE));
    let why = connection.0.message();
    assert!(String::from_utf8_lossy(&why[20..]).starts_with("no rules are in force here"), "{why:?}");
    assert!(asked.frames().is_empty(), "its pipes end");
}

#[test]
fn its_callers_are_told_who_knows_why_and_nothing_leads_in_a_circle() {
    let Some(setup) = with_rules(WRONG) else { return };
    let broker = setup.start_unserved();
    let socket = broker.socket().to_string_lossy().into_owned();
    let why =
        "(no rules are in force here: their file is missing or wrong, or calls cannot be recorded; outside, ";
    sluicify([&*socket, "git", "push"]).exited(129).complained(&[
        "no rule allows: git push",
        why,
        " says why)\n",
    ]);
    let listed = sluicify(["--list", &socket]).exited(129).complained(&["nothing that may be called", why]);
    assert!(!listed.stderr().contains("--list"), "{listed}");
}

#[test]
fn a_broker_without_a_descriptor_for_a_caller_waits_for_one() {
    let Some(setup) = with_rules(WRONG) else { return };
    let mut broker = setup.start_unserved();
    let Some(failing) = Traced::failing(&broker, "accept4", "EMFILE", 1) else { return };
    let connection = broker.connect();
    connection.send(&frame(&["/bin/nope"]), &[]);
    broker.says("cannot take more callers for now");
    drop(failing);
    assert_eq!(connection.reply(), Reply::Status(Status::NO_RULE));
    broker.says("callers are taken again");
    broker.rewrite(SHELL);
    serves_now(broker);
}

#[test]
fn rules_that_are_not_written_yet_are_waited_for() {
    let Some(setup) = with_rules(SHELL) else { return };
    let setup = setup.arranged(|dir| std::fs::remove_file(dir.join("it.rules")).expect("an own file"));
    let mut broker = setup.start_unserved();
    broker.sh("echo up").refused(Status::NO_RULE);
    broker.rewrite(SHELL);
    serves_now(broker);
}

#[test]
fn a_place_of_records_that_is_mended_is_seen_by_the_next_caller() {
    let Some(setup) = with_rules(SHELL) else { return };
    let broker = setup.mode("audit", 0o777).start_unserved();
    broker.sh("echo up").refused(Status::NO_RULE);
    chmod(&broker.dir().join("audit"), 0o700);
    // Nothing tells of this but a try, and tries are rare.
    let served = || (broker.sh("true").reply == Reply::Status(Status(0))).then_some(());
    assert!(found(SOON, served).is_some(), "{}", broker.said());
    serves_now(broker);
}

#[test]
fn mended_rules_are_read_without_a_caller_too() {
    let Some(setup) = with_rules(WRONG) else { return };
    let mut broker = setup.start_unserved();
    broker.rewrite(SHELL);
    broker.says("sluice: ready");
    serves_now(broker);
}

#[test]
fn a_reload_reads_them_and_says_what_is_wrong_now() {
    let Some(setup) = with_rules(WRONG) else { return };
    let mut broker = setup.start_unserved();
    broker.rewrite("/bin/echo a\n  timeout = soon\n");
    broker.signal(Signal::SIGHUP);
    broker.says("it.rules:5:13: error: ");
    broker.rewrite(SHELL);
    broker.signal(Signal::SIGHUP);
    broker.says("sluice: ready");
    serves_now(broker);
}

#[test]
fn a_stop_ends_a_broker_without_rules() {
    let Some(setup) = with_rules(WRONG) else { return };
    let mut broker = setup.start_unserved();
    let silent = broker.connect();
    broker.stop();
    drop(silent);
}

#[test]
fn callers_who_say_nothing_or_nonsense_keep_nobody_from_an_answer() {
    let Some(setup) = with_rules(WRONG) else { return };
    let mut broker = setup.start_unserved();
    // On a machine that is busy, one try may take as long as the silent are held.
    let answered = found(SOON, || {
        let silent: Vec<_> = (0..40).map(|_| broker.connect()).collect();
        let began = Instant::now();
        broker.raw(b"nonsense", &[]).refused(Status::PROTO);
        broker.raw(&frame(&["/bin/echo"]), &[]).refused(Status::NO_RULE);
        broker.sh("true").refused(Status::NO_RULE);
        let took = began.elapsed();
        drop(silent);
        (took < SILENCE / 2).then_some(())
    });
    assert!(answered.is_some(), "each answer comes after the silent were turned out");
    broker.stop();
}

#[test]
fn of_several_names_one_with_wrong_or_missing_rules_has_all_wait() {
    let Some(setup) = activated(&["one", "two", "three"]) else { return };
    let setup = named(named(setup, "one", "/bin/echo one"), "two", "/bin/echo #two");
    let mut broker = setup.file("three.rules", "; Nothing.\n").by_name().start_unserved();
    // Each is named that is wrong.
    broker.says("two.rules:4:11: error: ");
    broker.says("three.rules:1:1: error: no rule in this file");
    let one = broker.socket_of("one");
    broker.request(&["/bin/echo", "one"]).over(&one).run().refused(Status::NO_RULE);
    std::fs::remove_file(broker.dir().join("two.rules")).expect("an own file");
    broker.says("two.rules cannot be read: No such file");
    broker.stop();
}

#[test]
fn a_socket_that_lingers_in_a_request_holds_up_no_other_caller_and_no_stop() {
    let Some(setup) = with_rules(WRONG) else { return };
    let mut broker = setup.start_unserved();
    broker.sh("true").refused(Status::NO_RULE);
    let (began, mut lingering) = (Instant::now(), Lingering::new());
    for (bytes, want) in [(&frame(&["/bin/echo"])[..], Status::NO_RULE), (b"nonsense", Status::PROTO)] {
        let connection = broker.connect();
        lingering.send(&connection, bytes, 3);
        assert_eq!(connection.reply(), Reply::Status(want));
        broker.sh("true").refused(Status::NO_RULE);
    }
    let silent = broker.connect();
    let unheard = broker.connect();
    stop_threads(&broker);
    lingering.send(&unheard, &frame(&["/bin/echo"]), 3);
    broker.signal(Signal::SIGTERM);
    broker.signal(Signal::SIGCONT);
    broker.ends_with(0);
    before_they_close(began);
    drop(silent);
}

#[test]
fn a_socket_that_lingers_behind_the_first_request_keeps_no_mended_rules_from_their_callers() {
    let Some(setup) = with_rules(WRONG) else { return };
    let mut broker = setup.start_unserved();
    let (began, mut lingering) = (Instant::now(), Lingering::new());
    let connection = broker.connect();
    stop_threads(&broker);
    connection.send(&frame(&["/bin/echo"]), &[]);
    lingering.send(&connection, &frame(&["/bin/echo"]), 3);
    broker.signal(Signal::SIGCONT);
    assert_eq!(connection.reply(), Reply::Status(Status::NO_RULE));
    broker.rewrite(SHELL);
    serves_now(broker);
    before_they_close(began);
}

#[test]
fn more_silent_callers_than_are_held_make_room_for_others() {
    let Some(setup) = with_rules(WRONG) else { return };
    let mut broker = setup.start_unserved();
    let began = Instant::now();
    let _silent: Vec<_> = (0..400).map(|_| broker.connect()).collect();
    broker.sh("true").refused(Status::NO_RULE);
    // Held for as long as one is where nobody needs its place, they would take 25 s and more.
    assert!(began.elapsed() < SILENCE * 3, "it took {:?}", began.elapsed());
    broker.stop();
}
