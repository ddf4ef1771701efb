//! The machine's own gates, in `systemd/system`: the broker is an unprivileged user there. Runs as root.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{GONE_MAX, Gate, Manager, Removed, SOON, STOPPING, escaped, gone, group, run, within};

/// How long a call waits for a manager's answer when it has nothing else.
const SCOPE_WAIT: Duration = Duration::from_secs(5);

const SHELL: &str = "sh -c #script\n  allow_any = script\n";

fn gate(rules: &str) -> Gate {
    Gate::of(Manager::System, rules)
}

#[test]
fn the_units_pass_verification_without_a_word() {
    let units = ["sluice.socket", "sluice.service", "sluice@.socket", "sluice@.service"];
    let units = units.map(|unit| format!("/etc/systemd/system/{unit}"));
    let words = ["systemd-analyze", "verify"].map(str::to_owned);
    run(words.into_iter().chain(units)).exited(0).silent();
}

#[test]
fn the_first_call_is_answered_by_an_unprivileged_broker() {
    let gate = gate("id -un\n").enable();
    gate.call(["id", "-un"]).exited(0).printed("sluice\n");
    assert_eq!(gate.broker().status("CapEff"), Some(0));
}

#[test]
fn what_the_unit_gives_reaches_no_command() {
    let gate = gate("grep Cap /proc/self/status\n");
    let gate = gate.service(
        "AmbientCapabilities=CAP_NET_RAW CAP_SETPCAP\nCapabilityBoundingSet=CAP_NET_RAW CAP_SETPCAP",
    );
    let gate = gate.enable();
    let shown = gate.call(["grep", "Cap", "/proc/self/status"]).exited(0).stdout();
    let none = |line: &str| line.split_whitespace().nth(1) == Some("0000000000000000");
    assert!(shown.lines().count() == 5 && shown.lines().all(none), "{shown}");
}

#[test]
fn a_broker_that_cannot_give_up_its_capabilities_does_not_start() {
    let filter = "SystemCallFilter=~capset\nSystemCallErrorNumber=EPERM";
    // A filter is no hindrance where there is nothing to give up. From 257 on, a service inherits what a
    // container's first process may hand on, unless its unit takes that away.
    let nothing = format!("{filter}\nCapabilityBoundingSet=");
    gate("echo hi\n").service(&nothing).enable().call(["echo", "hi"]).exited(0);
    let gate = gate("echo hi\n").service(&format!("{filter}\nAmbientCapabilities=CAP_NET_RAW")).enable();
    gate.systemctl("start").failed();
    gate.systemctl("status").said(&["cannot give up capabilities"]);
}

#[test]
fn root_serves_only_where_the_unit_says_so() {
    let logfile = "defaults:\n  logfile = /run/gate-of-root/manifest.jsonl\n\nid -un\n";
    let refused = gate(logfile).service("User=root").enable();
    refused.systemctl("start").failed();
    refused.systemctl("status").said(&["refusing to serve as root", "--allow-root"]);
    let flag = "User=root\nExecStart=\nExecStart=sluice serve --allow-root --rules %E/sluice/%i.rules";
    gate(logfile).service(flag).enable().call(["id", "-un"]).exited(0).printed("root\n");
}

#[test]
fn a_command_does_not_inherit_what_the_unit_gives_the_broker() {
    let gate = gate("cat /proc/self/oom_score_adj\n").enable();
    gate.call(["cat", "/proc/self/oom_score_adj"]).exited(0).printed("0\n");
}

#[test]
fn journald_is_told_to_drop_none_of_its_records() {
    let gate = gate("echo hi\n").start();
    // Where the manager tells journald of a unit's limits.
    let told = |what: &str| {
        fs::read_link(format!("/run/systemd/units/log-rate-limit-{what}:{}", gate.service_unit()))
    };
    let text = |what| told(what).expect("journald is told").to_string_lossy().into_owned();
    assert_eq!([text("interval"), text("burst")], ["1000000", "1000000"], "microseconds, entries");
}

#[test]
fn root_alone_may_call_until_the_operator_lets_others_in() {
    let as_daemon = |gate: &Gate| {
        let words = ["setpriv", "--reuid", "daemon", "--clear-groups", "--"].map(str::to_owned);
        run(words.into_iter().chain(gate.call_words(&["echo", "hi"])))
    };
    let closed = gate("echo hi\n").enable();
    closed.call(["echo", "hi"]).exited(0);
    as_daemon(&closed).failed();
    let open = gate("echo hi\n").listening("DirectoryMode=0711\nSocketUser=daemon").enable();
    as_daemon(&open).exited(0).printed("hi\n");
}

#[test]
fn another_user_may_be_the_brokers() {
    let gate = gate("defaults:\n  logfile = /run/gate-of-another/manifest.jsonl\n\nid -un\n");
    let gate =
        gate.service("User=daemon\nRuntimeDirectory=gate-of-another\nRuntimeDirectoryMode=0700").enable();
    gate.call(["id", "-un"]).exited(0).printed("daemon\n");
}

/// The last record of this kind.
fn last(gate: &Gate, kind: &str) -> Value {
    gate.records(kind).pop().expect("there is such a record")
}

/// Where the calls of a gate are, by the path of its unit's group.
fn calls(gate: &Gate) -> String {
    format!("{}/calls-{}/", gate.property("ControlGroup"), gate.name().replace('-', "\\x2d"))
}

#[test]
fn a_call_is_in_a_group_of_its_own_because_the_manager_makes_no_scope() {
    let gate = gate(SHELL).enable();
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let command = call.pid();
    assert!(group(command).starts_with(&calls(&gate)), "{}", group(command));
    assert_eq!(last(&gate, "start")["scope"], format!("cgroup:{}", group(command)));
    gate.becomes("StatusText", "1 rule, 1 call running; calls run in groups of the broker's own cgroup");
    let entry = gate.journal().has("the start", |entry| entry.get_field("SLUICE_KIND") == Some("start"));
    assert_eq!(entry.get_field("SLUICE_SCOPE"), Some(&*format!("cgroup:{}", group(command))));
    call.kill();
    gone(&[command]);
    within(SOON, "the record of it", || gate.records("exit").pop());
    assert!(last(&gate, "exit")["cpu_ms"].is_u64(), "{}", last(&gate, "exit"));
}

#[test]
fn the_managers_refusal_is_told_once_and_not_asked_for_again() {
    let gate = gate("defaults:\n  scope = require\n\necho hi\n").enable();
    for _ in 0..5 {
        gate.call(["echo", "hi"]).exited(132);
    }
    assert!(
        last(&gate, "reject")["detail"].as_str().is_some_and(|why| why.contains("makes none for this user"))
    );
    let mut journal = gate.journal();
    journal.says("no scopes: the systemd manager makes none for this user");
    assert_eq!(journal.text().matches("sluice: no scopes").count(), 1, "{}", journal.text());
}

#[test]
fn a_reload_of_the_manager_moves_nothing() {
    let gate = gate(SHELL).enable();
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let command = call.pid();
    let before = (group(command), group(gate.broker()));
    Manager::System.systemctl(&["daemon-reload"]).exited(0);
    gate.systemctl("reload").exited(0);
    assert_eq!((group(command), group(gate.broker())), before);
    call.kill();
}

#[test]
fn nothing_is_left_of_a_call_however_it_ends() {
    let gate = gate(&format!("{SHELL}  timeout = 2s\n")).enable();
    let (call, pids) = escaped(&gate, "exit 3");
    assert_eq!(call.code(), Some(3));
    gone(&pids);
    let (call, pids) = escaped(&gate, "trap '' TERM; wait; sleep 1000");
    assert_eq!(call.code(), Some(124));
    gone(&pids);
    assert_eq!(last(&gate, "exit")["timed_out"], true);
    let (call, pids) = escaped(&gate, "wait");
    call.kill();
    gone(&pids);
    within(SOON, "the record of it", || (gate.records("exit").len() == 3).then_some(()));
    assert_eq!(last(&gate, "exit")["hangup"], true);
}

#[test]
fn nothing_is_left_after_a_stop() {
    let gate = gate(SHELL).enable();
    let (call, pids) = escaped(&gate, "wait");
    gate.systemctl("stop").exited(0);
    gone(&pids);
    assert_eq!(call.code(), Some(STOPPING));
    assert_eq!(last(&gate, "exit")["stopped"], true);
}

#[test]
fn nothing_is_left_when_the_broker_is_killed() {
    let gate = gate(SHELL).enable();
    let (call, pids) = escaped(&gate, "wait");
    gate.broker().signal(Signal::SIGKILL);
    assert_ne!(call.code(), Some(0));
    gone(&pids);
    gate.call(["sh", "-c", "echo again"]).exited(0).printed("again\n");
}

#[test]
fn what_a_rule_keeps_goes_on_until_the_stop() {
    let gate = gate(&format!("{SHELL}  background = keep\n")).enable();
    let (call, pids) = escaped(&gate, "exit 0");
    assert_eq!(call.code(), Some(0));
    assert!(pids.iter().all(|pid| pid.runs() && group(*pid).starts_with(&calls(&gate))));
    gate.systemctl("stop").exited(0);
    gone(&pids);
}

#[test]
fn two_gates_keep_their_calls_apart() {
    let gates = [gate(SHELL).enable(), gate(SHELL).enable()];
    let running = gates.each_ref().map(|gate| gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]));
    for (gate, mut call) in gates.iter().zip(running) {
        assert!(group(call.pid()).starts_with(&calls(gate)));
        call.kill();
    }
}

#[test]
fn a_gate_without_a_group_of_its_own_runs_calls_without_one_and_says_so() {
    let gate = gate(SHELL).service("Delegate=no").enable();
    gate.call(["sh", "-c", "exit 3"]).exited(3);
    assert_eq!(last(&gate, "start")["scope"], "off");
    gate.journal().says("with `scope = auto`, calls that find none run without");
    let (call, pids) = escaped(&gate, "exit 0");
    assert_eq!(call.code(), Some(0));
    within(GONE_MAX, "they are found by their descent", || pids.iter().all(|pid| !pid.runs()).then_some(()));
}

#[test]
fn a_bus_that_says_nothing_holds_up_the_first_call_for_a_moment() {
    let path = format!("/run/silent-bus-{}", std::process::id());
    let bus = UnixListener::bind(&path).expect("root may make a socket there");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("an own file takes a mode");
    let gate = gate(SHELL).service(&format!("Environment=DBUS_SYSTEM_BUS_ADDRESS=unix:path={path}")).start();
    let took = || {
        let began = Instant::now();
        gate.call(["sh", "-c", "exit 0"]).exited(0);
        began.elapsed()
    };
    let patience = Duration::from_secs(2);
    assert!((patience..SCOPE_WAIT).contains(&took()) && took() < patience);
    assert_eq!(last(&gate, "start")["scope"].as_str().map(|scope| scope.starts_with("cgroup:")), Some(true));
    drop(bus);
    fs::remove_file(&path).expect("it is still there");
}

#[test]
fn the_machines_secrets_reach_the_rule_of_an_unprivileged_broker() {
    let secret = "tombola-93f1c2a7-cabinet";
    let rules = "sh -c 'test \"$TOKEN\" = \"$(printf tombola-%s 93f1c2a7-cabinet)\"'\n  credential = token as TOKEN\n\nid -un\n";
    let words = ["sh", "-c", "test \"$TOKEN\" = \"$(printf tombola-%s 93f1c2a7-cabinet)\""];
    let dir = std::path::Path::new("/etc/sluice-test-secrets");
    fs::create_dir_all(dir).expect("a directory of root's");
    let _removed = Removed::new(dir.to_owned());
    fs::write(dir.join("plain"), format!("{secret}\n")).expect("written");
    fs::set_permissions(dir.join("plain"), fs::Permissions::from_mode(0o600)).expect("root's alone");
    let plain = gate(rules).service(&format!("LoadCredential=token:{}/plain", dir.display())).enable();
    plain.call(["id", "-un"]).exited(0).printed("sluice\n");
    plain.call(words).exited(0);
    let sealed = dir.join("sealed").display().to_string();
    let plaintext = dir.join("plain").display().to_string();
    run(["systemd-creds", "--with-key=host", "--name=token", "encrypt", &plaintext, &sealed]).exited(0);
    assert!(!fs::read_to_string(&sealed).expect("it is text").contains("tombola"));
    let encrypted = gate(rules).service(&format!("LoadCredentialEncrypted=token:{sealed}")).enable();
    encrypted.call(words).exited(0);
    for gate in [&plain, &encrypted] {
        let records = fs::read_to_string(gate.manifest()).expect("there is a manifest");
        assert!(records.contains("\"kind\":\"exit\"") && !records.contains(secret), "{records}");
    }
}
