//! The machine's own gates, in `systemd/system`: the broker is an unprivileged user there. Runs as root.

use std::fs;

use crate::harness::{Gate, Manager, run};

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
    // A filter is no hindrance where there is nothing to give up.
    gate("echo hi\n").service(filter).enable().call(["echo", "hi"]).exited(0);
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
