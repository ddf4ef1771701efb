//! What a rule lets go on (`background = keep`) has a process above it, which reaps and waits, in the call's
//! scope as well.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::{GONE_MAX, Gate, Pid, SOON, directory, gone, group, within};

/// Scopes of the manager's, and groups of the broker's own.
const KINDS: [&str; 2] = ["require", "delegate"];

fn keeping(scope: &str) -> Gate {
    let defaults = format!("defaults:\n  scope = {scope}\n  background = keep\n");
    Gate::new(&format!("{defaults}\nsh -c #script\n  allow_any = script\n")).enable()
}

/// What a call left when it ended well, and the reaper of that call.
#[track_caller]
fn left(gate: &Gate) -> (Pid, Pid) {
    let mut call = gate.begin(&["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]);
    let kept = call.pid();
    assert_eq!(call.code(), Some(0));
    let reaper = kept.parent().expect("it runs");
    assert_eq!(reaper.parent(), Some(gate.broker()));
    (kept, reaper)
}

#[track_caller]
fn removed(directory: &Path) {
    within(SOON, "the group is removed", || (!directory.exists()).then_some(()));
}

#[test]
fn a_reaper_is_in_its_calls_group_and_ends_with_the_last_of_what_was_kept() {
    for kind in KINDS {
        let gate = keeping(kind);
        let (kept, reaper) = left(&gate);
        let place = directory(kept);
        assert_eq!(group(reaper), group(kept), "{kind}");
        kept.signal(Signal::SIGTERM);
        gone(&[kept, reaper]);
        removed(&place);
    }
}

#[test]
fn what_was_kept_ends_with_a_stop_and_so_does_its_reaper() {
    for kind in KINDS {
        let gate = keeping(kind);
        let (kept, reaper) = left(&gate);
        gate.systemctl("stop").exited(0);
        gone(&[kept, reaper]);
    }
}

#[test]
fn what_was_kept_outlives_its_reaper_and_ends_with_a_stop() {
    for kind in KINDS {
        let gate = keeping(kind);
        let (kept, reaper) = left(&gate);
        let place = directory(kept);
        reaper.signal(Signal::SIGKILL);
        within(GONE_MAX, "the broker has it", || (kept.parent() == Some(gate.broker())).then_some(()));
        gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
        assert!(kept.runs() && directory(kept) == place, "{kind}");
        gate.systemctl("stop").exited(0);
        gone(&[kept]);
        removed(&place);
    }
}
