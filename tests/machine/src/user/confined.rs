//! A confined command at a real manager: it starts no unit, leaves nothing in its scope, moves itself to no
//! other group, and reaches neither the manager, nor the bus, nor the journal, nor the broker. Unconfined, it
//! does all that.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Gate, Manager, Pid, SOON, directory, gone, within};

/// A tree with the payload of the end-to-end tests, and a group of the user's beside those of calls.
struct Planted {
    gate: Gate,
    tree: PathBuf,
    elsewhere: PathBuf,
    unit: String,
}

/// The ways out that lead to systemd or to the broker: a way of `payload.py`, a label, and a target.
fn ways(planted: &Planted) -> Vec<(String, Value)> {
    let run = Manager::User.runtime();
    let at = |name: &str| json!(run.join(name));
    // A request of version 1: a magic, a version, one word.
    let message: String =
        b"XCLS\x01\0\0\0\x01\0\0\0\x04\0\0\0true".iter().map(|byte| format!("{byte:02x}")).collect();
    let ways = [
        ("unit", json!(planted.unit)),
        ("bus", at("bus")),
        ("stream:manager", at("systemd/private")),
        ("datagram:notify", at("systemd/notify")),
        ("datagram_pair:notify", at("systemd/notify")),
        ("datagram:journal", json!("/run/systemd/journal/socket")),
        ("datagram_pair:journal", json!("/run/systemd/journal/socket")),
        ("datagram_pair:log", json!("/dev/log")),
        ("stream:journal", json!("/run/systemd/journal/stdout")),
        ("stream:system-bus", json!("/run/dbus/system_bus_socket")),
        ("broker", json!([planted.gate.socket(), message])),
        ("move", json!(planted.elsewhere)),
        ("left", json!(600)),
    ];
    ways.into_iter().map(|(way, target)| (way.to_owned(), target)).collect()
}

impl Planted {
    fn new() -> Self {
        let rules = "
profile of-test:
  extends = workspace

true

/usr/bin/python3 payload.py free
  cwd        = @TREE@
  background = keep

/usr/bin/python3 payload.py confined
  cwd     = @TREE@
  confine = of-test
";
        let gate = Gate::new("true\n").enable();
        gate.call(["true"]).exited(0);
        let tree =
            PathBuf::from(std::env::var_os("HOME").expect("a home")).join(format!("tree-{}", gate.name()));
        fs::create_dir(&tree).expect("a home takes a directory");
        let rules = rules.replace("@TREE@", &tree.to_string_lossy());
        gate.write_rules(&rules[1..]);
        gate.systemctl("reload").exited(0);
        // A group in which processes may be, beside the slices of the user's units.
        let broker = directory(gate.broker());
        let manager = broker
            .ancestors()
            .find(|at| at.file_name().is_some_and(|name| name.to_string_lossy().starts_with("user@")));
        let elsewhere =
            manager.expect("the user's manager has a group").join(format!("elsewhere-{}", gate.name()));
        fs::create_dir(&elsewhere).expect("the manager's group is the user's");
        let unit = format!("{}-unit", gate.name());
        let planted = Self { gate, tree, elsewhere, unit };
        let targets = serde_json::Map::from_iter(ways(&planted));
        fs::write(planted.tree.join("targets.json"), Value::from(targets).to_string())
            .expect("an own directory");
        fs::write(planted.tree.join("payload.py"), include_str!("../../../it/confined/payload.py"))
            .expect("an own directory");
        planted
    }

    /// What the payload reports of one run: ways, and what they brought.
    fn report(&self, rule: &str) -> Vec<(String, String)> {
        self.gate.call(["/usr/bin/python3", "payload.py", rule]).exited(0);
        let path = self.tree.join("report.txt");
        let text = fs::read_to_string(&path).expect("it reports");
        fs::remove_file(path).expect("an own directory");
        assert!(text.starts_with("begin\n") && text.ends_with("end\n"), "{text}");
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(way, brought)| (way.to_owned(), brought.to_owned()))
            .collect()
    }

    fn unit_is(&self) -> String {
        let shown = Manager::User.systemctl(&["show", "--value", "-p", "ActiveState", &self.unit]);
        shown.stdout().trim_end().to_owned()
    }

    /// The processes that are in the other group.
    fn moved(&self) -> String {
        fs::read_to_string(self.elsewhere.join("cgroup.procs")).expect("the group is there")
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        Manager::User.systemctl(&["stop", &self.unit]);
        fs::remove_dir_all(&self.tree).ok();
        fs::remove_dir(&self.elsewhere).ok();
    }
}

/// Whether the kernel keeps signals and abstract sockets in a confinement (Landlock 6).
fn has_scopes() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("there is /proc");
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

#[test]
fn a_kernel_that_lacks_a_part_runs_nothing_and_says_so() {
    if has_scopes() {
        return;
    }
    let planted = Planted::new();
    planted.gate.call(["/usr/bin/python3", "payload.py", "confined"]).failed();
    let refused = planted.gate.records("reject").pop().expect("it is on record");
    assert_eq!(refused["reason"], "unconfined");
    assert!(refused["detail"].to_string().contains("signals needs Landlock 6"), "{refused}");
    assert!(!planted.tree.join("report.txt").exists());
}

#[test]
fn a_confined_command_starts_no_unit_and_stays_in_its_scope() {
    if !has_scopes() {
        return;
    }
    let planted = Planted::new();
    let confined = planted.report("confined");
    // What it left, it reports; that is gone with the call.
    let left = |report: &[(String, String)]| -> Vec<Pid> {
        let left = report.iter().filter(|(way, _)| way == "left");
        left.map(|(_, pid)| Pid(pid.parse().expect("a pid"))).collect()
    };
    gone(&left(&confined));
    let reached: Vec<_> = confined.iter().filter(|(way, _)| way != "left").collect();
    assert!(reached.is_empty(), "{reached:?}");
    assert_eq!((planted.unit_is().as_str(), planted.moved().as_str()), ("inactive", ""));
    assert_eq!(planted.gate.records("start").len(), 2, "nothing came in by the broker's socket");
    assert_eq!(planted.gate.records("exit left").len(), 0);

    let free = planted.report("free");
    let missing: Vec<_> = ways(&planted)
        .into_iter()
        .map(|(way, _)| way)
        .filter(|way| free.iter().all(|(told, _)| told != way))
        .collect();
    assert!(missing.is_empty(), "unconfined, all are open but {missing:?}");
    let left = left(&free);
    assert!(left.iter().all(|pid| pid.runs()), "it is kept");
    left.iter().for_each(|pid| pid.signal(nix::sys::signal::Signal::SIGKILL));
    gone(&left);
    assert_eq!(planted.unit_is(), "active");
    within(SOON, "the group is empty again", || planted.moved().is_empty().then_some(()));
}
