//! Profiles of a user's own: what each key takes away, and what it leaves.

use std::fs::File;

use super::probed::{Probe, Probed};

const RULES: &str = "
    defaults:
      cwd = $HOME/agent/project

    profile places:
      extends = workspace
      read    = $HOME/extra
      hide    = hidden $HOME/extra/hidden
      protect = sub/kept

    profile one-socket:
      extends = workspace
      unix    = $HOME/run/stream

    profile one-port:
      extends = workspace
      net     = tcp:$PORT

    profile calls:
      extends  = places
      net      = any
      syscalls = any

    profile looking:
      extends = system
      read    = .

    profile no-net:
      net = none

    /usr/bin/python3 escapes.py free

    /usr/bin/python3 escapes.py places
      confine = places

    /usr/bin/python3 escapes.py one-socket
      confine = one-socket

    /usr/bin/python3 escapes.py one-port
      confine = one-port

    /usr/bin/python3 escapes.py calls
      confine = calls

    /usr/bin/python3 escapes.py looking
      confine = looking

    /usr/bin/python3 escapes.py no-net
      confine = no-net
";

/// Places that are hidden, protected, or only read. What moves them away comes last.
const PLACES: &[Probe] = &[
    ("list what is hidden", "listdir", "hidden", "EACCES", "ok"),
    ("read what is hidden", "read", "hidden/file", "EACCES", "ok"),
    ("read it on another way", "read", "/proc/self/cwd/sub/../hidden/file", "EACCES", "ok"),
    ("read it by openat2", "openat2", "hidden/file", "EACCES", "ok"),
    ("link it", "link", "hidden/file\nlinked", "EACCES", "ok"),
    ("read what is hidden elsewhere", "read", "$HOME/extra/hidden/file", "EACCES", "ok"),
    ("read what is read", "read", "$HOME/extra/file", "ok", "ok"),
    ("write what is read", "write", "$HOME/extra/file", "EROFS", "ok"),
    ("ask for a file that is hidden", "stat", "hidden/file", "EACCES", "ok"),
    ("chmod what is read", "chmod", "$HOME/extra/file", "EROFS", "ok"),
    ("read what is protected", "read", "sub/kept/file", "ok", "ok"),
    ("write what is protected", "write", "sub/kept/file", "EROFS", "ok"),
    ("chmod what is protected", "chmod", "sub/kept/file", "EROFS", "ok"),
    ("make what is protected", "mkdir", "sub/kept/made", "EROFS", "ok"),
    ("link what is protected", "link", "sub/kept/file\nkept-link", "EXDEV", "ok"),
    ("write beside it", "write", "sub/other/file", "ok", "ok"),
    ("exchange what is protected", "exchange", "sub/kept\nsub/other", "EBUSY", "ok"),
    ("move what is protected", "rename", "sub/kept\nsub/moved", "EBUSY", "ok"),
    ("move what it is in", "rename", "sub\nmoved", "EBUSY", "ok"),
    ("move what is hidden", "rename", "hidden\nmoved-hidden", "EBUSY", "ok"),
];

/// Sockets, where one may be reached.
const ONE_SOCKET: &[Probe] = &[
    ("the one", "connect", "$HOME/run/stream", "ok", "ok"),
    ("one of its own", "own_socket", "own.sock", "ok", "ok"),
    ("the bus", "connect", "$HOME/run/bus", "ENOENT", "ok"),
    ("ssh's agent", "connect", "$HOME/run/agent", "ENOENT", "ok"),
    ("the broker", "connect_seqpacket", "$HOME/run/broker.sock", "ENOENT", "ok"),
    ("datagrams, by a pair", "send_pair", "$HOME/run/paired", "ENOENT", "ok"),
    ("by another's directory", "connect", "/proc/$VICTIM/cwd/../../run/bus", "EACCES", "ok"),
    ("an abstract one", "abstract", "$ABSTRACT", "EPERM", "ok"),
    ("TCP", "tcp", "$PORT", "EAFNOSUPPORT", "ok"),
];

/// Ports, where one may be reached.
const ONE_PORT: &[Probe] = &[
    ("the one", "tcp", "$PORT", "ok", "ok"),
    ("the one, by IPv6", "tcp_six", "$PORT", "ok", "ok"),
    ("another", "tcp", "$OTHER", "EACCES", "ok"),
    ("another, by IPv6", "tcp_six", "$OTHER", "EACCES", "ok"),
    ("another, with the first data", "fast_open", "$OTHER", "ENOTSUP", "ok"),
    ("another, with a first message", "fast_open_message", "$OTHER", "ENOTSUP", "ok"),
    ("datagrams", "udp", "$PORT", "EPROTONOSUPPORT", "ok"),
    ("several ways at once", "socket", "2 1 262", "EPROTONOSUPPORT", "ok"),
    ("to listen", "bind", "0", "EACCES", "ok"),
    ("a socket at a path", "connect", "$HOME/run/stream", "EAFNOSUPPORT", "ok"),
];

/// With every system call, the command can have namespaces, and all capabilities in them.
const CALLS: &[Probe] = &[
    ("namespaces", "unshare", "0x10020000", "ok", "ok"),
    ("mount", "mount", "0", "EPERM", "ok"),
    ("make the home writable", "remount", "$HOME", "EPERM", "ok"),
    ("take away what hides", "uncover", "$TREE/hidden\n$TREE/hidden/file", "EACCES", "ok"),
    ("read what is hidden", "read", "hidden/file", "EACCES", "ok"),
    ("read the home", "read", "$HOME/.ssh/id", "EACCES", "ok"),
    ("write the home", "write", "$HOME/notes", "EROFS", "ok"),
    ("ptrace", "ptrace", "$VICTIM", "EPERM", "ok"),
    ("write memory", "vm_write", "$VICTIM\n$ADDRESS", "EPERM", "ok"),
    ("take a descriptor", "pidfd_getfd", "$VICTIM", "EPERM", "ok"),
    ("kill", "kill", "$VICTIM", "EPERM", "ok"),
    ("io_uring", "io_uring", "0", "ENOSYS", "ok"),
    ("join a namespace", "setns", "$VICTIM", "EACCES", "EINVAL"),
];

/// A rule that restricts the network alone.
const NO_NET: &[Probe] = &[
    ("TCP", "tcp", "$PORT", "EAFNOSUPPORT", "ok"),
    ("datagrams", "udp", "$PORT", "EAFNOSUPPORT", "ok"),
    ("a socket at a path", "connect", "$HOME/run/stream", "ok", "ok"),
    ("write the home", "write", "$HOME/notes", "ok", "ok"),
    ("chmod in the home", "chmod", "$HOME/modes", "ok", "ok"),
    ("kill", "kill", "$VICTIM", "EPERM", "ok"),
];

/// A profile that writes nothing has no view of its own: system calls that Landlock does not know are
/// refused.
const LOOKING: &[Probe] = &[
    ("read", "read", "own", "ok", "ok"),
    ("read outside", "read", "$HOME/.ssh/id", "EACCES", "ok"),
    ("write", "write", "own", "EACCES", "ok"),
    ("write outside", "write", "$HOME/notes", "EACCES", "ok"),
    ("write in /tmp", "write", "/tmp/sluice-it-probe-$VICTIM", "EACCES", "ok"),
    ("mode", "chmod", "$HOME/modes", "EPERM", "ok"),
    ("times", "utime", "$HOME/times", "EPERM", "ok"),
    ("owner", "chown", "$HOME/times", "EPERM", "ok"),
    ("attribute", "setxattr", "$HOME/times", "ENOTSUP", "ok"),
    ("shared memory", "shared_memory", "$SHARED", "ENOSYS", "ok"),
    ("message queue", "message_queue", "$QUEUE", "ENOSYS", "ok"),
    ("a link", "symlink", "own\nlink-to-own", "EACCES", "ok"),
    ("move", "rename", "own\nown-moved", "EACCES", "ok"),
    ("kill", "kill", "$VICTIM", "EPERM", "ok"),
];

#[test]
fn what_writes_nothing_changes_nothing() {
    if let Some(probed) = Probed::new(RULES) {
        let left = format!("/tmp/sluice-it-probe-{}", probed.outside.victim().0);
        probed.hold("looking", LOOKING, || None);
        std::fs::remove_file(left).expect("unconfined, it was written");
    }
}

#[test]
fn places_are_hidden_protected_and_read() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("places", PLACES, || None);
    }
}

#[test]
fn one_socket_is_reached_and_no_other() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("one-socket", ONE_SOCKET, || None);
    }
}

#[test]
fn one_port_is_reached_and_no_other() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("one-port", ONE_PORT, || None);
    }
}

#[test]
fn with_every_system_call_files_and_processes_stay_out_of_reach() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("calls", CALLS, || None);
    }
}

#[test]
fn a_rule_that_restricts_the_network_restricts_nothing_else() {
    if let Some(probed) = Probed::new(RULES) {
        probed.hold("no-net", NO_NET, || None);
    }
}

/// What a file on stdin, which the caller opened to read, can be used for.
const GIVEN: &[Probe] = &[
    ("read it", "read_given", "0", "ok", "ok"),
    ("open it to read", "read", "/proc/self/fd/0", "EACCES", "ok"),
    ("change its mode", "chmod_given", "0", "ok", "ok"),
    ("open it to write", "reopen", "/proc/self/fd/0", "EACCES", "ok"),
    ("empty it", "truncate", "/proc/self/fd/0", "EACCES", "ok"),
];

#[test]
fn a_file_on_stdin_is_only_what_the_caller_opened() {
    let Some(probed) = Probed::new(RULES) else { return };
    let file = || Some(File::open(probed.site.home().join("linked")).expect("it is there").into());
    probed.hold("places", GIVEN, file);
}
