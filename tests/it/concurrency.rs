//! Many callers at once: none is dropped, none waits for another socket's, and the manifest stays one line a
//! record.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    Broker, Pid, Reply, SHELL, SOON, Setup, Status, few_in_flight, frame, is_root, many_in_flight, needs,
    within,
};

fn null() -> std::fs::File {
    std::fs::File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null")
}

/// The most calls of this broker that ran at one time, by its manifest.
fn most_at_once(broker: &Broker) -> usize {
    let (mut now, mut most) = (0, 0);
    for record in broker.records() {
        match record.kind() {
            "start" => now += 1,
            "exit" => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

#[test]
fn a_thousand_callers_at_once_are_all_answered() {
    let _many = many_in_flight();
    let broker = Broker::new("/bin/echo #n\n  n = [0-9]+\n").start();
    let mut calls: Vec<_> = (0..1000)
        .map(|n| (n, broker.request(&["/bin/echo", &*n.to_string()]).given(2, null()).quick().begin()))
        .collect();
    for (n, call) in calls.drain(..) {
        call.wait().exited(0).printed(&format!("{n}\n"));
    }
    assert_eq!(broker.records_of("exit status=0").len(), 1000);
    assert!(most_at_once(&broker) <= 64, "{} at once", most_at_once(&broker));
}

#[test]
fn callers_over_max_calls_wait_and_are_answered() {
    let broker = Broker::new(&format!("defaults:\n  max_calls = 4\n\n{SHELL}")).start();
    let calls: Vec<_> =
        (0..40).map(|_| broker.request(&["/bin/sh", "-c", "sleep 0.05; echo $$"]).begin()).collect();
    let pids: HashSet<_> = calls.into_iter().map(|call| call.wait().exited(0).text()).collect();
    assert_eq!(pids.len(), 40);
    assert_eq!(most_at_once(&broker), 4);
}

#[test]
fn sixty_four_run_at_one_time_and_the_next_waits() {
    let _many = many_in_flight();
    let broker = Broker::new(&format!("{SHELL}\n/bin/echo a\n")).start();
    let script = ["/bin/sh", "-c", "echo up; read go"];
    let mut running: Vec<_> = (0..64).map(|_| broker.request(&script).stdin_open().begin()).collect();
    running.iter_mut().for_each(|call| assert_eq!(call.line(), "up"));
    let mut waiting: Vec<_> = (0..100).map(|_| broker.request(&["/bin/echo", "a"]).begin()).collect();
    broker.call(["/bin/nope"]).refused(Status::NO_RULE);
    assert!(waiting.iter_mut().all(|call| !call.is_answered()));
    running.pop().expect("there are 64").hang_up();
    waiting.into_iter().for_each(|call| drop(call.wait().exited(0).printed("a\n")));
    running.iter_mut().for_each(|call| call.write(b"go\n"));
    running.into_iter().for_each(|call| drop(call.wait().exited(0)));
}

#[test]
fn who_has_spoken_is_not_silent_however_long_it_waits() {
    let _many = many_in_flight();
    let broker = Broker::new(&format!("defaults:\n  max_calls = 1\n\n{SHELL}\n/bin/echo a\n")).start();
    let first = broker.begin_sh("sleep 6");
    broker.record("start");
    let request = || broker.request(&["/bin/echo", "a"]).given(1, null()).given(2, null()).quick();
    let (threads, ticks) = (broker.threads(), broker.pid().ticks());
    let waiting: Vec<_> = (0..400).map(|_| request().begin()).collect();
    first.wait().exited(0);
    // One call, 16 more, and a few that look and find no place.
    assert!(broker.threads() <= threads + 24, "{} threads, before {threads}", broker.threads());
    assert!(broker.pid().ticks() - ticks < 200, "waiting took {} ticks", broker.pid().ticks() - ticks);
    waiting.into_iter().for_each(|call| drop(call.wait().exited(0)));
}

#[test]
fn refusals_do_not_wait_for_running_calls() {
    let broker = Broker::new(&format!("defaults:\n  max_calls = 1\n\n{SHELL}")).start();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; read go"]).stdin_open().begin();
    call.line();
    let began = std::time::Instant::now();
    broker.call(["/bin/nope"]).refused(Status::NO_RULE);
    broker.listing();
    assert!(began.elapsed() < Duration::from_secs(2));
    call.write(b"go\n");
    call.wait().exited(0);
}

fn two_sockets(max_calls: u32) -> Option<Setup> {
    if !needs("systemd-socket-activate", "systemd") {
        return None;
    }
    let rules = format!("defaults:\n  max_calls = {max_calls}\n\n{SHELL}\n/bin/echo a\n");
    Some(Broker::new(&rules).activated(&["one", "two"]))
}

#[test]
fn one_sockets_running_calls_hold_up_nobody_elses() {
    let Some(setup) = two_sockets(2) else { return };
    let broker = setup.start();
    let script = ["/bin/sh", "-c", "echo up; read go"];
    let mut running: Vec<_> = (0..2).map(|_| broker.request(&script).stdin_open().begin()).collect();
    running.iter_mut().for_each(|call| assert_eq!(call.line(), "up"));
    let mut waiting: Vec<_> = (0..50).map(|_| broker.request(&["/bin/echo", "a"]).begin()).collect();
    the_other_socket_answers(&broker);
    assert!(waiting.iter_mut().all(|call| !call.is_answered()));
    running.iter_mut().for_each(|call| call.write(b"go\n"));
    running.into_iter().chain(waiting).for_each(|call| drop(call.wait().exited(0)));
    assert_eq!(broker.records_of("start socket=two").len(), 1);
}

#[track_caller]
fn the_other_socket_answers(broker: &Broker) {
    let two = broker.socket_of("two");
    let answer = broker.request(&["/bin/echo", "a"]).over(&two).run();
    answer.exited(0).took(Duration::ZERO, Duration::from_secs(2));
}

#[test]
fn one_sockets_silent_callers_hold_up_nobody_elses() {
    let Some(setup) = two_sockets(2) else { return };
    let broker = setup.start();
    let silent: Vec<_> = (0..300).map(|_| broker.connect()).collect();
    the_other_socket_answers(&broker);
    silent.iter().for_each(|connection| assert_eq!(connection.reply(), Reply::Status(Status::PROTO)));
}

#[test]
fn a_nursery_that_stands_still_holds_up_nobody_who_needs_no_launcher() {
    let Some(setup) = two_sockets(16) else { return };
    let broker = setup.start();
    let is_nursery = |pid: &Pid| pid.group() == Some(pid.0) && pid.command_line().contains("nursery");
    let nursery = within(SOON, "a nursery", || broker.pid().children().into_iter().find(is_nursery));
    nursery.signal(Signal::SIGSTOP);
    // More than there are launchers.
    let mut calls: Vec<_> = (0..14).map(|_| broker.begin_sh("true")).collect();
    within(SOON, "the calls are under way", || {
        calls.iter_mut().any(crate::harness::Running::is_answered).then_some(())
    });
    let refused = broker.request(&["/bin/nope"]).over(&broker.socket_of("two")).run();
    refused.refused(Status::NO_RULE).took(Duration::ZERO, Duration::from_secs(2));
    nursery.signal(Signal::SIGCONT);
    calls.into_iter().for_each(|call| drop(call.wait().exited(0)));
    broker.request(&["/bin/sh", "-c", "true"]).over(&broker.socket_of("two")).run().exited(0);
}

/// Leaves a broker room for some 200 connections, or less.
const FEW: [&str; 3] = ["prlimit", "--nofile=600:600", "--"];

#[test]
fn silent_callers_that_take_all_places_hold_up_nobody() {
    let _few = few_in_flight();
    let broker = Broker::new("defaults:\n  max_calls = 1\n\n/bin/echo a\n").under(&FEW).start();
    let silent: Vec<_> = (0..1000).map(|_| broker.connect()).collect();
    broker.call(["/bin/echo", "a"]).exited(0).took(Duration::ZERO, Duration::from_secs(4));
    broker.record("reject reason=crowded status=-2");
    silent.iter().for_each(|connection| assert_eq!(connection.reply(), Reply::Status(Status::PROTO)));
}

#[test]
fn one_sockets_waiting_callers_leave_room_for_anothers() {
    let Some(setup) = two_sockets(2) else { return };
    let _many = many_in_flight();
    // Three descriptors each; for an ordinary user no more than the broker's 600 in all.
    let callers = if is_root() { 400 } else { 150 };
    let broker = setup.under(&FEW).start();
    let script = ["/bin/sh", "-c", "echo up; read go"];
    let mut running: Vec<_> = (0..2).map(|_| broker.request(&script).stdin_open().begin()).collect();
    running.iter_mut().for_each(|call| assert_eq!(call.line(), "up"));
    let request = || broker.request(&["/bin/echo", "a"]).given(1, null()).given(2, null()).quick();
    let waiting: Vec<_> = (0..callers).map(|_| request().begin()).collect();
    the_other_socket_answers(&broker);
    running.iter_mut().for_each(|call| call.write(b"go\n"));
    running.into_iter().chain(waiting).for_each(|call| drop(call.wait().exited(0)));
}

#[test]
fn reloads_among_calls_lose_none() {
    let broker = Broker::new("/bin/echo #word\n  word = [a-z]+\n").start();
    let calling = std::sync::atomic::AtomicUsize::new(12);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                (0..30).for_each(|_| drop(broker.call(["/bin/echo", "hup"]).exited(0).printed("hup\n")));
                calling.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        while calling.load(std::sync::atomic::Ordering::SeqCst) > 0 && !thread::panicking() {
            broker.signal(Signal::SIGHUP);
            broker.serves_on();
        }
    });
    assert_eq!(broker.records_of("start").len(), 360);
    assert_eq!(broker.records_of("exit status=0").len(), 360);
    assert!(!broker.records_of("reload ok=true").is_empty());
}

#[test]
fn many_writers_leave_one_line_a_record() {
    let broker = Broker::new("/bin/echo #word\n  word = [0-9x-]+\n").start();
    thread::scope(|scope| {
        for lane in 0..8 {
            let broker = &broker;
            scope.spawn(move || {
                for turn in 0..40 {
                    let word = format!("{lane}-{turn}-{}", "x".repeat(300));
                    broker.request(&["/bin/echo", &*word]).run().exited(0);
                }
            });
        }
    });
    for kind in ["start", "exit"] {
        let records = broker.records_of(kind);
        let numbers: HashSet<_> = records.iter().map(|record| record.number("call")).collect();
        assert_eq!((records.len(), numbers.len()), (320, 320), "{kind}");
    }
    let argvs: HashSet<_> = broker.records_of("start").iter().map(crate::harness::Record::argv).collect();
    assert_eq!(argvs.len(), 320);
}

#[test]
fn threads_and_descriptors_come_back_after_a_rush() {
    let broker = Broker::new(SHELL).start();
    broker.sh("true").exited(0);
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let calls: Vec<_> =
        (0..200).map(|_| broker.request(&["/bin/sh", "-c", "exit 3"]).quick().begin()).collect();
    calls.into_iter().for_each(|call| drop(call.wait().exited(3)));
    broker.comes_back_to(descriptors, threads);
    within(SOON, "only parked launchers are left", || (broker.pid().descendants().len() <= 80).then_some(()));
}

#[test]
fn silent_callers_take_no_threads() {
    let broker = Broker::new("/bin/echo a\n").start();
    broker.call(["/bin/echo", "a"]).exited(0);
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let silent: Vec<_> = (0..300).map(|_| broker.connect()).collect();
    within(SOON, "they are accepted", || {
        // The call before may not have let go of its own yet.
        let are_there = |before| broker.descriptors().is_some_and(|now| now + 100 >= before + silent.len());
        descriptors.is_none_or(are_there).then_some(())
    });
    assert!(broker.threads() <= threads + 30, "{} threads, before {threads}", broker.threads());
    broker.call(["/bin/echo", "a"]).exited(0).printed("a\n");
}

#[test]
fn a_caller_that_leaves_before_its_answer_disturbs_nobody() {
    let broker = Broker::new("/bin/echo a\n").start();
    let null = std::fs::File::open("/dev/null").expect("there is /dev/null");
    let fd = std::os::fd::AsFd::as_fd(&null);
    for _ in 0..200 {
        broker.connect().send(&frame(&["/bin/echo", "a"]), &[fd; 3]);
    }
    broker.call(["/bin/echo", "a"]).exited(0).printed("a\n");
}
