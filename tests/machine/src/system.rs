//! The machine's own gates, in `systemd/system`: the broker is an unprivileged user there. Runs as root.

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
fn a_command_does_not_inherit_what_the_unit_gives_the_broker() {
    let gate = gate("cat /proc/self/oom_score_adj\n").enable();
    gate.call(["cat", "/proc/self/oom_score_adj"]).exited(0).printed("0\n");
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
