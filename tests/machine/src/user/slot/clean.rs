//! A call finds nothing of an earlier one in its slot, whatever that did.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::harness::{Ended, GONE_MAX, Gate, Pid, gone, within};

use super::dirt::{BESIDE_THE_SLOT, IN_THE_SLOT, look, script};
use super::{Place, SHELL, fine, place, places};

/// How many calls look at once, so that each slot is looked at.
const LOOKS: usize = 4;

/// What a caller is told where the broker does not know how the command ended.
const UNKNOWN: i32 = 134;

/// What a call saw in its slot.
#[derive(Debug)]
struct Seen {
    /// The call itself.
    own: String,
    /// Every process: its pid, its name, and its group below the scope.
    processes: Vec<[String; 3]>,
    groups: Vec<String>,
    /// What its files hold, and their modes.
    files: Vec<String>,
}

impl Seen {
    #[track_caller]
    fn of(ended: &Ended) -> Self {
        let said = ended.stdout();
        let lines = |kind: &str| -> Vec<String> {
            let lines =
                said.lines().filter_map(|line| line.split_once(' ').filter(|(word, _)| *word == kind));
            lines.map(|(_, rest)| rest.to_owned()).collect()
        };
        let processes = lines("process").into_iter().filter_map(|line| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            Some([words.next()?, words.next()?, words.next()?])
        });
        let own = lines("self").pop().unwrap_or_else(|| panic!("it saw nothing: {ended}"));
        let files = [lines("file"), lines("mode")].concat();
        Self { own, processes: processes.collect(), groups: lines("group"), files }
    }

    /// Nothing is there but the call itself, in its group, and the anchor in its.
    #[track_caller]
    fn is_alone(&self, after: &str) {
        let own = self.processes.iter().find(|[pid, ..]| *pid == self.own);
        let [.., group] = own.unwrap_or_else(|| panic!("{after}: the call is not there: {self:?}"));
        let strangers: Vec<_> = self.processes.iter().filter(|[pid, ..]| *pid != self.own).collect();
        let is_anchor = |[_, name, group]: &[String; 3]| name == "sluice-anchor" && group == "anchor/";
        assert!(strangers.len() == 1 && is_anchor(strangers[0]), "{after}: {self:?}");
        assert!(group.starts_with("call-"), "{after}: {self:?}");
        assert_eq!(self.groups, ["anchor/", group], "{after}");
    }
}

/// One call that looks around.
#[track_caller]
fn seen(gate: &Gate) -> Seen {
    Seen::of(&gate.call(["sh", "-c", &look()]).exited(0))
}

/// What a script said that it left.
fn said(ended: &Ended, kind: &str) -> Vec<String> {
    let said = ended.stdout();
    let words = said.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    words.map(str::to_owned).collect()
}

/// Where the calls ran whose starts were written behind this many bytes.
#[track_caller]
fn places_since(gate: &Gate, bytes: u64) -> Vec<Place> {
    let mut manifest = File::open(gate.manifest()).expect("there is a manifest");
    manifest.seek(SeekFrom::Start(bytes)).expect("a file has places");
    let text = io::read_to_string(manifest).expect("a manifest is text");
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a record is JSON"));
    records.filter(|record| record["kind"] == "start").map(|start| Place::of(&start)).collect()
}

/// A gate, what a call sees in it before anything was done, and the slots that no call may be in any more,
/// with the name of the thing that was done there.
struct Watched {
    gate: Gate,
    fresh: Seen,
    dirty: BTreeMap<PathBuf, &'static str>,
}

impl Watched {
    #[track_caller]
    fn begin() -> Self {
        let gate = Gate::new(&format!("{SHELL}  timeout = 20s\n")).enable();
        let fresh = seen(&gate);
        fresh.is_alone("nothing");
        Self { gate, fresh, dirty: BTreeMap::new() }
    }

    /// One call does this; then several look around at once, and find everything as it was.
    #[track_caller]
    fn cleaned(&mut self, (name, what): (&'static str, &str)) {
        let gate = &self.gate;
        let ended = gate.call(["sh", "-c", &script(what)]);
        assert_ne!(ended.code(), Some(UNKNOWN), "{name}: {ended}");
        self.dirty.extend(said(&ended, "dirty").into_iter().map(|slot| (slot.into(), name)));
        let written = fs::metadata(gate.manifest()).expect("there is a manifest").len();
        let found = thread::scope(|threads| {
            let looks: Vec<_> = (0..LOOKS).map(|_| threads.spawn(|| seen(gate))).collect();
            let found =
                looks.into_iter().map(|look| look.join().unwrap_or_else(|_| panic!("after {name}: {ended}")));
            found.collect::<Vec<_>>()
        });
        for seen in &found {
            seen.is_alone(name);
            assert_eq!(seen.files, self.fresh.files, "after {name}");
        }
        for later in places_since(gate, written) {
            let cause = self.dirty.get(&later.directory);
            assert!(cause.is_none(), "after {cause:?}, {later:?} was used again, by now after {ended}");
        }
        gone(&left(&ended));
    }
}

/// Each of every other thing, from this one on.
fn some(all: &[(&'static str, &'static str)], from: usize) {
    let mut watched = Watched::begin();
    all.iter().skip(from).step_by(2).for_each(|&dirt| watched.cleaned(dirt));
}

#[test]
fn what_a_call_does_in_its_slot_does_not_meet_the_next() {
    some(&IN_THE_SLOT, 0);
}

#[test]
fn what_a_call_does_in_its_slot_does_not_meet_the_next_either() {
    some(&IN_THE_SLOT, 1);
}

#[test]
fn what_a_call_does_to_other_slots_does_not_meet_their_next() {
    some(&BESIDE_THE_SLOT, 0);
}

#[test]
fn what_a_call_does_to_other_slots_does_not_meet_their_next_either() {
    some(&BESIDE_THE_SLOT, 1);
}

/// A thousand calls, one after the other, each of which does one of these things, and a look after each.
#[test]
#[ignore = "takes minutes: --ignored user::slot"]
fn a_thousand_calls_leave_nothing_for_the_next() {
    let mut watched = Watched::begin();
    let all = IN_THE_SLOT.iter().chain(&BESIDE_THE_SLOT).cycle();
    all.take(1000).for_each(|&dirt| watched.cleaned(dirt));
}

/// Calls of several callers at once, each in its own slot, and each caller's next one looks around.
fn crowded(callers: usize, calls: usize) {
    let Watched { gate, fresh, .. } = Watched::begin();
    let next = AtomicUsize::new(0);
    let caller = || {
        let mut spoilt = Vec::new();
        while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < calls) {
            let (name, what) = IN_THE_SLOT[at % IN_THE_SLOT.len()];
            let ended = gate.call(["sh", "-c", &script(what)]);
            let is_known = ended.code().is_some_and(|code| code == 0 || code > 128 && code != UNKNOWN);
            assert!(is_known, "{name}: {ended}");
            if !said(&ended, "dirty").is_empty() {
                spoilt.extend(said(&ended, "own").pop().map(|group| (PathBuf::from(group), name)));
            }
            let seen = seen(&gate);
            seen.is_alone(name);
            assert_eq!(seen.files, fresh.files, "after {name}");
        }
        spoilt
    };
    let spoilt: Vec<_> = thread::scope(|threads| {
        let callers: Vec<_> = (0..callers).map(|_| threads.spawn(caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller is content")).collect()
    });
    fine(&gate);
    let last: BTreeMap<_, _> =
        places(&gate).into_iter().map(|place| (place.directory.clone(), place)).collect();
    for (group, name) in spoilt {
        let last = &last[group.parent().expect("a group is in a scope")];
        assert!(group.ends_with(&last.group), "after {name} in {}: {last:?}", group.display());
    }
}

#[test]
fn calls_at_one_time_leave_nothing_for_each_other() {
    crowded(6, 2 * IN_THE_SLOT.len());
}

#[test]
#[ignore = "takes minutes: --ignored user::slot"]
fn a_thousand_calls_at_one_time_leave_nothing_for_each_other() {
    crowded(8, 1000);
}

/// What a script said that it left.
#[track_caller]
fn left(ended: &Ended) -> Vec<Pid> {
    said(ended, "pid").iter().map(|pid| Pid(pid.parse().expect("a pid"))).collect()
}

/// The next calls run, none of them in the last one's scope, and nothing of that is left.
#[track_caller]
fn given_up(gate: &Gate, ended: &Ended) {
    let last = place(gate);
    for _ in 0..4 {
        fine(gate);
        assert!(!place(gate).is_beside(&last), "{last:?} was used again");
    }
    let left = left(ended);
    let is_gone = || left.iter().all(|pid| !pid.runs()).then_some(());
    within(GONE_MAX, &format!("an end of all of {ended}"), is_gone);
}

#[test]
fn a_call_that_freezes_its_scope_ends_by_its_timeout_and_the_next_is_not_frozen() {
    let gate = Gate::new(&format!("{SHELL}  timeout = 1s\n")).enable();
    for _ in 0..2 {
        let ended = gate.call(["sh", "-c", &script("left; echo 1 >$scope/cgroup.freeze; sleep 1000")]);
        assert_eq!(ended.code(), Some(124), "{ended}");
        given_up(&gate, &ended);
    }
}

#[test]
fn a_call_that_closes_its_scope_to_its_owner_ends_and_so_does_what_it_left() {
    let gate = Gate::new(&format!("{SHELL}  timeout = 1s\n")).enable();
    for closed in ["$scope", "$scope/anchor", "$me", "$me $scope/anchor $scope"] {
        let ended = gate.call(["sh", "-c", &script(&format!("left; chmod 000 {closed}; left"))]);
        given_up(&gate, &ended);
    }
}
