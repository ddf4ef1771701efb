//! What the service manager is told: a datagram socket of the test's own stands in for the manager's, and the
//! messages are those that it would get.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Broker, SHELL, SOON, Setup, Status};

/// Longer than a broker with [`QUICK`] is silent.
const SILENCE: Duration = Duration::from_millis(500);

/// A watchdog that wants to be told ten times a second.
const QUICK: (&str, &str) = ("WATCHDOG_USEC", "200000");

/// The end of the socket that the service manager has.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message, if one comes before `limit`.
    fn within(&self, limit: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(limit)).expect("a limit above zero");
        let mut message = vec![0; 64 * 1024];
        let bytes = self.0.recv(&mut message).ok()?;
        message.truncate(bytes);
        Some(String::from_utf8(message).expect("messages are text"))
    }

    /// The next message is this.
    #[track_caller]
    fn hears(&self, want: &str) {
        assert_eq!(self.within(SOON).as_deref(), Some(want));
    }

    /// A message with this in it comes, whatever comes before it.
    #[track_caller]
    fn comes_to_hear(&self, part: &str) -> String {
        let mut heard = Vec::new();
        let end = Instant::now() + SOON;
        while let Some(message) = self.within(SOON).filter(|_| Instant::now() < end) {
            if message.contains(part) {
                return message;
            }
            heard.push(message);
        }
        panic!("nothing of {part:?} in {heard:?}");
    }

    /// All that has come by now.
    fn heard(&self) -> Vec<String> {
        std::iter::from_fn(|| self.within(Duration::from_millis(1))).collect()
    }
}

/// Rules that ask for no scope, so that the status has nothing to say of one.
fn scopeless(rules: &str) -> String {
    format!("defaults:\n  scope = off\n\n{rules}")
}

/// A broker to be, under a manager, with rules that ask for no scope.
fn managed(rules: &str) -> (Manager, Setup) {
    managed_as(&scopeless(rules))
}

fn managed_as(rules: &str) -> (Manager, Setup) {
    let setup = Broker::new(rules).env("NOTIFY_SOCKET", "@DIR@/notify");
    let socket = UnixDatagram::bind(setup.dir().join("notify")).expect("an own directory takes a socket");
    (Manager(socket), setup)
}

#[test]
fn a_manager_hears_of_the_start_and_of_the_stop() {
    let (manager, setup) = managed(SHELL);
    let mut broker = setup.start();
    manager.hears("READY=1\nSTATUS=1 rule, 0 calls running\n");
    broker.stop();
    manager.hears("STOPPING=1\nSTATUS=stopping, 1 rule, 0 calls running\n");
    assert_eq!(manager.heard(), Vec::<String>::new());
}

#[test]
fn an_abstract_socket_serves_as_well() {
    let name = format!("sluice-it-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let manager = Manager(UnixDatagram::bind_addr(&address).expect("a name of our own"));
    let _broker = Broker::new(&scopeless(SHELL)).env("NOTIFY_SOCKET", &format!("@{name}")).start();
    manager.hears("READY=1\nSTATUS=1 rule, 0 calls running\n");
}

#[test]
fn a_manager_that_cannot_be_reached_is_no_reason_not_to_serve() {
    let broker = Broker::new(SHELL).env("NOTIFY_SOCKET", "@DIR@/nobody").start();
    broker.sh("true").exited(0);
    broker.says("cannot notify systemd");
    let broker = Broker::new(SHELL).env("NOTIFY_SOCKET", "vsock:2:1").start();
    broker.sh("true").exited(0);
    broker.says("cannot notify systemd");
}

#[test]
fn the_status_follows_the_calls() {
    let (manager, setup) = managed(SHELL);
    let broker = setup.start();
    manager.comes_to_hear("READY=1");
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; read go"]).stdin_open().begin();
    call.line();
    manager.hears("STATUS=1 rule, 1 call running\n");
    call.write(b"go\n");
    call.wait().exited(0);
    manager.hears("STATUS=1 rule, 0 calls running\n");
}

#[test]
fn the_status_names_the_last_refusal_and_cannot_be_forged_by_it() {
    let (manager, setup) = managed("/bin/echo a\n");
    let broker = setup.start();
    manager.comes_to_hear("READY=1");
    broker.call(["/bin/echo", "b\nMAINPID=1\nREADY=1\u{1b}[31m"]).refused(Status::NO_RULE);
    manager.hears(
        "STATUS=1 rule, 0 calls running; last refused: no_rule on it: \
         /bin/echo $'b\\nMAINPID=1\\nREADY=1\\x1b[31m'\n",
    );
}

#[test]
fn the_status_says_what_calls_run_in_where_there_are_no_scopes() {
    let (manager, setup) = managed_as("/bin/echo a\n");
    let broker = setup.start();
    manager.comes_to_hear("1 rule, 0 calls running; no scopes, calls run without\n");
    broker.call(["/bin/echo", "a"]).exited(0);
}

#[test]
fn words_that_no_record_keeps_are_not_in_the_status() {
    let (manager, setup) = managed("/bin/echo a\n  log = exit-only\n");
    let broker = setup.start();
    manager.comes_to_hear("READY=1");
    broker.call(["/bin/echo", "secret"]).refused(Status::NO_RULE);
    manager.hears("STATUS=1 rule, 0 calls running; last refused: no_rule on it\n");
}

#[test]
fn many_changes_become_few_messages() {
    let (manager, setup) = managed(SHELL);
    let broker = setup.start();
    let began = Instant::now();
    for _ in 0..60 {
        broker.sh("true").exited(0);
    }
    broker.call(["/bin/last"]).refused(Status::NO_RULE);
    manager.comes_to_hear("READY=1");
    let mut messages = 0;
    while !manager.comes_to_hear("STATUS=").contains("/bin/last") {
        messages += 1;
    }
    let most = began.elapsed().as_millis() / 200 + 2;
    assert!(messages <= most, "{messages} messages, and not at most {most}");
    // The last call that ran may have been counted still; nothing else changes.
    if let Some(status) = manager.within(SILENCE) {
        assert!(status.contains("0 calls running") && status.contains("/bin/last"), "{status:?}");
        assert_eq!(manager.within(SILENCE), None, "nothing changes");
    }
}

#[test]
fn a_reload_is_announced_and_one_that_fails_shows_in_the_status() {
    let (manager, setup) = managed("/bin/echo a\n");
    let mut broker = setup.start();
    manager.comes_to_hear("READY=1");
    broker.reload(&scopeless("/bin/echo a\n\n/bin/echo b\n"));
    let reloading = manager.within(SOON).expect("a message");
    let usec =
        reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
    assert!(usec.is_some_and(|usec| usec.parse::<u64>().is_ok_and(|usec| usec > 0)), "{reloading:?}");
    manager.hears("READY=1\nSTATUS=2 rules, 0 calls running\n");
    broker.reload("/bin/echo #n\n");
    manager.comes_to_hear("RELOADING=1");
    let ready = manager.comes_to_hear("READY=1");
    for part in ["STATUS=2 rules, ", "reload failed, the old rules stay: ", "it.rules:", "error:"] {
        assert!(ready.contains(part), "nothing of {part:?} in {ready:?}");
    }
    broker.call(["/bin/echo", "b"]).exited(0);
    broker.call(["/bin/echo", "c"]).refused(Status::NO_RULE);
    assert!(manager.comes_to_hear("last refused").contains("reload failed"));
    broker.reload("defaults:\n  logfile = @DIR@/it.rules/manifest.jsonl\n\n/bin/echo c\n");
    manager.comes_to_hear("RELOADING=1");
    let place = format!("records stay in {}", broker.manifest_path().display());
    assert!(manager.comes_to_hear("READY=1").contains(&place));
    broker.reload("/bin/echo c\n");
    manager.comes_to_hear("RELOADING=1");
    assert!(!manager.comes_to_hear("READY=1").contains("reload failed"));
}

/// Rules that take their time to load, and then one that runs.
fn many(last: &str) -> String {
    let rules: String = (0..4000).map(|n| format!("/opt/p{n} #v\n  v = [0-9]{{1,3}}(x|y){n}\n\n")).collect();
    scopeless(&(rules + last))
}

/// A broker that allows `/bin/echo a`, and reads rules that allow `/bin/echo b` instead.
fn amid_a_reload() -> (Manager, Broker) {
    let (manager, setup) = managed("/bin/echo a\n");
    let mut broker = setup.start();
    manager.comes_to_hear("READY=1");
    broker.rewrite(&many("/bin/echo b\n"));
    broker.signal(Signal::SIGHUP);
    manager.comes_to_hear("RELOADING=1");
    (manager, broker)
}

#[test]
fn callers_are_answered_while_rules_are_read() {
    let (manager, broker) = amid_a_reload();
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.call(["/bin/echo", "b"]).refused(Status::NO_RULE);
    assert!(manager.heard().iter().all(|message| !message.contains("READY=1")), "the calls came too late");
    assert!(manager.comes_to_hear("READY=1").contains("STATUS=4001 rules, "));
    broker.call(["/bin/echo", "b"]).exited(0);
}

#[test]
fn a_reload_that_is_asked_for_during_another_comes_after_it() {
    let (manager, mut broker) = amid_a_reload();
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.rewrite(&scopeless("/bin/echo c\n\n/bin/echo d\n"));
    broker.signal(Signal::SIGHUP);
    manager.comes_to_hear("READY=1");
    manager.comes_to_hear("RELOADING=1");
    assert!(manager.comes_to_hear("READY=1").contains("STATUS=2 rules, "));
    broker.call(["/bin/echo", "d"]).exited(0);
    assert_eq!(broker.records_of("reload ok=true").len(), 2);
}

#[test]
fn a_stop_during_a_reload_does_not_wait_for_it() {
    let (manager, mut broker) = amid_a_reload();
    broker.stop();
    manager.comes_to_hear("STOPPING=1");
    assert_eq!(manager.heard(), Vec::<String>::new(), "it stops, and is not ready");
    broker.start_again();
    broker.call(["/bin/echo", "b"]).exited(0);
}

#[test]
fn rules_that_do_not_load_show_in_the_status() {
    let (manager, setup) = managed_as("/bin/echo #n\n");
    let (failed, _setup) = setup.start_fails_here();
    failed.said(&["it.rules:", "error:"]);
    let status = manager.within(SOON).expect("a message");
    assert!(status.starts_with("STATUS=/") && status.contains("it.rules:4:11: error: "), "{status:?}");
    assert_eq!(manager.heard(), Vec::<String>::new(), "it never became ready");
}

#[test]
fn signs_of_life_come_from_a_broker_that_lives() {
    let (manager, setup) = managed(SHELL);
    let broker = setup.env(QUICK.0, QUICK.1).start();
    for _ in 0..5 {
        assert!(manager.comes_to_hear("WATCHDOG=1").starts_with("WATCHDOG=1\n"));
    }
    broker.signal(Signal::SIGSTOP);
    let silent = (0..5).any(|_| {
        manager.heard();
        manager.within(SILENCE).is_none()
    });
    broker.signal(Signal::SIGCONT);
    assert!(silent, "a stopped broker gives no sign of life");
    manager.comes_to_hear("WATCHDOG=1");
    broker.sh("true").exited(0);
}

#[test]
fn a_watchdog_of_another_process_is_not_ours() {
    let (manager, setup) = managed(SHELL);
    let broker = setup.env(QUICK.0, QUICK.1).env("WATCHDOG_PID", "1").start();
    broker.sh("sleep 0.5").exited(0);
    assert!(manager.heard().iter().all(|message| !message.contains("WATCHDOG")));
}

#[test]
fn a_manager_that_does_not_read_holds_no_call_up() {
    let (_manager, setup) = managed(SHELL);
    let broker = setup.env("WATCHDOG_USEC", "2000").start();
    broker.sh("sleep 0.5").exited(0);
    for _ in 0..20 {
        broker.sh("true").exited(0).took(Duration::ZERO, Duration::from_secs(1));
    }
}

#[test]
fn nothing_of_it_reaches_a_command() {
    let (_manager, setup) = managed(SHELL);
    let broker = setup.env(QUICK.0, QUICK.1).start();
    broker.sh("env | grep -E 'NOTIFY|WATCHDOG'; true").exited(0).printed("");
}
