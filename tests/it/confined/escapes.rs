//! System calls that lead out of a confinement, from outside: each is refused with the errno that programs
//! expect, and does its work unconfined, where the kernel lets an ordinary user do it.

use std::fs;

use nix::pty::openpty;

use super::probed::{Probe, Probed};
use crate::harness::{SOON, Status, within};

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
    ("make a terminal", "reopen", "/dev/ptmx", "EACCES", "ok"),
    ("write another's settings", "reopen", "/proc/$VICTIM/oom_score_adj", "EROFS", "ok"),
    ("write in the tree", "write", "own-too", "ok", "ok"),
    ("write in /tmp", "write", "/tmp/sluice-it-probe-$VICTIM", "ok", "ok"),
];

/// Programs that were written in the tree, where a profile lets none be executed.
const EXEC: &[Probe] = &[
    ("run", "run", "./prog\nran", "EACCES", "ok"),
    ("run by the loader", "run", "/lib64/ld-linux-x86-64.so.2\n./prog\nran", "EPERM", "ok"),
    ("map as code", "map", "prog", "EPERM", "ok"),
    ("run memory, by path", "memfd", "path", "EACCES", "ok"),
    ("run memory, by descriptor", "memfd", "descriptor", "EACCES", "ok"),
    ("data in memory", "memory", "8", "ok", "ok"),
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

#[test]
fn files_outside_are_out_of_reach() {
    if let Some(probed) = Probed::new(RULES) {
        let left = format!("/tmp/sluice-it-probe-{}", probed.outside.victim().0);
        probed.hold("workspace", FILES, || None);
        // Confined, it was written elsewhere.
        fs::remove_file(left).expect("unconfined, it was written");
    }
}

#[test]
fn a_directory_on_stdin_is_refused() {
    let Some(probed) = Probed::new(RULES) else { return };
    for rule in ["workspace", "free"] {
        let home = fs::File::open(probed.site.home()).expect("it is there");
        let request = probed.broker.request(&["/usr/bin/python3", "escapes.py", rule]).given(0, home);
        request.run().refused(Status::FDS);
    }
}

#[test]
fn what_was_written_is_not_executed() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("git", EXEC, || None);
    }
}

#[test]
fn processes_and_the_kernel_are_out_of_reach() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("workspace", KERNEL, || None);
    }
}

/// What a confinement leaves, as REFERENCE.md says.
const REMAINS: &[Probe] = &[
    ("ask for a file outside", "stat", "$HOME/.ssh/id", "ok", "ok"),
    ("watch a directory outside", "watch", "$HOME/.ssh", "ok", "ok"),
    ("read another's command line", "read", "/proc/$VICTIM/cmdline", "ok", "ok"),
    ("but not its environment", "read", "/proc/$VICTIM/environ", "EACCES", "ok"),
    ("nor its files", "readlink", "/proc/$VICTIM/fd/0", "EACCES", "ok"),
];

/// Files of the home that tools look for.
const SETTINGS: &[Probe] = &[
    ("git's settings", "openat2", "$HOME/.gitconfig", "ok", "ok"),
    ("git's passwords", "openat2", "$HOME/.git-credentials", "EACCES", "ok"),
    ("npm's tokens", "openat2", "$HOME/.npmrc", "EACCES", "ok"),
    ("ssh's keys", "openat2", "$HOME/.ssh/id", "EACCES", "ok"),
    ("write git's settings", "write", "$HOME/.gitconfig", "EROFS", "ok"),
];

#[test]
fn git_reads_its_settings_and_no_passwords() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("git", SETTINGS, || None);
    }
}

#[test]
fn what_remains_is_what_the_reference_says() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("workspace", REMAINS, || None);
    }
}

/// The kernel sends the signal, to the process that the descriptor belongs to.
const OWNER: &[Probe] = &[("signal by a descriptor's owner", "signal_by_owner", "$VICTIM", "ok", "ok")];

#[test]
fn a_descriptors_owner_outside_is_not_signalled() {
    let Some(probed) = Probed::new(RULES) else { return };
    let victim = probed.outside.victim();
    probed.tried("workspace", OWNER, None);
    assert!(victim.runs());
    probed.tried("free", OWNER, None);
    within(SOON, "unconfined, the signal comes", || (!victim.runs()).then_some(()));
}

#[test]
fn a_terminal_is_not_typed_into() {
    let Some(probed) = Probed::new(RULES) else { return };
    let terminal = openpty(None, None).expect("a terminal");
    probed.hold("workspace", TERMINAL, || Some(terminal.slave.try_clone().expect("a copy")));
}

#[test]
fn sockets_are_not_made() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("workspace", SOCKETS, || None);
    }
}
