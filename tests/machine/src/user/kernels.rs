//! What of a confinement is enforced, on the kernel that is there: the whole of it, or a refusal, or what the
//! rule says to do then.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;

use serde_json::json;

use crate::harness::{Gate, Removed, home};

/// The kernel whose Landlock has scopes of signals.
const HAS_SCOPES: (u32, u32) = (6, 12);

/// The kernel's version, of which Landlock's is a table in landlock(7).
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("it has one");
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse().ok());
    (numbers.next().expect("a major"), numbers.next().expect("a minor"))
}

#[test]
fn a_kernel_with_less_refuses_or_degrades_and_says_so() {
    let tree = home().join("confined-tree");
    DirBuilder::new().mode(0o700).recursive(true).create(&tree).expect("it can be made");
    let _removed = Removed::new(tree.clone());
    let outside = home().join("confined-out");
    let shell =
        format!("sh -c #script\n  allow_any = script\n  cwd = {}\n  confine = workspace\n", tree.display());
    let script = format!("echo in > in; echo out > {} || echo denied", outside.display());

    let gate = Gate::new(&shell).enable();
    let called = gate.call(["sh", "-c", &script]);
    if kernel() >= HAS_SCOPES {
        called.exited(0).printed("denied\n");
        let confinement = &gate.records("start").pop().expect("it ran")["confinement"];
        assert!(
            confinement["landlock"].as_u64() >= Some(6) && confinement["missing"].is_null(),
            "{confinement}"
        );
    } else {
        called.exited(132);
        let reject = gate.records("reject").pop().expect("it is on record");
        let detail = reject["detail"].as_str().expect("it has a detail");
        assert!(reject["reason"] == "unconfined" && detail.contains("signals needs Landlock 6"), "{reject}");
        assert!(!tree.join("in").exists(), "nothing ran");
    }
    drop(gate);

    let gate = Gate::new(&format!("{shell}  on_missing = degrade\n")).enable();
    gate.call(["sh", "-c", &script]).exited(0).printed("denied\n");
    let confinement = &gate.records("start").pop().expect("it ran")["confinement"];
    let missing = if kernel() >= HAS_SCOPES { json!(null) } else { json!(["signals"]) };
    assert_eq!(confinement["missing"], missing, "{confinement}");
    assert!(!outside.exists());
}
