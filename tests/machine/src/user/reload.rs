//! `systemctl reload`: other rules for the next call, or a word on why not.

use crate::harness::{Gate, SOON, release, within};

/// The drop-in for newer systemds.
const NOTIFY_RELOAD: &str = include_str!("../../../../systemd/notify-reload.conf");

/// The first release that knows the type in it.
const NOTIFY_RELOAD_SINCE: u32 = 253;

/// Waits until the status line holds this.
#[track_caller]
fn status_says(gate: &Gate, part: &str) {
    let look = || gate.property("StatusText").contains(part).then_some(());
    within(SOON, &format!("the status says {part:?}"), look);
}

#[test]
fn a_reload_brings_other_rules() {
    let gate = Gate::new("echo hi\n").start();
    let broker = gate.broker();
    gate.write_rules("echo ho\n");
    gate.systemctl("reload").exited(0);
    gate.journal().says("sluice: reloaded");
    gate.call(["echo", "ho"]).exited(0).printed("ho\n");
    gate.call(["echo", "hi"]).exited(129);
    assert_eq!(gate.broker(), broker);
}

#[test]
fn a_reload_with_an_error_keeps_the_old_rules_and_says_so() {
    let gate = Gate::new("echo hi\n").start();
    gate.write_rules("echo ho\n  timeout = soon\n");
    gate.systemctl("reload").failed();
    let place = format!("{}:2:13: error: ", gate.rules_file().display());
    let mut journal = gate.journal();
    journal.says(&place);
    journal.says("reload failed, the old rules stay");
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
    status_says(&gate, "the old rules stay");
    gate.systemctl("status").said(&["active (running)", "the old rules stay", &place]);
}

#[test]
fn a_reload_to_a_manifest_that_cannot_be_opened_changes_nothing() {
    let gate = Gate::new("echo hi\n").start();
    gate.write_rules("defaults:\n  logfile = /proc/sluice/manifest.jsonl\n\necho ho\n");
    gate.systemctl("reload").failed();
    status_says(&gate, &format!("records stay in {}", gate.manifest().display()));
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
    gate.call(["echo", "ho"]).exited(129);
}

#[test]
fn a_good_reload_takes_the_word_of_a_bad_one_back() {
    let gate = Gate::new("echo hi\n").start();
    gate.write_rules("echo ho\n  timeout = soon\n");
    gate.systemctl("reload").failed();
    status_says(&gate, "the old rules stay");
    gate.write_rules("echo ho\n");
    gate.systemctl("reload").exited(0);
    let look = || (!gate.property("StatusText").contains("old rules")).then_some(());
    within(SOON, "the status forgets", look);
}

#[test]
fn with_the_drop_in_a_reload_is_over_when_systemctl_says_so() {
    let gate = Gate::new("echo hi\n").service(NOTIFY_RELOAD).start();
    if release() < NOTIFY_RELOAD_SINCE {
        // Why it is not in the units.
        assert_ne!(gate.property("Type"), "notify-reload");
        gate.systemctl("reload").failed();
        return;
    }
    assert_eq!(gate.property("Type"), "notify-reload");
    let broker = gate.broker();
    // So many that a caller who did not wait would still meet the old ones.
    let many: String = (0..40_000).map(|number| format!("echo {number}\n")).collect();
    gate.write_rules(&many);
    gate.systemctl("reload").exited(0);
    gate.call(["echo", "39999"]).exited(0).printed("39999\n");
    assert_eq!((gate.broker(), gate.property("ActiveState").as_str()), (broker, "active"));
}
