//! What becomes of calls where no systemd manager can be had. With one, `tests/machine` tells.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::harness::{Broker, SHELL, Status};

fn with_defaults(defaults: &str) -> String {
    format!("defaults:\n  {defaults}\n{SHELL}")
}

#[test]
fn without_a_manager_a_call_runs_without_a_scope_and_the_broker_says_so_once() {
    let mut broker = Broker::shell();
    for _ in 0..3 {
        broker.sh("exit 7").exited(7).audited(["start scope=off", "exit !cpu_ms !memory_peak !oom"]);
    }
    let said = broker.stop_and_read();
    assert_eq!(said.matches("no scopes: no message bus").count(), 1, "{said}");
}

#[test]
fn scope_require_refuses_what_it_cannot_put_into_one() {
    let broker = Broker::new(&with_defaults("scope = require")).start();
    let answer = broker.sh("echo ran").refused(Status::SPAWN).printed("");
    answer.audited(["reject reason=no_scope status=-4 detail !scope"]);
}

#[test]
fn scope_delegate_refuses_where_the_brokers_group_is_not_its_own() {
    let mut broker = Broker::new(&with_defaults("scope = delegate")).start();
    let answer = broker.sh("echo ran").refused(Status::SPAWN).printed("");
    answer.audited(["reject reason=no_scope status=-4 detail !scope"]);
    let said = broker.stop_and_read();
    assert_eq!(said.matches("with `scope = delegate`, calls are refused").count(), 1, "{said}");
}

#[test]
fn a_reload_that_first_asks_for_a_group_of_the_brokers_own_does_not_get_one() {
    let mut broker = Broker::new(&with_defaults("scope = off")).start();
    broker.sh("exit 3").exited(3);
    broker.reload(&with_defaults("scope = delegate"));
    broker.sh("exit 3").refused(Status::SPAWN).audited(["reject reason=no_scope status=-4 detail !scope"]);
}

#[test]
fn scope_off_needs_no_manager_and_has_nothing_to_say() {
    let mut broker = Broker::new(&with_defaults("scope = off"))
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
        .start();
    broker.sh("exit 3").exited(3).audited(["start scope=off", "exit"]);
    let said = broker.stop_and_read();
    assert!(!said.contains("scope"), "{said}");
}

#[test]
fn limits_that_nobody_can_set_refuse_the_call() {
    let broker = Broker::new("/bin/echo a\n  MemoryMax = 1G\n/bin/echo b\n").start();
    broker.call(["/bin/echo", "a"]).refused(Status::SPAWN).audited(["reject reason=no_scope status=-4"]);
    broker.call(["/bin/echo", "b"]).exited(0).audited(["start scope=off", "exit"]);
}

#[test]
fn a_bus_that_is_not_there_holds_nobody_up() {
    let broker = Broker::new(SHELL).env("XDG_RUNTIME_DIR", "/nowhere").start();
    for _ in 0..3 {
        let answer = broker.sh("exit 0").exited(0).audited(["start scope=off", "exit"]);
        drop(answer);
    }
}

#[test]
fn a_bus_that_says_nothing_holds_up_the_first_call_alone() {
    let setup = Broker::new(SHELL);
    let path = setup.dir().path().join("bus");
    let listener = UnixListener::bind(&path).expect("a socket in the test's own directory");
    let address = format!("unix:path={}", path.display());
    let (began, wait) = (Instant::now(), Duration::from_secs(5));
    let broker = setup.env("DBUS_SESSION_BUS_ADDRESS", &address).start();
    // The broker asks when it starts.
    broker.sh("exit 0").exited(0);
    let took = began.elapsed();
    assert!(took >= wait && took < 6 * wait, "the first call ended after {took:?}");
    // One that is held up takes as long on any machine.
    let quick = (0..5).any(|_| broker.sh("exit 0").exited(0).took < wait);
    assert!(quick, "every call is held up");
    drop(listener);
}
