//! Requests that wait for a place: what becomes of them is what the rules say when their place comes, and
//! nobody who waits is forgotten, however often the rules change.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::harness::{
    Broker, Piped, Record, Reply, Running, SOON, Setup, Status, Traced, frame, many_in_flight, within,
};

const SHELL: &str = "/bin/sh -c #script\n  allow_any = script\n";
const ECHO: &str = "/bin/echo #n\n  n = [a-z0-9]+\n";

/// Rules for one call at a time.
fn one(rules: &str) -> String {
    limited(1, rules)
}

/// Rules for so many calls at a time.
fn limited(calls: u32, rules: &str) -> String {
    format!("defaults:\n  logfile = @DIR@/audit/manifest.jsonl\n  max_calls = {calls}\n\n{rules}")
}

/// Other rules are in force when this returns.
#[track_caller]
fn put_in_force(broker: &Broker, rules: &str) {
    let rules = rules.replace("@DIR@", &broker.dir().to_string_lossy());
    fs::write(broker.dir().join("it.rules"), rules).expect("the rules file can be written");
    let said = broker.hup();
    assert!(said.contains("reloaded"), "{said}");
}

/// A call that runs until it is let go.
fn holding(broker: &Broker) -> Running<'_> {
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; read go"]).stdin_open().begin();
    assert_eq!(call.line(), "up");
    call
}

fn let_go(mut call: Running<'_>) {
    call.write(b"go\n");
    call.wait().exited(0);
}

/// Callers who wait, so many: one that came after them has been refused.
fn waiting<'b>(broker: &'b Broker, words: &[&str], count: usize) -> Vec<Running<'b>> {
    let mut calls: Vec<_> = (0..count).map(|_| broker.request(words).begin()).collect();
    for _ in 0..3 {
        broker.call(["/bin/nope"]).refused(Status::NO_RULE);
    }
    assert!(calls.iter_mut().all(|call| !call.is_answered()));
    calls
}

#[test]
fn who_waits_for_a_rule_that_is_taken_away_is_refused_at_once() {
    let broker = Broker::new(&one(&format!("{SHELL}\n{ECHO}"))).start();
    let holder = holding(&broker);
    let waiting = waiting(&broker, &["/bin/echo", "a"], 5);
    put_in_force(&broker, &one(SHELL));
    waiting.into_iter().for_each(|call| drop(call.wait().refused(Status::NO_RULE).printed("")));
    assert!(broker.records_of("start").iter().all(|start| start.argv()[0] == "/bin/sh"));
    let rejects = broker.records_of("reject reason=no_rule");
    assert!(rejects.iter().any(|reject| reject.argv() == ["/bin/echo", "a"]), "{rejects:?}");
    let_go(holder);
}

#[test]
fn limits_that_rise_let_in_who_waits_at_once() {
    let broker = Broker::new(&one(&format!("{SHELL}\n{ECHO}"))).start();
    let holder = holding(&broker);
    let waiting = waiting(&broker, &["/bin/echo", "a"], 20);
    put_in_force(&broker, &limited(8, &format!("{SHELL}\n{ECHO}")));
    waiting.into_iter().for_each(|call| drop(call.wait().exited(0).printed("a\n")));
    let_go(holder);
}

#[test]
fn limits_that_fall_hold_for_who_waits() {
    let broker = Broker::new(&limited(2, SHELL)).start();
    let (first, second) = (holding(&broker), holding(&broker));
    let waiting = waiting(&broker, &["/bin/sh", "-c", "echo later"], 3);
    put_in_force(&broker, &one(SHELL));
    let_go(first);
    broker.call(["/bin/nope"]).refused(Status::NO_RULE);
    assert_eq!(broker.records_of("start").len(), 2, "one runs, and no more may");
    let_go(second);
    waiting.into_iter().for_each(|call| drop(call.wait().exited(0).printed("later\n")));
}

#[test]
fn who_waits_runs_as_the_new_rule_says() {
    let sh = "/bin/sh -c #script\n  allow_any = script\n  setenv = WHICH=old\n";
    let broker = Broker::new(&one(sh)).start();
    let holder = holding(&broker);
    let waiting = waiting(&broker, &["/bin/sh", "-c", "echo $WHICH; pwd"], 3);
    let new = format!("\n; Moved down.\n{}", sh.replace("old", "new\n  cwd = /usr"));
    put_in_force(&broker, &one(&new));
    let_go(holder);
    waiting.into_iter().for_each(|call| drop(call.wait().exited(0).printed("new\n/usr\n")));
    let policy = broker.record("reload").text("policy").to_owned();
    let starts = broker.records_of("start");
    let [old, new @ ..] = &*starts else { panic!("one ran before") };
    assert!(old.text("policy") != policy && new.iter().all(|start| start.text("policy") == policy));
    assert!(new.iter().all(|start| start.number("rule") > old.number("rule")));
}

#[test]
fn who_waits_may_have_to_wait_for_another_rule() {
    let rule = "/bin/echo #n\n  n = [a-z0-9]+\n  max_calls = 1\n";
    let broker = Broker::new(&one(&format!("{SHELL}\n{rule}"))).start();
    let holder = holding(&broker);
    let waiting = waiting(&broker, &["/bin/sh", "-c", "echo $$"], 10);
    let new = format!("/bin/sh -c #line\n  line = echo.*\n  max_calls = 1\n\n{SHELL}\n{rule}");
    put_in_force(&broker, &limited(4, &new));
    waiting.into_iter().for_each(|call| drop(call.wait().exited(0)));
    let_go(holder);
    let (mut now, mut most) = (0_i32, 0);
    for record in broker.records().iter().skip_while(|record| record.kind() != "reload") {
        now += i32::from(record.kind() == "start") - i32::from(record.kind() == "exit");
        most = most.max(now);
    }
    assert_eq!(most, 1, "its own rule has one place");
}

/// Every rule that they could have is in force in turn, while places come and go.
#[test]
fn nobody_who_waits_is_forgotten_over_many_reloads() {
    let rules = |calls, limit: &str| limited(calls, &format!("{SHELL}\n{ECHO}{limit}"));
    let broker = Broker::new(&rules(2, "")).start();
    let calls: Vec<_> = (0..120)
        .map(|number| match number % 3 {
            0 => broker.request(&["/bin/sh", "-c", "sleep 0.03; echo done"]).quick().begin(),
            _ => broker.request(&["/bin/echo", "done"]).quick().begin(),
        })
        .collect();
    for round in 0..12 {
        let limit = ["", "  max_calls = 1\n", "  max_calls = 3\n"][round % 3];
        put_in_force(&broker, &rules(1 + u32::try_from(round).expect("few") % 4, limit));
    }
    calls.into_iter().for_each(|call| drop(call.wait().exited(0).printed("done\n")));
    assert_eq!(broker.records_of("exit status=0").len(), 120);
}

/// More than wait at a socket.
const CROWD: usize = 300;

/// One call runs, and others wait for its place and leave: the socket serves another rule.
fn with_a_crowd_that_left(crowd: impl FnOnce(&Broker)) {
    let _many = many_in_flight();
    let broker = Broker::new(&format!("{SHELL}  max_calls = 1\n\n{ECHO}")).start();
    let holder = holding(&broker);
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    crowd(&broker);
    broker.call(["/bin/echo", "a"]).exited(0).printed("a\n");
    let reject = broker.record("reject reason=hangup status=-10");
    assert_eq!(reject.argv(), ["/bin/sh", "-c", "echo ran"]);
    let counted = |reject: &Record| reject.get("count").as_u64().unwrap_or(1);
    within(SOON, "all are on record", || {
        let rejects = broker.records_of("reject reason=hangup");
        (rejects.iter().map(counted).sum::<u64>() == CROWD as u64).then_some(())
    });
    broker.comes_back_to(descriptors, threads);
    assert_eq!(broker.records_of("start").len(), 2, "nothing of theirs ran");
    let_go(holder);
}

#[test]
fn who_leaves_while_it_waits_is_put_out_at_once() {
    with_a_crowd_that_left(|broker| {
        (0..CROWD).for_each(|_| broker.begin_sh("echo ran").hang_up());
    });
}

#[test]
fn who_leaves_while_it_waits_is_put_out_at_once_in_version_2() {
    with_a_crowd_that_left(|broker| {
        let connection = Piped::open(&broker.socket());
        (0..CROWD).for_each(|_| drop(connection.ask(&["/bin/sh", "-c", "echo ran"])));
    });
}

#[test]
fn who_only_says_that_nothing_more_comes_is_not_put_out() {
    let broker = Broker::new(&format!("{SHELL}  max_calls = 1\n\n{ECHO}")).start();
    let holder = holding(&broker);
    let mut calls: Vec<_> = (0..3).map(|_| broker.begin_sh("echo later")).collect();
    calls.iter_mut().for_each(|call| call.close_sending());
    broker.call(["/bin/echo", "a"]).exited(0);
    assert!(calls.iter_mut().all(|call| !call.is_answered()));
    let_go(holder);
    calls.into_iter().for_each(|call| drop(call.wait().exited(0).printed("later\n")));
}

#[test]
fn a_call_that_may_outlive_its_caller_keeps_its_turn_until_its_rule_changes() {
    let rules = |hangup| format!("{SHELL}  max_calls = 1\n  on_hangup = {hangup}\n\n{ECHO}");
    let broker = Broker::new(&rules("keep")).start();
    let holder = holding(&broker);
    let mut kept = broker.begin_sh("echo kept");
    let connection = Piped::open(&broker.socket());
    let mut asked = connection.ask(&["/bin/sh", "-c", "echo kept"]);
    (asked.control, asked.stdin) = (None, None);
    kept.hang_up();
    broker.call(["/bin/echo", "a"]).exited(0);
    let_go(holder);
    kept.outputs_end();
    assert_eq!(asked.status(), 0);
    assert_eq!(asked.output(), "kept\n");
    let holder = holding(&broker);
    let mut left = broker.begin_sh("echo ran");
    left.hang_up();
    broker.call(["/bin/echo", "a"]).exited(0);
    assert!(broker.records_of("reject").is_empty());
    put_in_force(&broker, &format!("defaults:\n  logfile = @DIR@/audit/manifest.jsonl\n\n{}", rules("kill")));
    broker.record("reject reason=hangup");
    let_go(holder);
}

/// Of a directory that the caller cannot write, with a link that it can.
fn vault(rules: &str) -> Setup {
    Broker::new(&one(&format!("{SHELL}\n{rules}"))).arranged(|dir| {
        dir.mkdir("vault", 0o755);
        dir.write("vault/public", "public\n");
        dir.write("secret", "SECRET\n");
        symlink("vault/public", dir.join("link")).expect("a link");
    })
}

fn turn(broker: &Broker, target: &str) {
    fs::remove_file(broker.dir().join("link")).expect("it is there");
    symlink(target, broker.dir().join("link")).expect("a link");
}

#[test]
fn a_path_is_judged_when_the_wait_is_over() {
    let broker = vault("/bin/cat -- #path\n  path = in @DIR@/vault\n").start();
    let link = broker.dir().join("link").to_string_lossy().into_owned();
    let holder = holding(&broker);
    let waiting = waiting(&broker, &["/bin/cat", "--", &link], 2);
    turn(&broker, "secret");
    let_go(holder);
    waiting.into_iter().for_each(|call| drop(call.wait().refused(Status::NO_RULE).printed("")));
    assert!(broker.records_of("start").iter().all(|start| start.argv()[0] == "/bin/sh"));
}

#[test]
fn the_first_rule_that_matches_is_that_of_the_path_as_it_is_now() {
    let rules = "/bin/cat -- #path\n  path = in @DIR@/vault\n\n/bin/cat -- #any\n  any = .*link\n  setenv = X=second\n";
    let broker = vault(rules).start();
    let link = broker.dir().join("link").to_string_lossy().into_owned();
    broker.call(["/bin/cat", "--", &link]).exited(0).audited(["start paths", "exit"]);
    turn(&broker, "secret");
    broker.call(["/bin/cat", "--", &link]).exited(0).audited(["start !paths", "exit"]);
    let holder = holding(&broker);
    let waiting = waiting(&broker, &["/bin/cat", "--", &link], 2);
    turn(&broker, "vault/public");
    let_go(holder);
    waiting.into_iter().for_each(|call| drop(call.wait().exited(0).printed("public\n")));
    assert_eq!(broker.records_of("start paths").len(), 3);
}

#[test]
fn a_stop_right_after_a_reload_forgets_nobody() {
    let mut broker = Broker::new(&one(&format!("{SHELL}\n{ECHO}"))).start();
    {
        let mut holder = holding(&broker);
        let calls = waiting(&broker, &["/bin/echo", "a"], 50);
        put_in_force(&broker, &limited(3, &format!("{SHELL}\n{ECHO}  max_calls = 1\n")));
        broker.signal(nix::sys::signal::Signal::SIGTERM);
        for call in calls {
            let answer = call.wait();
            if answer.reply != Status::STOPPING.into() && answer.stdout != b"a\n" {
                answer.fail("a refusal or an output");
            }
        }
        holder.hang_up();
    }
    broker.ends_with(0);
}

#[test]
fn a_broker_without_descriptors_says_so_once_and_says_when_it_is_over() {
    let broker = Broker::shell();
    let Some(failing) = Traced::failing(&broker, "accept4", "EMFILE", 1) else { return };
    let connection = broker.connect();
    connection.send(&frame(&["/bin/nope"]), &[]);
    broker.says("cannot take more callers for now");
    assert_eq!(connection.reply_within(Duration::from_secs(2)), Reply::Silent);
    assert_eq!(broker.said().matches("cannot take more callers").count(), 1, "{}", broker.said());
    failing.end();
    broker.says("callers are taken again");
    assert!(matches!(connection.reply(), Reply::Status(_)));
}
