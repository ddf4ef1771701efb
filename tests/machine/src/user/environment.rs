//! What systemd tells the broker stays with the broker.

use crate::harness::Gate;

/// Every variable that systemd sets for a service, or for what a service starts.
const OF_SYSTEMD: [&str; 12] = [
    "CREDENTIALS_DIRECTORY",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_",
    "MAINPID",
    "MANAGERPID",
    "MEMORY_PRESSURE_",
    "NOTIFY_SOCKET",
    "SYSTEMD_EXEC_PID",
    "TRIGGER_",
    "WATCHDOG_",
];

#[test]
fn nothing_of_systemds_environment_reaches_a_command() {
    let gate = Gate::new("defaults:\n  env = HOME,LANG,XDG_RUNTIME_DIR\n\nenv\n").enable();
    let environment = gate.call(["env"]).exited(0);
    let found = environment.stdout();
    let found: Vec<_> =
        found.lines().filter(|line| OF_SYSTEMD.iter().any(|name| line.starts_with(name))).collect();
    assert!(found.is_empty(), "{found:?}");
    environment.said(&["XDG_RUNTIME_DIR=/run/"]);
}

#[test]
fn the_sockets_of_systemd_do_not_reach_a_command() {
    let gate = Gate::new("ls /proc/self/fd\n").enable();
    // The fourth is the one that ls reads the directory by.
    gate.call(["ls", "/proc/self/fd"]).exited(0).printed("0\n1\n2\n3\n");
}

#[test]
fn a_command_has_the_limits_that_the_unit_sets() {
    let gate = Gate::new("sh -c 'ulimit -Sn; umask'\n").enable();
    gate.call(["sh", "-c", "ulimit -Sn; umask"]).exited(0).printed("1024\n0022\n");
}
