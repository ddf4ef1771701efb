//! How the manager is given a process for a scope: by its handle, where it takes one.

use crate::harness::{Gate, Monitor, release};

/// The first release that takes handles.
const PIDFDS_SINCE: u32 = 255;

#[test]
fn a_manager_gets_a_handle_where_it_takes_one() {
    let gate = Gate::new("echo hi\n").enable();
    let monitor = Monitor::begin();
    gate.call(["echo", "hi"]).exited(0);
    let scope = format!("sluice-{}-", gate.name().replace('-', "\\x2d"));
    let asked = monitor.call("StartTransientUnit", &scope);
    let properties = asked[2].as_array().expect("a scope has properties");
    let has = |name: &str| properties.iter().any(|property| property[0] == name);
    let newer = release() >= PIDFDS_SINCE;
    assert_eq!((has("PIDFDs"), has("PIDs")), (newer, !newer), "{asked}");
    // It is this form that the scope came of.
    assert_ne!(gate.records("start")[0]["scope"], "off");
}
