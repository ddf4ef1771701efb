//! The callers of captured calls: slow, gone, stopped, on terminals and sockets. None of them loses a byte
//! while it reads, holds up anybody else, or keeps a call from its end.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;

use crate::captures::{capturing, held};
use crate::harness::{Broker, SOON, Status, needs, python, skip, within};

/// Waits until a file has this many bytes.
#[track_caller]
fn grows_to(path: &Path, bytes: u64) {
    within(SOON, "the capture grows", || {
        fs::metadata(path).is_ok_and(|file| file.len() >= bytes).then_some(())
    });
}

#[test]
fn a_slow_reader_gets_every_byte_after_the_command_has_ended() {
    let broker = capturing("").start();
    let (mut read, write) = std::io::pipe().expect("a pipe");
    fcntl(&write, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let mut call = broker.request(&["/bin/sh", "-c", "yes | head -c 300000"]).given(1, write).begin();
    grows_to(&broker.dir().join("audit/calls/c1.out"), 300_000);
    assert!(!call.is_answered(), "the output is not delivered yet");
    let mut got = vec![0; 100_000];
    read.read_exact(&mut got).expect("a pipe can be read");
    assert!(!call.is_answered(), "the output is not delivered yet");
    read.read_to_end(&mut got).expect("a pipe can be read");
    let answer =
        call.wait().exited(0).audited(["start", "exit stdout_bytes=300000 !truncated !drain_timeout"]);
    assert!(held(&answer.record("start"), "stdout") == got);
}

#[test]
fn a_pipe_that_does_not_block_gets_every_byte_and_keeps_its_flags() {
    let broker = capturing("").start();
    for flags in [OFlag::O_NONBLOCK, OFlag::empty()] {
        let (mut read, write) = std::io::pipe().expect("a pipe");
        fcntl(&write, FcntlArg::F_SETFL(flags)).expect("flags can be set");
        let call = broker.request(&["/bin/sh", "-c", "yes | head -c 1000000"]);
        let call = call.given(1, write.try_clone().expect("another handle")).begin();
        let mut got = vec![0; 1_000_000];
        read.read_exact(&mut got).expect("a pipe can be read");
        call.wait().exited(0);
        let after = OFlag::from_bits_retain(fcntl(&write, FcntlArg::F_GETFL).expect("flags"));
        assert_eq!(after & OFlag::O_NONBLOCK, flags);
    }
}

#[test]
fn a_caller_that_does_not_read_holds_up_nobody_else() {
    let broker = capturing("").start();
    let (read, write) = std::io::pipe().expect("a pipe");
    let mut stalled = broker.request(&["/bin/sh", "-c", "yes"]).given(1, write).begin();
    grows_to(&broker.dir().join("audit/calls/c1.out"), 1 << 20);
    for _ in 0..5 {
        broker.sh("yes | head -c 2000000 | tail -c 3").exited(0).printed("\ny\n");
    }
    assert!(!stalled.is_answered());
    let size = fs::metadata(broker.dir().join("audit/calls/c1.out")).expect("it is there").len();
    assert!(size <= 2 << 20, "a command that nobody reads is held up, not followed: {size} bytes");
    drop(read);
    stalled.wait().died_of(Signal::SIGPIPE);
}

#[test]
fn a_caller_that_stops_reading_is_a_broken_pipe() {
    let broker = capturing("timeout = 20s").start();
    let mut call = broker.begin_sh("echo up; while echo more; do :; done 2>/dev/null; exit 9");
    assert_eq!(call.line(), "up");
    call.close_stdout();
    let answer = call.wait().died_of(Signal::SIGPIPE).took(Duration::ZERO, Duration::from_secs(10));
    assert!(held(&answer.record("start"), "stdout").starts_with(b"up\n"));
    answer.audited(["start", "exit !truncated !drain_timeout"]);
}

#[test]
fn a_command_that_writes_for_ever_ends_at_its_timeout() {
    let broker = capturing("timeout = 1s").start();
    let (_read, write) = std::io::pipe().expect("a pipe");
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(4));
    let call = broker.request(&["/bin/sh", "-c", "exec yes"]).given(1, write).begin();
    call.wait()
        .refused(Status::TIMEOUT)
        .took(least, most)
        .audited(["start", "exit timed_out=true drain_timeout=true !truncated"]);
    let answer = broker.sh("exec yes").refused(Status::TIMEOUT).took(least, most);
    let (kept, got) = (held(&answer.record("start"), "stdout"), &answer.stdout);
    assert!(got.starts_with(&kept), "{} bytes captured, {} read", kept.len(), got.len());
}

#[test]
fn output_that_is_not_read_by_the_timeout_is_a_timeout() {
    let broker = capturing("timeout = 1s").start();
    let (_read, write) = std::io::pipe().expect("a pipe");
    let call = broker.request(&["/bin/sh", "-c", "yes | head -c 500000"]).given(1, write).begin();
    call.wait().refused(Status::TIMEOUT).audited([
        "start",
        "exit status=-7 timed_out=true drain_timeout=true stdout_bytes=500000 !truncated",
    ]);
}

#[test]
fn what_the_command_leaves_ends_with_the_call_and_its_pipe_with_it() {
    let broker = capturing("").start();
    broker
        .sh("sleep 60 & echo $!")
        .exited(0)
        .took(Duration::ZERO, Duration::from_secs(5))
        .printed_pid_is_gone()
        .audited(["start", "exit status=0 !capturing !drain_timeout"]);
}

#[test]
fn what_may_go_on_is_captured_on() {
    let broker = capturing("background = keep").start();
    let fifo = broker.dir().join("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    let script = format!("echo now; (read go < {}; echo later) &", fifo.display());
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let answer = broker.request(&["/bin/sh", "-c", &*script]).given(1, write).begin().wait().exited(0);
    answer.audited(["start", "exit status=0 stdout_bytes=4 capturing=true"]);
    fs::write(&fifo, "go\n").expect("it is read");
    let mut got = String::new();
    read.read_to_string(&mut got).expect("a pipe can be read");
    assert_eq!(got, "now\nlater\n");
    broker.record("capture call=1 stdout_bytes=10 !drain_timeout !truncated");
    assert_eq!(held(&broker.record("start"), "stdout"), b"now\nlater\n");
}

#[test]
fn a_capture_that_goes_on_does_not_outlive_the_timeout_by_much() {
    let broker = capturing("background = keep\n  timeout = 1s").start();
    let (_read, write) = std::io::pipe().expect("a pipe");
    let call = broker.request(&["/bin/sh", "-c", "sleep 600 & echo now"]).given(1, write).begin();
    call.wait().exited(0).took(Duration::ZERO, Duration::from_millis(900));
    broker.record("capture call=1 drain_timeout=true");
    let (exit, capture) = (broker.record("exit"), broker.record("capture"));
    let later = capture.number("ts") - exit.number("ts");
    assert!((1500..6000).contains(&later), "{later} ms");
}

#[test]
fn a_broker_that_stops_closes_what_goes_on() {
    let mut broker = capturing("background = keep").start();
    let (_read, write) = std::io::pipe().expect("a pipe");
    let call = broker.request(&["/bin/sh", "-c", "sleep 600 & echo now"]).given(1, write).begin();
    call.wait().exited(0).audited(["start", "exit capturing=true"]);
    broker.stop();
    assert_eq!(broker.records_of("capture call=1 stdout_bytes=4").len(), 1);
}

#[test]
fn a_caller_that_hangs_up_ends_the_call_and_what_was_written_is_kept() {
    let broker = capturing("").start();
    let mut call = broker.begin_sh("echo begun; exec sleep 60");
    assert_eq!(call.line(), "begun");
    call.hang_up();
    broker.record("exit hangup=true stdout_bytes=6");
    assert_eq!(held(&broker.record("start"), "stdout"), b"begun\n");
}

#[test]
fn a_stop_in_the_middle_records_what_was_written() {
    let mut broker = capturing("").start();
    let mut call = broker.request(&["/bin/sh", "-c", "exec cat"]).stdin_open().begin();
    call.write(b"hello\n");
    assert_eq!(call.line(), "hello");
    broker.signal(Signal::SIGTERM);
    call.wait().refused(Status::STOPPING);
    broker.ends_with(0);
    let records = broker.records();
    assert!(records.iter().any(|record| record.is("exit stopped=true stdin_bytes=6 stdout_bytes=6")));
}

#[test]
fn files_sockets_and_null_are_given_what_is_captured() {
    let broker = capturing("").start();
    let script = ["/bin/sh", "-c", "yes | head -c 3000000"];
    let path = broker.dir().join("file");
    fs::write(&path, "before\n").expect("an own file");
    let append = File::options().append(true).open(&path).expect("an own file");
    let answer = broker.request(&script).given(1, append).begin().wait().exited(0);
    let captured = held(&answer.record("start"), "stdout");
    assert_eq!(captured.len(), 3_000_000);
    assert!(fs::read(&path).expect("an own file") == [b"before\n", &*captured].concat());
    let mut write = File::options().write(true).open(&path).expect("an own file");
    write.write_all(b"offset").expect("written");
    broker.request(&script).given(1, write).begin().wait().exited(0);
    assert!(fs::read(&path).expect("an own file").starts_with(&[b"offset", &captured[..]].concat()));
    let (mut near, far) = UnixStream::pair().expect("a pair");
    let call = broker.request(&script).given(1, far).begin();
    let mut got = Vec::new();
    near.read_to_end(&mut got).expect("a socket can be read");
    call.wait().exited(0);
    assert!(got == captured);
    let null = File::options().write(true).open("/dev/null").expect("there is /dev/null");
    broker
        .request(&script)
        .given(1, null)
        .begin()
        .wait()
        .exited(0)
        .audited(["start", "exit stdout_bytes=3000000"]);
}

#[test]
fn stdin_comes_from_files_sockets_and_terminals() {
    let broker = capturing("").start();
    let path = broker.dir().join("file");
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    fs::write(&path, &bytes).expect("an own file");
    let file = File::open(&path).expect("an own file");
    let answer = broker.request(&["/bin/sh", "-c", "exec cat"]).given(0, file).begin().wait().exited(0);
    assert!(answer.stdout == bytes && held(&answer.record("start"), "stdin") == bytes);
    let (mut near, far) = UnixStream::pair().expect("a pair");
    let feeder = std::thread::spawn(move || near.write_all(&bytes).map(|()| bytes));
    let answer = broker.request(&["/bin/sh", "-c", "exec cat"]).given(0, far).begin().wait().exited(0);
    let bytes = feeder.join().expect("no panic").expect("a socket can be written");
    assert!(answer.stdout == bytes && held(&answer.record("start"), "stdin") == bytes);
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let call =
        broker.request(&["/bin/sh", "-c", "read line; echo got $line"]).given(0, terminal.slave).begin();
    let mut master = File::from(terminal.master);
    master.write_all(b"typed\n").expect("a terminal can be typed at");
    let answer = call.wait().exited(0).printed("got typed\n");
    assert_eq!(held(&answer.record("start"), "stdin"), b"typed\n");
}

#[test]
fn a_terminal_that_is_stopped_holds_up_only_its_call() {
    let broker = capturing("timeout = 2s").start();
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let slave = terminal.slave.try_clone().expect("another handle");
    let call = broker.request(&["/bin/sh", "-c", "yes | head -c 200000"]).given(1, slave).begin();
    // Nobody reads the master, so the terminal is full soon; what the command wrote is captured all the same.
    grows_to(&broker.dir().join("audit/calls/c1.out"), 200_000);
    broker.sh("echo meanwhile").exited(0).printed("meanwhile\n");
    call.wait().refused(Status::TIMEOUT).took(Duration::from_secs(1), Duration::from_secs(5));
    let after = OFlag::from_bits_retain(fcntl(&terminal.slave, FcntlArg::F_GETFL).expect("flags"));
    assert!(!after.contains(OFlag::O_NONBLOCK));
}

#[test]
fn a_slow_terminal_gets_every_byte() {
    let broker = capturing("").start();
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let call = broker.request(&["/bin/sh", "-c", "yes | head -c 100000"]).given(1, terminal.slave).begin();
    let mut master = File::from(terminal.master);
    let (mut got, mut buffer) = (0, [0; 700]);
    while got < 100_000 {
        let read = master.read(&mut buffer).expect("the terminal is open");
        got += buffer[..read].iter().filter(|&&byte| byte != b'\r').count();
    }
    call.wait().exited(0).audited(["start", "exit stdout_bytes=100000 !drain_timeout"]);
}

#[test]
fn a_terminal_is_hidden_where_the_rule_says_so() {
    let rules = "/bin/sh -c #script\n  allow_any = script\n  tty = hide\n";
    let broker = Broker::new(rules).start();
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let other = || terminal.slave.try_clone().expect("another handle");
    let script = "test -t 0 || test -t 1 || test -t 2 || echo hidden; read line; echo got $line";
    let call = broker.request(&["/bin/sh", "-c", script]);
    let call = call.given(0, other()).given(1, other()).given(2, other()).begin();
    let mut master = File::from(terminal.master.try_clone().expect("another handle"));
    master.write_all(b"typed\n").expect("a terminal can be typed at");
    call.wait().exited(0).audited(["start !stdout", "exit status=0 !stdout_bytes"]);
    let mut shown = [0; 200];
    let read = master.read(&mut shown).expect("the terminal is open");
    let mut shown = String::from_utf8_lossy(&shown[..read]).into_owned();
    if !shown.contains("got") {
        let mut more = [0; 200];
        let read = master.read(&mut more).expect("the terminal is open");
        shown.push_str(&String::from_utf8_lossy(&more[..read]));
    }
    assert!(shown.contains("hidden") && shown.contains("got typed"), "{shown:?}");
    let pipe = "/bin/readlink /proc/self/fd/1 | grep -q pipe && echo a pipe stays";
    broker.sh(pipe).exited(0).printed("a pipe stays\n");
}

#[test]
fn one_pipe_may_be_both_outputs() {
    let broker = capturing("").start();
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let other = write.try_clone().expect("another handle");
    let call = broker.request(&["/bin/sh", "-c", "echo out; echo err >&2"]).given(1, write).given(2, other);
    let answer = call.begin().wait().exited(0);
    let mut got = String::new();
    read.read_to_string(&mut got).expect("a pipe can be read");
    let mut lines: Vec<_> = got.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
    assert_eq!(held(&answer.record("start"), "stdout"), b"out\n");
    assert_eq!(held(&answer.record("start"), "stderr"), b"err\n");
}

#[test]
fn relays_leave_no_descriptor_and_no_thread() {
    let broker = capturing("").start();
    broker.sh("true").exited(0);
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    for _ in 0..30 {
        broker.sh("echo a; echo b >&2").exited(0);
        let mut gone = broker.begin_sh("exec yes");
        gone.line();
        gone.close_stdout();
        gone.wait().died_of(Signal::SIGPIPE);
    }
    broker.comes_back_to(descriptors, threads);
}

/// A caller that reads its pipe into a page which it does not let the kernel have: the pipe's lock is held
/// meanwhile, and whoever writes to the pipe waits for that, however it asks not to.
const LOCK_HOLDER: &str = r#"
import ctypes, fcntl, os, platform, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.read.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
handle = libc.syscall({"x86_64": 323, "aarch64": 282}[platform.machine()], os.O_CLOEXEC)
if handle < 0:
    print("no userfaultfd", flush=True)
    os._exit(0)
fcntl.ioctl(handle, 0xc018aa3f, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))
page = libc.mmap(None, 4096, 3, 0x22, -1, 0)
fcntl.ioctl(handle, 0xc020aa00, bytearray(struct.pack("QQQQ", page, 4096, 1, 0)))
read, write = os.pipe()
os.write(write, b"before")
threading.Thread(target=lambda: libc.read(read, page, 4096), daemon=True).start()
os.read(handle, 32)  # the page is asked for, so the lock is held
words = [b"/bin/sh", b"-c", b"echo hello"]
frame = struct.pack("<III", 0x534C4358, 1, len(words)) + b"".join(struct.pack("<I", len(w)) + w for w in words)
null = os.open("/dev/null", os.O_RDWR)
call = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
call.connect(sys.argv[1])
socket.send_fds(call, [frame], [null, write, null])
call.settimeout(30)
print(struct.unpack("<i", call.recv(100)[8:12])[0])
sys.stdout.flush()
os._exit(0)
"#;

#[test]
fn a_pipe_whose_lock_is_held_holds_up_only_its_call() {
    if !needs("python3", "python3") {
        return;
    }
    let broker = capturing("timeout = 1s\n  max_calls = 2").start();
    let ended = python(LOCK_HOLDER, [broker.socket()]).exited(0).in_less_than(Duration::from_secs(10));
    if ended.stdout().contains("no userfaultfd") {
        return skip("userfaultfd(2) is kept from users: sysctl -w vm.unprivileged_userfaultfd=1");
    }
    ended.printed("-7\n");
    broker.record("exit timed_out=true drain_timeout=true stdout_bytes=6");
    assert_eq!(held(&broker.record("start"), "stdout"), b"hello\n");
    broker.sh("echo other").exited(0).printed("other\n");
}
