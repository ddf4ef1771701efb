//! Scopes that are used for many calls, one after the other: slots. A call has a slot to itself, and in it a
//! group of its own (`SCOPE/call-K`) beside the group of the process that holds the scope (`SCOPE/anchor`).

mod accounts;
mod clean;
mod dirt;
mod disturbed;
mod ended;
mod reuse;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Gate, Manager, Pid, SOON, within};

/// Any script, in a scope or not at all.
const SHELL: &str = "defaults:\n  scope = require\n\nsh -c #script\n  allow_any = script\n";

/// A command that goes on until it is ended, and says its pid.
const SLEEPER: [&str; 3] = ["sh", "-c", "echo $$; exec sleep 1000"];

/// Where a call ran, as its start record names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The unit.
    scope: String,
    /// The directory of the unit's cgroup.
    directory: PathBuf,
    /// The number of that directory, which no other one has.
    id: u64,
    /// The call's own group below it.
    group: String,
}

impl Place {
    #[track_caller]
    fn of(start: &Value) -> Self {
        let text = |field: &str| start[field].as_str().unwrap_or_else(|| panic!("no {field} in {start}"));
        Self {
            scope: text("scope").to_owned(),
            directory: format!("/sys/fs/cgroup{}", text("cgroup")).into(),
            id: start["cgroup_id"].as_u64().expect("it has a number"),
            group: text("group").to_owned(),
        }
    }

    /// Which of the slot's groups it is.
    #[track_caller]
    fn number(&self) -> u64 {
        let number = self.group.strip_prefix("call-").and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Whether it is in the same scope, and not one of the same name.
    fn is_beside(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// Where the calls of a gate ran, in their order.
#[track_caller]
fn places(gate: &Gate) -> Vec<Place> {
    gate.records("start").iter().map(Place::of).collect()
}

/// Where the last one ran.
#[track_caller]
fn place(gate: &Gate) -> Place {
    places(gate).pop().expect("a call has started")
}

/// A property of a unit, as `systemctl show` prints it.
#[track_caller]
fn show(unit: &str, property: &str) -> String {
    let shown = Manager::User.systemctl(&["show", "--value", "-p", property, unit]).exited(0);
    shown.stdout().trim_end().to_owned()
}

/// The processes in a group, those in groups below it not among them.
fn members(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(|line| Pid(line.parse().expect("a pid"))).collect()
}

/// The groups right below one.
fn below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let mut groups: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    groups.sort();
    groups
}

/// The processes in a group and below it.
fn all_members(group: &Path) -> Vec<Pid> {
    let deeper = below(group).into_iter().flat_map(|group| all_members(&group));
    members(group).into_iter().chain(deeper).collect()
}

/// The scopes of a gate that had a call, by what the kernel has.
#[track_caller]
fn scopes(gate: &Gate) -> Vec<PathBuf> {
    let slice = place(gate).directory.parent().expect("a scope is in a slice").to_owned();
    let mut scopes = below(&slice);
    scopes.retain(|path| path.extension().is_some_and(|kind| kind == "scope"));
    scopes
}

/// Waits until the manager has forgotten a unit.
#[track_caller]
fn unloaded(unit: &str) {
    within(SOON, &format!("{unit} is unloaded"), || (show(unit, "LoadState") == "not-found").then_some(()));
}

/// A call that finds nothing but its own.
#[track_caller]
fn fine(gate: &Gate) {
    gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
}
