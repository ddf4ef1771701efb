//! The broker after many confined calls: it holds no more than before, and can do all that it could.

use std::fs;

use super::site::{Site, needs_confinement};
use crate::harness::{Broker, Pid, needs_root};

const CALLS: usize = 1_000;

/// Calls at a time.
const AT_ONCE: usize = 8;

const RULES: &str = "
    /bin/sh -c #free
      allow_any = free
      cwd       = $HOME/agent/project

    /bin/sh -e -c #confined
      allow_any = confined
      cwd       = $HOME/agent/project
      confine   = workspace
";

/// What a process has of the kernel, and may do.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    mounts: Vec<String>,
    namespaces: Vec<String>,
    privileges: Vec<String>,
}

fn held(pid: Pid) -> Held {
    let lines = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", pid.0)).expect("it runs");
        text.lines().map(str::to_owned).collect()
    };
    let namespace = |kind: &str| {
        let link = fs::read_link(format!("/proc/{}/ns/{kind}", pid.0)).expect("it runs");
        link.to_string_lossy().into_owned()
    };
    let is_privilege =
        |line: &String| ["Cap", "NoNewPrivs", "Seccomp"].iter().any(|word| line.starts_with(word));
    Held {
        mounts: lines("mountinfo"),
        namespaces: ["user", "mnt", "ipc", "net", "pid"].map(namespace).into(),
        privileges: lines("status").into_iter().filter(is_privilege).collect(),
    }
}

/// The broker and its nursery.
fn standing(broker: &Broker) -> Vec<Pid> {
    let below = broker.pid().children().into_iter();
    let nursery = below.min_by_key(|pid| pid.0).expect("it has a nursery");
    vec![broker.pid(), nursery]
}

#[test]
fn a_broker_can_do_after_confined_calls_what_it_could_before() {
    // The broker hides its namespaces from its own user.
    if !needs_root() || !needs_confinement() {
        return;
    }
    let site = Site::new();
    site.write("notes", "");
    let broker = site.serve(RULES);
    let confined = |script: &str| broker.request(&["/bin/sh", "-e", "-c", script]).quick().begin();
    // The first call makes what is made once.
    confined("echo made >made").wait().exited(0);
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let before: Vec<_> = standing(&broker).into_iter().map(held).collect();
    for _ in 0..CALLS / AT_ONCE {
        let calls: Vec<_> =
            (0..AT_ONCE).map(|_| confined("echo once >>made; ! echo out >>../../notes")).collect();
        calls.into_iter().for_each(|call| drop(call.wait().exited(0)));
    }
    let after: Vec<_> = standing(&broker).into_iter().map(held).collect();
    assert_eq!(before, after);
    broker.comes_back_to(descriptors, threads);
    // Launchers wait outside of every view.
    let own = &after[1].namespaces;
    let strays = broker.pid().descendants().into_iter().filter(|pid| &held(*pid).namespaces != own);
    assert_eq!(strays.collect::<Vec<_>>(), []);
    assert_eq!(fs::read_to_string(site.home().join("notes")).expect("it is there"), "");
    let script = "echo out >>../../notes; chmod 640 ../../notes; mknod -m 600 fifo p; id -u; ulimit -n";
    broker.sh(script).exited(0).complained("");
    assert_eq!(fs::read_to_string(site.home().join("notes")).expect("it is there"), "out\n");
}
