//! A broker where a container's filter denies newer system calls: it does without them, or leaves and names
//! the one that it needs, before it is ready.

use nix::unistd::getsid;

use crate::harness::{Broker, Pid, SHELL, SOON, Setup, is_root, needs, within};

/// Denies the system calls of these numbers with this errno, or with `sharing` a clone with `CLONE_VM` and
/// `CLONE_PARENT`, which only launchers have; then becomes the program that follows.
pub(crate) const DENY: &str = "\
import ctypes, os, struct, sys
code = lambda what, value, if_equal=0, otherwise=0: struct.pack('HBBI', what, if_equal, otherwise, value)
rules = code(0x20, 0)
if sys.argv[1] == 'sharing':
    rules += code(0x15, 435, 0, 1) + code(0x06, 0x00050000 | 38)
    rules += code(0x15, 56, 0, 4) + code(0x20, 16) + code(0x54, 0x8100) + code(0x15, 0x8100, 0, 1)
    rules += code(0x06, 0x00050000 | 1)
    sys.argv[2] = ''
for number in filter(None, sys.argv[2].split(',')):
    rules += code(0x15, int(number), 0, 1) + code(0x06, 0x00050000 | int(sys.argv[1]))
rules += code(0x06, 0x7fff0000)
kept = ctypes.create_string_buffer(rules)
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
program = Program(len(rules) // 8, ctypes.addressof(kept))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execvp(sys.argv[3], sys.argv[3:])
";

pub(crate) const ENOSYS: &str = "38";
pub(crate) const EPERM: &str = "1";

// These numbers are the same for every processor.
const CLONE3: &str = "435";
const PIDFD_SEND_SIGNAL: &str = "424";
const PIDFD_OPEN: &str = "434";
const CLOSE_RANGE: &str = "436";
const OPENAT2: &str = "437";

pub(crate) fn denied(rules: &str, errno: &str, number: &str) -> Option<Setup> {
    if !needs("python3", "python3") {
        return None;
    }
    Some(Broker::new(rules).under(&["python3", "-c", DENY, errno, number]))
}

#[test]
fn without_clone3_calls_run_as_ever() {
    let captured = "/bin/echo captured\n  stdoutfile = @DIR@/audit/out-#$call\n";
    let rules = format!("{SHELL}  timeout = 10s\n\n{captured}");
    let Some(setup) = denied(&rules, ENOSYS, CLONE3) else { return };
    let broker = setup.start();
    for _ in 0..40 {
        broker.sh("echo up").exited(0).printed("up\n");
    }
    broker.sh("setsid sleep 60 & echo $!").exited(0).printed_pid_is_gone();
    broker.call(["/bin/echo", "captured"]).exited(0).printed("captured\n");
    assert!(!broker.said().contains("nursery"), "{}", broker.said());
}

#[test]
fn a_broker_that_can_make_no_process_is_not_ready() {
    // The C library takes this word for a failure, and makes no thread; the broker's own would go on to
    // `clone`.
    let Some(setup) = denied(SHELL, EPERM, CLONE3) else { return };
    setup.start_fails().said(&["no process can be made for calls", "Operation not permitted", "clone3"]);
}

#[test]
fn a_system_call_that_is_needed_is_named_when_it_is_denied() {
    let needed = [
        ("pidfd_send_signal", PIDFD_SEND_SIGNAL),
        ("pidfd_open", PIDFD_OPEN),
        ("close_range", CLOSE_RANGE),
        ("openat2", OPENAT2),
    ];
    for (name, number) in needed {
        for errno in [ENOSYS, EPERM] {
            let Some(setup) = denied(SHELL, errno, number) else { return };
            setup.start_fails().said(&[&format!("the system call {name}(2) cannot be made"), "seccomp"]);
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_can_be_done_without_is_done_without() {
    let (memfd_create, inotify_init1, fallocate) = ("319", "294", "285");
    for number in [memfd_create, inotify_init1, fallocate] {
        for errno in [ENOSYS, EPERM] {
            let Some(setup) = denied(SHELL, errno, number) else { return };
            let mut broker = setup.start();
            broker.sh("echo up").exited(0).printed("up\n");
            if number == inotify_init1 {
                std::fs::remove_file(broker.socket()).expect("an own file can be removed");
                broker.ends_with(2);
            }
        }
    }
}

/// What memory a process has, where that may be looked at.
fn maps(process: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{}/maps", process.0)).unwrap_or_default()
}

/// The nursery, and a launcher that waits: it leads a session.
fn nursery_and_launcher(broker: &Broker) -> (Pid, Pid) {
    let leads = |pid: &Pid| {
        getsid(Some(nix::unistd::Pid::from_raw(pid.0))).is_ok_and(|session| session.as_raw() == pid.0)
    };
    within(SOON, "a nursery and a launcher", || {
        let children = broker.pid().children();
        let mut named = children.iter().filter(|pid| pid.command_line().contains("nursery"));
        Some((*named.clone().find(|pid| !leads(pid))?, *named.find(|pid| leads(pid))?))
    })
}

#[test]
#[cfg(target_arch = "x86_64")]
fn where_no_memory_may_be_shared_launchers_have_copies() {
    let captured = "/bin/echo captured\n  stdoutfile = @DIR@/audit/out-#$call\n";
    let kept = "/bin/bash -c #script\n  allow_any = script\n  background = keep\n";
    let rules = format!("{kept}\n{SHELL}  timeout = 10s\n\n{captured}");
    let Some(setup) = denied(&rules, "sharing", "0") else { return };
    let broker = setup.start();
    let (nursery, launcher) = nursery_and_launcher(&broker);
    assert!(!is_root() || maps(nursery) != maps(launcher), "it shares the nursery's memory");
    for _ in 0..40 {
        broker.sh("echo up").exited(0).printed("up\n");
    }
    broker.sh("exit 7").exited(7);
    let long = "x".repeat(4000);
    broker.sh(&format!("echo {long}")).exited(0).printed(&format!("{long}\n"));
    broker.sh("setsid sleep 60 & echo $!").exited(0).printed_pid_is_gone();
    broker.call(["/bin/bash", "-c", "sleep 0.1 & echo up"]).exited(0).printed("up\n");
    broker.call(["/bin/echo", "captured"]).exited(0).printed("captured\n");
    assert!(!broker.said().contains("nursery"), "{}", broker.said());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn where_memory_may_be_shared_launchers_share_it() {
    let broker = Broker::shell();
    let (nursery, launcher) = nursery_and_launcher(&broker);
    assert_eq!(maps(nursery), maps(launcher));
}
