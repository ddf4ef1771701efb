//! System calls that lead out of a confinement, from outside: each is refused with the errno that programs
//! expect, and does its work unconfined, where the kernel lets an ordinary user do it.

use std::collections::BTreeMap;
use std::fs;

use nix::pty::openpty;
use serde_json::json;

use super::outside::Outside;
use super::site::{Site, needs_confinement};
use crate::harness::{Broker, Pid, Status};

/// A probe of `escapes.py`: its name, kind and target; what comes of it confined, and unconfined.
type Probe = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// Rules that run the probes, by profile.
const RULES: &str = "
    defaults:
      cwd = $HOME/agent/project

    /usr/bin/python3 escapes.py free

    /usr/bin/python3 escapes.py workspace
      confine = workspace

    /usr/bin/python3 escapes.py git
      confine = git

    /usr/bin/python3 escapes.py build
      confine = build

    /usr/bin/python3 escapes.py system
      confine = system
";

/// Files outside of the tree.
const FILES: &[Probe] = &[
    ("read", "read", "$HOME/.ssh/id", "EACCES", "ok"),
    ("read by a link", "read", "to-secret", "EACCES", "ok"),
    ("read by openat2", "openat2", "../../.ssh/id", "EACCES", "ok"),
    ("read by the root of a process", "read", "/proc/self/root$HOME/.ssh/id", "EACCES", "ok"),
    ("read by another's directory", "read", "/proc/$VICTIM/cwd/../../.ssh/id", "EACCES", "ok"),
    ("read by another's root", "read", "/proc/$VICTIM/root$HOME/.ssh/id", "EACCES", "ok"),
    ("list the home", "listdir", "$HOME", "EACCES", "ok"),
    ("list a directory by another's", "listdir", "/proc/$VICTIM/cwd/..", "EACCES", "ok"),
    ("write", "write", "$HOME/notes", "EROFS", "ok"),
    ("write by a link", "write", "to-notes", "EROFS", "ok"),
    ("truncate", "truncate", "$HOME/notes", "EROFS", "ok"),
    ("mode", "chmod", "$HOME/modes", "EROFS", "ok"),
    ("mode, without links", "fchmodat2", "$HOME/modes", "EROFS", "ok"),
    ("mode by another's directory", "chmod", "/proc/$VICTIM/cwd/../../modes", "EACCES", "ok"),
    ("times", "utime", "$HOME/times", "EROFS", "ok"),
    ("owner", "chown", "$HOME/times", "EROFS", "ok"),
    ("attribute", "setxattr", "$HOME/times", "EROFS", "ok"),
    ("link in", "link", "$HOME/notes\n$TREE/linked-in", "EXDEV", "ok"),
    ("link out", "link", "$TREE/own\n$HOME/linked-out", "EROFS", "ok"),
    ("rename out", "rename", "$TREE/own\n$HOME/renamed", "EXDEV", "ok"),
    ("rename in", "rename", "$HOME/linked\n$TREE/renamed-in", "EXDEV", "ok"),
    ("make a link outside", "symlink", "own\n$HOME/linked-soft", "EROFS", "ok"),
    ("make a directory", "mkdir", "$HOME/made", "EROFS", "ok"),
    ("make a FIFO", "mkfifo", "$HOME/fifo", "EROFS", "ok"),
    ("unlink", "unlink", "$HOME/times", "EROFS", "ok"),
    ("make a device", "device", "$TREE/device", "EPERM", "EPERM"),
    ("make a FIFO in the tree", "mkfifo", "$TREE/fifo", "ok", "EEXIST"),
    ("write in the tree", "write", "own-too", "ok", "ok"),
    ("write in /tmp", "write", "/tmp/sluice-it-probe-$VICTIM", "ok", "ok"),
];

/// Programs that were written in the tree, where a profile lets none be executed.
const EXEC: &[Probe] = &[
    ("run", "run", "./prog\nran", "EACCES", "ok"),
    ("run by the loader", "run", "/lib64/ld-linux-x86-64.so.2\n./prog\nran", "EPERM", "ok"),
    ("map as code", "map", "prog", "EPERM", "ok"),
    ("run the system's", "run", "/bin/echo\nran", "ok", "ok"),
];

/// Other processes, and the kernel. Some are refused to every ordinary user.
const KERNEL: &[Probe] = &[
    ("ptrace", "ptrace", "$VICTIM", "EPERM", "ok"),
    ("ptrace of a child", "traceable_child", "0", "EPERM", "ok"),
    ("write memory", "vm_write", "$VICTIM\n$ADDRESS", "EPERM", "ok"),
    ("open memory", "mem", "$VICTIM", "EACCES", "ok"),
    ("kill", "kill", "$VICTIM", "EPERM", "ok"),
    ("signal by descriptor", "pidfd_signal", "$VICTIM", "EPERM", "ok"),
    ("take a descriptor", "pidfd_getfd", "$VICTIM", "EPERM", "ok"),
    ("limit", "limit", "$VICTIM", "EPERM", "ok"),
    ("priority", "priority_of_user", "0", "EPERM", "ok"),
    ("shared memory", "shared_memory", "$SHARED", "EINVAL", "ok"),
    ("message queue", "message_queue", "$QUEUE", "EINVAL", "ok"),
    ("user namespace", "unshare", "0x10000000", "EPERM", "ok"),
    ("user namespace by clone", "clone", "0x10000000", "EPERM", "ok"),
    ("clone3", "clone3", "0", "ENOSYS", "ok"),
    ("join a namespace", "setns", "$VICTIM", "EACCES", "EINVAL"),
    ("mount in a namespace", "mount", "0", "EPERM", "ok"),
    ("mount", "mount_plainly", "0", "EPERM", "EPERM"),
    ("chroot", "chroot", "/", "EPERM", "EPERM"),
    ("io_uring", "io_uring", "0", "ENOSYS", "ok"),
    ("bpf", "bpf", "0", "EPERM", "EPERM"),
    ("keyctl", "keyctl", "0", "EPERM", "ok"),
    ("userfaultfd", "userfaultfd", "0", "EPERM", "ok"),
    ("perf", "perf", "0", "EPERM", "EACCES"),
    ("personality", "personality", "0x40000", "EPERM", "ok"),
    ("personality of 32 bits", "personality", "8", "ok", "ok"),
    ("x32", "x32", "0", "ENOSYS", "ENOSYS"),
];

/// A terminal that the caller passed as stdin.
const TERMINAL: &[Probe] = &[
    ("TIOCSTI", "terminal_input", "0x5412", "EPERM", "ok"),
    ("TIOCSTI, high bits", "terminal_high", "0x5412", "EPERM", "ok"),
];

/// Sockets that can be made, by family, type and protocol.
const SOCKETS: &[Probe] = &[
    ("IPv4", "socket", "2 1 0", "EAFNOSUPPORT", "ok"),
    ("IPv4 datagrams", "socket", "2 2 0", "EAFNOSUPPORT", "ok"),
    ("IPv6", "socket", "10 1 0", "EAFNOSUPPORT", "ok"),
    ("MPTCP", "socket", "2 1 262", "EAFNOSUPPORT", "ok"),
    ("unix", "socket", "1 1 0", "EAFNOSUPPORT", "ok"),
    ("unix datagrams", "socket", "1 2 0", "EAFNOSUPPORT", "ok"),
    ("netlink, audit", "socket", "16 3 9", "EPROTONOSUPPORT", "ok"),
    ("a path", "connect", "$HOME/run/stream", "EAFNOSUPPORT", "ok"),
    ("the bus", "connect", "$HOME/run/bus", "EAFNOSUPPORT", "ok"),
    ("a path, by a pair", "send_pair", "$HOME/run/paired", "ESOCKTNOSUPPORT", "ok"),
];

/// A site with all that the probes need.
struct Probed {
    // The broker ends before its socket's directory does.
    broker: Broker,
    outside: Outside,
    site: Site,
    ids: [String; 2],
}

impl Probed {
    fn new() -> Option<Self> {
        if !needs_confinement() {
            return None;
        }
        let site = Site::new();
        let outside = Outside::around(&site);
        site.sh(
            "ln -s $HOME/.ssh/id to-secret; ln -s $HOME/notes to-notes; echo own >own; cp /bin/echo prog",
        );
        site.write("agent/project/escapes.py", include_str!("escapes.py"));
        let id = |kind| {
            let said = site.sh(&format!("ipcmk {kind} -p 0600")).stdout();
            said.split_whitespace().last().expect("a number").to_owned()
        };
        let ids = [id("-M 4096"), id("-Q")];
        let broker = site.serve(RULES);
        Some(Self { site, broker, outside, ids })
    }

    /// The target with the names of what is there, as JSON: words, numbers, or a list by lines.
    fn target(&self, text: &str) -> serde_json::Value {
        let victim = self.outside.victim();
        let home = self.site.home();
        let text = text
            .replace("$HOME", &home.to_string_lossy())
            .replace("$NAME", &home.file_name().expect("it has a name").to_string_lossy())
            .replace("$TREE", &self.site.tree().to_string_lossy())
            .replace("$VICTIM", &victim.0.to_string())
            .replace("$ADDRESS", &address(victim).to_string())
            .replace("$SHARED", &self.ids[0])
            .replace("$QUEUE", &self.ids[1]);
        let number = |word: &str| match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        };
        let word = |word: &str| number(word).map_or_else(|| json!(word), |number| json!(number));
        match (text.contains('\n'), text.contains(' ')) {
            (true, _) => text.lines().map(word).collect(),
            (false, true) => text.split(' ').map(word).collect(),
            (false, false) => word(&text),
        }
    }

    /// What comes of the probes under the rule of this name.
    fn tried(
        &self,
        rule: &str,
        probes: &[Probe],
        stdin: Option<std::os::fd::OwnedFd>,
    ) -> BTreeMap<String, String> {
        let list: Vec<_> =
            probes.iter().map(|probe| json!([probe.0, probe.1, self.target(probe.2)])).collect();
        self.site.write("agent/project/probes.json", &serde_json::Value::from(list).to_string());
        let mut request = self.broker.request(&["/usr/bin/python3", "escapes.py", rule]);
        if let Some(stdin) = stdin {
            request = request.given(0, stdin);
        }
        let answer = request.run().exited(0).complained("");
        let text = answer.text();
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines.map(|(name, came)| (name.to_owned(), came.to_owned())).collect()
    }

    /// Confined, each probe comes to what its row says, and then unconfined.
    #[track_caller]
    fn hold(&self, rule: &str, probes: &[Probe], stdin: impl Fn() -> Option<std::os::fd::OwnedFd>) {
        let want = |free: bool| {
            let rows = probes
                .iter()
                .map(|probe| (probe.0.to_owned(), if free { probe.4 } else { probe.3 }.to_owned()));
            rows.collect::<BTreeMap<_, _>>()
        };
        let differ = |rule: &str, free: bool| {
            let came = self.tried(rule, probes, stdin());
            let want = want(free).into_iter();
            let differ = want.filter(|(name, want)| came.get(name) != Some(want));
            differ
                .map(|(name, want)| format!("{rule}: {name}: want {want}, got {:?}", came.get(&name)))
                .collect::<Vec<_>>()
        };
        let wrong = [differ(rule, false), differ("free", true)].concat();
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        let [shared, queue] = &self.ids;
        self.site.sh(&format!("ipcrm -m {shared} -q {queue}"));
    }
}

/// An address that the process can write: the lowest of its stack.
fn address(pid: Pid) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{}/maps", pid.0)).expect("it runs");
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).expect("it has a stack");
    u64::from_str_radix(stack.split('-').next().expect("a range"), 16).expect("an address")
}

#[test]
fn files_outside_are_out_of_reach() {
    if let Some(probed) = Probed::new() {
        probed.hold("workspace", FILES, || None);
    }
}

#[test]
fn a_directory_on_stdin_is_refused() {
    let Some(probed) = Probed::new() else { return };
    for rule in ["workspace", "free"] {
        let home = fs::File::open(probed.site.home()).expect("it is there");
        let request = probed.broker.request(&["/usr/bin/python3", "escapes.py", rule]).given(0, home);
        request.run().refused(Status::FDS);
    }
}

#[test]
fn what_was_written_is_not_executed() {
    if let Some(probed) = Probed::new() {
        probed.hold("git", EXEC, || None);
    }
}

#[test]
fn processes_and_the_kernel_are_out_of_reach() {
    if let Some(probed) = Probed::new() {
        probed.hold("workspace", KERNEL, || None);
    }
}

#[test]
fn a_terminal_is_not_typed_into() {
    let Some(probed) = Probed::new() else { return };
    let terminal = openpty(None, None).expect("a terminal");
    probed.hold("workspace", TERMINAL, || Some(terminal.slave.try_clone().expect("a copy")));
}

#[test]
fn sockets_are_not_made() {
    if let Some(probed) = Probed::new() {
        probed.hold("workspace", SOCKETS, || None);
    }
}
