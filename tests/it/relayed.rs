//! What moves a caller's bytes is a process for that call alone: others see it where they would have seen the
//! broker, it holds nothing that is not its call's, and its end is no more than the end of its call.

use std::fs;
use std::io::{BufRead as _, BufReader, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::sys::signal::Signal;
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixCredentials, recvmsg, setsockopt,
    socketpair,
};

use crate::captures::{capturing, held};
use crate::harness::{Broker, Pid, SOON, Status, is_root, needs, skip, within};

/// The relays of a broker's running calls.
fn relays(broker: &Broker) -> Vec<Pid> {
    let is_relay = |pid: &Pid| {
        fs::read_to_string(format!("/proc/{}/comm", pid.0)).is_ok_and(|name| name == "sluice-relay\n")
    };
    broker.pid().children().into_iter().filter(is_relay).collect()
}

/// The one relay that there is.
#[track_caller]
fn relay(broker: &Broker) -> Pid {
    let found = relays(broker);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

#[test]
fn a_socket_hears_the_relay_and_not_the_broker() {
    let broker = capturing("").start();
    let (near, far) =
        socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC).expect("a pair");
    setsockopt(&near, PassCred, &true).expect("credentials on");
    let call = broker.request(&["/bin/sh", "-c", "echo WATCHDOG=trigger; read go"]).given(1, far);
    let mut call = call.stdin_open().begin();
    let (mut bytes, mut control) = ([0; 100], cmsg_space!(UnixCredentials));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(near.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
    let message = message.expect("a message");
    let sender = message.cmsgs().expect("whole").find_map(|item| {
        let ControlMessageOwned::ScmCredentials(sender) = item else { return None };
        Some(Pid(sender.pid()))
    });
    let relay = relay(&broker);
    assert_eq!((message.bytes, sender), (17, Some(relay)));
    assert_ne!(relay, broker.pid());
    call.write(b"go\n");
    call.wait().exited(0);
    within(SOON, "the relay is gone", || (!relay.runs()).then_some(()));
}

#[test]
fn a_relay_holds_its_call_and_nothing_else() {
    if !is_root() {
        return skip("needs root, to look at the descriptors of a process that hides them");
    }
    let broker = capturing("").start();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; exec cat"]).stdin_open().begin();
    assert_eq!(call.line(), "up");
    let links = fs::read_dir(format!("/proc/{}/fd", relay(&broker).0)).expect("root may look");
    let links: Vec<PathBuf> = links.flatten().filter_map(|link| fs::read_link(link.path()).ok()).collect();
    let count = |part: &str| links.iter().filter(|link| link.to_string_lossy().starts_with(part)).count();
    let captures = broker.dir().join("audit/calls");
    // Its own stdio, a channel to the broker, and of each stream two ends and a capture.
    let kinds = [count("/dev/null"), count("socket:"), count("pipe:"), count(&captures.to_string_lossy())];
    assert_eq!((kinds, links.len()), ([3, 1, 6, 3], 13), "{links:?}");
    call.close_stdin();
    call.wait().exited(0);
}

#[test]
fn what_is_sent_to_all_of_a_call_does_not_end_its_relay() {
    let broker = capturing("").start();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; exec cat"]).stdin_open().begin();
    assert_eq!(call.line(), "up");
    let relay = relay(&broker);
    let ending = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGPIPE];
    for signal in ending.into_iter().chain([Signal::SIGTSTP, Signal::SIGUSR1, Signal::SIGALRM]) {
        relay.signal(signal);
    }
    call.write(b"still there\n");
    assert_eq!(call.line(), "still there");
    call.close_stdin();
    call.wait().exited(0).audited(["start", "exit status=0 stdout_bytes=15 !truncated !drain_timeout"]);
}

#[test]
fn a_relay_that_is_killed_ends_its_call_and_what_was_captured_is_on_record() {
    for audit in ["audit = strict", "audit = best-effort"] {
        let broker = capturing(audit).start();
        let mut call = broker.begin_sh("echo up; exec sleep 60");
        assert_eq!(call.line(), "up");
        relay(&broker).signal(Signal::SIGKILL);
        let answer = call.wait().refused(Status::AUDIT).took(Duration::ZERO, Duration::from_secs(2));
        let answer =
            answer.audited(["start", "exit status=-6 stdout_bytes=3 truncated=true drain_timeout=true"]);
        assert_eq!(held(&answer.record("start"), "stdout"), b"up\n");
        broker.sh("echo next").exited(0).printed("next\n");
    }
}

#[test]
fn a_relay_that_is_stopped_is_killed_when_its_call_ends() {
    let broker = capturing("timeout = 1s").start();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; exec cat"]).stdin_open().begin();
    assert_eq!(call.line(), "up");
    let relay = relay(&broker);
    relay.signal(Signal::SIGSTOP);
    call.write(b"never seen\n");
    let answer = call.wait().refused(Status::TIMEOUT).took(Duration::from_secs(1), Duration::from_secs(6));
    answer.audited(["start", "exit timed_out=true stdout_bytes=3 truncated=true drain_timeout=true"]);
    within(SOON, "the relay is gone", || (!relay.runs()).then_some(()));
}

#[test]
fn a_broker_that_is_killed_leaves_no_relay_and_the_next_one_counts_what_was_captured() {
    let mut broker = capturing("").start();
    let mut call = broker.begin_sh("echo up; exec sleep 60");
    assert_eq!(call.line(), "up");
    let relay = relay(&broker);
    broker.kill();
    within(SOON, "the relay is gone", || (!relay.runs()).then_some(()));
    broker.start_again();
    broker.record("lost call=1 stdout_bytes=3");
}

#[test]
fn a_call_leaves_no_relay() {
    let broker = capturing("").start();
    broker.sh("echo a").exited(0);
    broker.sh("exec 9>&1; exit 3").exited(3);
    let mut gone = broker.begin_sh("echo up; exec sleep 60");
    assert_eq!(gone.line(), "up");
    gone.hang_up();
    broker.record("exit hangup=true");
    within(SOON, "the relays are gone", || relays(&broker).is_empty().then_some(()));
    // Nor a process that nobody reaped.
    let children = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = children.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid);
    let own: Vec<_> = pids.filter(|pid| pid.parent() == Some(broker.pid()) && !pid.runs()).collect();
    within(SOON, "nobody is left unreaped", || {
        own.iter().all(|pid| pid.parent() != Some(broker.pid())).then_some(())
    });
}

#[test]
fn without_captures_or_hidden_terminals_there_is_no_relay() {
    let broker = Broker::shell();
    let mut call = broker.begin_sh("echo up; read go");
    assert_eq!(call.line(), "up");
    assert_eq!(relays(&broker), []);
    call.close_stdin();
    call.wait();
}

/// A file system of the caller's that takes a write and never answers, as root of a namespace of its own;
/// prints what the call was answered, and keeps the file system for as long as its stdin is open.
const SILENT: &str = r#"
import ctypes, os, socket, stat, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
place = sys.argv[2]
def fail(step):
    print("no fuse:", step, os.strerror(ctypes.get_errno()))
    sys.stdout.flush()
    os._exit(0)
uid, gid = os.getuid(), os.getgid()
if libc.unshare(0x10020000):
    fail("unshare")
for name, text in ("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"):
    try: open("/proc/self/" + name, "w").write(text)
    except OSError as error: ctypes.set_errno(error.errno); fail(name)
try: device = os.open("/dev/fuse", os.O_RDWR)
except OSError as error: ctypes.set_errno(error.errno); fail("open")
if libc.mount(b"it", place.encode(), b"fuse", 6, b"fd=%d,rootmode=40000,user_id=0,group_id=0" % device):
    fail("mount")
def attributes(node):
    mode = stat.S_IFREG | 0o666 if node == 2 else stat.S_IFDIR | 0o755
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
def serve():
    while True:
        message = os.read(device, 1 << 18)
        operation, number, node = struct.unpack("<IQQ", message[4:24])
        answer, error = b"", 0
        if operation == 26: answer = struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 16, 12, 65536, 1, 0, 0, 0, *[0] * 7)
        elif operation == 1: answer = struct.pack("<QQQQII", 2, 1, 0, 0, 0, 0) + attributes(2)
        elif operation == 3: answer = struct.pack("<QII", 0, 0, 0) + attributes(node)
        elif operation in (14, 27): answer = struct.pack("<QII", 1, 1, 0)
        elif operation in (2, 16, 36): continue
        elif operation not in (18, 25, 29): error = -38
        os.write(device, struct.pack("<IiQ", 16 + len(answer), error, number) + answer)
threading.Thread(target=serve, daemon=True).start()
silent, null = os.open(place + "/file", os.O_RDWR), os.open("/dev/null", os.O_RDWR)
words = [b"/bin/sh", b"-c", b"echo hello"]
frame = struct.pack("<III", 0x534C4358, 1, len(words)) + b"".join(struct.pack("<I", len(w)) + w for w in words)
call = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
call.settimeout(30)
call.connect(sys.argv[1])
socket.send_fds(call, [frame], [null, silent, null])
answer = struct.unpack("<i", call.recv(100)[8:12])[0]
os.close(silent)  # while somebody answers: else the end of this process waits for it
print(answer)
sys.stdout.flush()
sys.stdin.read()
os._exit(0)
"#;

#[test]
fn a_file_system_that_never_answers_holds_its_call_until_the_timeout_and_no_stop() {
    if !needs("python3", "python3") {
        return;
    }
    let mut broker = capturing("timeout = 1s").start();
    let place = broker.dir().join("silent");
    fs::create_dir(&place).expect("an own directory");
    let mut caller = Command::new("python3")
        .args(["-c", SILENT])
        .args([broker.socket(), place])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is python3");
    let mut said = String::new();
    BufReader::new(caller.stdout.take().expect("a pipe")).read_line(&mut said).expect("it says something");
    if said.starts_with("no fuse") {
        caller.wait().expect("it has ended");
        return skip(said.trim_end());
    }
    assert_eq!(said, "-7\n");
    broker.record("exit timed_out=true stdout_bytes=6 truncated=true drain_timeout=true");
    assert_eq!(held(&broker.record("start"), "stdout"), b"hello\n");
    broker.sh("echo other").exited(0).printed("other\n");
    // That of the other call may still be ending.
    let relays =
        within(SOON, "one relay is left", || Some(relays(&broker)).filter(|relays| relays.len() <= 1));
    assert_eq!(relays.len(), 1, "not even SIGKILL ends it");
    let began = Instant::now();
    broker.stop();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(caller.stdin.take());
    caller.wait().expect("it ends");
    within(SOON, "the relay is gone", || (!relays[0].runs()).then_some(()));
}
