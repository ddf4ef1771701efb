//! The unit files themselves.

use std::path::Path;

use crate::harness::{Gate, Journal, Manager, run, skip};

/// The directory that a machine has its units in.
const INSTALLED: &str = "/etc/systemd/user";

fn installed() -> Option<Vec<String>> {
    if std::env::var_os("SLUICE_UNITS").is_some() {
        skip("no machine of its own, whose installed units can be looked at: sudo tests/run");
        return None;
    }
    let units = ["sluice.socket", "sluice.service", "sluice@.socket", "sluice@.service"];
    Some(units.map(|unit| format!("{INSTALLED}/{unit}")).into())
}

#[test]
fn the_units_pass_verification_without_a_word() {
    let Some(units) = installed() else { return };
    let words = ["systemd-analyze", "--user", "verify"].map(str::to_owned);
    run(words.into_iter().chain(units)).exited(0).silent();
}

#[test]
fn the_units_load_without_a_warning() {
    let Some(_) = installed() else { return };
    let gate = Gate::new("echo hi\n").start();
    let units = ["sluice.socket", "sluice.service"].map(str::to_owned);
    for unit in units.into_iter().chain([gate.socket_unit(), gate.service_unit()]) {
        let shown = Manager::User.systemctl(&["show", "-p", "LoadState,LoadError", &unit]);
        shown.exited(0).said(&["LoadState=loaded\n", "LoadError=\n"]);
    }
    // The call is recorded after whatever the manager said of the units.
    gate.call(["echo", "hi"]).exited(0);
    gate.journal().says("sluice: ready");
    let mut journal = Journal::filtered("SYSLOG_IDENTIFIER=systemd");
    let messages = journal.entries().iter().filter_map(|entry| entry.get_message());
    // Of what is installed, not of the drop-ins of other tests.
    let runtime = Manager::User.units().to_string_lossy().into_owned();
    let installed = |message: &&str| message.contains("systemd/user/sluice") && !message.contains(&runtime);
    let warnings: Vec<_> = messages.filter(installed).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn the_default_gate_needs_no_name() {
    let Some(_) = installed() else { return };
    let rules = Manager::User.rules();
    std::fs::create_dir_all(&rules).expect("the rules' directory can be made");
    std::fs::write(rules.join("default.rules"), "echo hi\n").expect("rules can be written");
    Manager::User.systemctl(&["enable", "--now", "sluice.socket"]).exited(0);
    let socket = Manager::User.runtime().join("sluice/default.sock");
    run([Path::new("sluicify"), &socket, "echo".as_ref(), "hi".as_ref()]).exited(0).printed("hi\n");
    Manager::User.systemctl(&["disable", "--now", "sluice.socket"]).exited(0);
}

/// Each template, and the unit that is the same under the name "default".
const PAIRS: [(&str, &str); 4] = [
    (
        include_str!("../../../../systemd/user/sluice@.socket"),
        include_str!("../../../../systemd/user/sluice.socket"),
    ),
    (
        include_str!("../../../../systemd/user/sluice@.service"),
        include_str!("../../../../systemd/user/sluice.service"),
    ),
    (
        include_str!("../../../../systemd/system/sluice@.socket"),
        include_str!("../../../../systemd/system/sluice.socket"),
    ),
    (
        include_str!("../../../../systemd/system/sluice@.service"),
        include_str!("../../../../systemd/system/sluice.service"),
    ),
];

#[test]
fn the_default_units_are_the_templates_under_the_name_default() {
    for (template, plain) in PAIRS {
        let named = template.replace("sluice@%i", "sluice").replace("%i", "default");
        assert_eq!(settings(&named), settings(plain));
    }
}

/// The lines that systemd reads.
fn settings(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}
