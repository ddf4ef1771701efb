//! `sluice selftest` where the user has a manager: its sockets and its cgroups are among what is tried.

use serde_json::Value;

use crate::harness::sluice;

#[test]
fn the_users_manager_and_its_groups_are_out_of_reach() {
    let text = sluice(&["selftest", "--json"]).exited(0).stdout();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for profile in ["system", "workspace", "build", "git"] {
        for attempt in ["manager", "write-cgroup", "unix-pair", "kill", "chmod", "exec-outside"] {
            let is_line = |line: &&Value| line["profile"] == profile && line["attempt"] == attempt;
            let line = lines.iter().find(is_line).expect("an attempt");
            assert_eq!(line["result"], "held", "{line}");
        }
    }
    assert!(lines.iter().all(|line| line["result"] != "not-held"), "{text}");
}
