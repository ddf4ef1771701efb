//! REFERENCE.md's table of refused system calls is the code's.

use nix::errno::Errno;
use sluice::confine::{NamedSyscall, RefusalCase, RefusedSyscalls, refused_syscalls};

use super::{none, reference};

/// A group's row in the table.
fn row(group: &RefusedSyscalls) -> String {
    let names = group.calls.iter().map(NamedSyscall::name).map(|name| format!("`{name}`"));
    let names = names.collect::<Vec<_>>().join(", ");
    let uses = if group.uses.is_empty() { String::new() } else { format!(" {}", group.uses) };
    let case = match group.case {
        RefusalCase::Always => "`default`, `strict`",
        RefusalCase::AnyFilter => "every filter",
        RefusalCase::NoMetadata => "nothing is written",
        RefusalCase::NoExec => "nothing written is executed",
    };
    format!("| {names}{uses} | {case} | `{:?}` | {} |", Errno::from_raw(group.errno), group.reason)
}

#[test]
fn the_reference_has_every_refused_system_call() {
    let (reference, rows) = (reference(), refused_syscalls().map(row).collect::<Vec<_>>());
    let table = reference.split("\n### System calls\n").nth(1).and_then(|rest| rest.split("\n#").next());
    let table = table.expect("it has a section of system calls");
    let said: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 20, "{} groups", rows.len());
    none(&rows.iter().filter(|row| !said.contains(&row.as_str())).cloned().collect::<Vec<_>>());
    assert_eq!(said.len(), rows.len(), "rows that the code does not have, or have twice");
}
