//! Programs under a filter of system calls on this kernel: what they print is the same as without it. The
//! filter is a thread's of the test, and so that of all that the thread starts; what a broker's launcher does
//! with it is tested in `confined`.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use seccompiler::{apply_filter, sock_filter};
use sluice::confine::{FilterRequest, MemoryFiles, MetadataCalls, syscall_filter};
use sluice::rules::{NetAccess, SyscallSet, UnixAccess};

use crate::harness::{Broker, Ended, SHELL, Status, needs, needs_user_namespaces, run};

/// The instructions of a filter.
fn filter(
    syscalls: SyscallSet,
    net: &NetAccess,
    unix: &UnixAccess,
    metadata: MetadataCalls,
) -> Vec<sock_filter> {
    let program = syscall_filter(&FilterRequest {
        syscalls,
        net,
        unix,
        metadata,
        memory_files: MemoryFiles::Executable,
    });
    let program = program.expect("something is filtered");
    let instructions = program.chunks_exact(8).map(|bytes| sock_filter {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    });
    instructions.collect()
}

/// Runs a shell script in a directory of its own, under a filter or without one.
fn script(script: &str, filter: Option<Vec<sock_filter>>) -> Ended {
    let script = format!("d=$(mktemp -d); trap 'rm -rf $d' EXIT; cd $d; {script}");
    let words: Vec<OsString> = vec!["-ec".into(), script.into()];
    let thread = std::thread::spawn(move || {
        if let Some(filter) = filter {
            apply_filter(&filter).expect("the kernel takes the filter");
        }
        run("sh".into(), words, b"")
    });
    thread.join().expect("the thread does not panic")
}

/// The script's output is the same without a filter, under `default`, and under `strict` without a network.
#[track_caller]
fn prints_the_same(text: &str) {
    let plain = script(text, None).exited(0);
    assert!(!plain.stdout().is_empty(), "{plain}");
    let (none, any) = (NetAccess::None, NetAccess::Any);
    let default = filter(SyscallSet::Default, &any, &UnixAccess::Any, MetadataCalls::Allowed);
    let strict = filter(SyscallSet::Strict, &none, &UnixAccess::None, MetadataCalls::Allowed);
    for filter in [default, strict] {
        let filtered = script(text, Some(filter)).exited(0);
        assert_eq!(filtered.stdout(), plain.stdout(), "{filtered}");
        assert_eq!(filtered.stderr(), plain.stderr(), "{filtered}");
    }
}

#[test]
fn git_works_under_a_filter() {
    if needs("git", "git") {
        prints_the_same(
            "export GIT_AUTHOR_DATE='1 Jan 2026 0:00 +0000' GIT_COMMITTER_DATE='1 Jan 2026 0:00 +0000' HOME=$d
             git init -q -b main . && git config user.name A && git config user.email a@b.c
             echo one >a && git add a && git commit -qm one && git checkout -qb side && echo two >>a
             git commit -qam two && git status --short && git log --format=%H && git diff main && git gc -q
             git clone -q . copy && git -C copy log --oneline && git stash list && git worktree add -q w main",
        );
    }
}

#[test]
fn a_compiler_and_make_work_under_a_filter() {
    if needs("gcc", "gcc") && needs("make", "make") {
        prints_the_same(
            "printf '#include <stdio.h>\\nint main(void) { return puts(\"built\") < 0; }\\n' >a.c
             printf 'all: a b\\n\\t./a\\n%%: a.c\\n\\tgcc -O2 -o $@ a.c\\n' >Makefile
             make -s -j2",
        );
    }
}

#[test]
fn cargo_and_rustc_work_under_a_filter() {
    prints_the_same(
        "cargo --version; export CARGO_TARGET_DIR=$d/target; cargo init -q --vcs none --name hello .
         printf '#[test]\\nfn two() { assert_eq!(1 + 1, 2) }\\n' >>src/main.rs
         cargo run -q --offline; cargo test -q --offline | sed 's/finished in.*//'",
    );
}

#[test]
fn python_works_under_a_filter() {
    if needs("python3", "python3") {
        prints_the_same(
            "cat >a.py <<'END'
import asyncio, multiprocessing, os, pwd, shutil, subprocess, sys, tempfile, threading

async def main():
    process = await asyncio.create_subprocess_exec('echo', 'child', stdout=subprocess.PIPE)
    print((await process.communicate())[0].decode(), process.returncode)
    print(await asyncio.gather(*(asyncio.to_thread(pow, n, 2) for n in range(20))))
    reader, writer = os.pipe()
    os.write(writer, b'x')
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(reader, event.set)
    await asyncio.wait_for(event.wait(), 10)

asyncio.run(main())
print(subprocess.run('id -u; uname', shell=True, capture_output=True, check=True).stdout.decode())
with tempfile.TemporaryDirectory() as name:
    open(name + '/a', 'w').close()
    os.chmod(name + '/a', 0o600)
    shutil.copy2(name + '/a', name + '/b')
    print(sorted(os.listdir(name)), oct(os.stat(name + '/b').st_mode))
with multiprocessing.Pool(2) as pool:
    print(pool.map(abs, [-1, 2, -3]))
lock = threading.Lock()
threads = [threading.Thread(target=lock.acquire, kwargs={'timeout': 0}) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(pwd.getpwuid(os.getuid()).pw_name)
END
             python3 a.py",
        );
    }
}

#[test]
fn node_and_npm_work_under_a_filter() {
    if needs("node", "nodejs") && needs("npm", "npm") {
        prints_the_same(
            "cat >a.js <<'END'
const { execFileSync } = require('node:child_process');
const { Worker } = require('node:worker_threads');
const fs = require('node:fs');
console.log(process.version, execFileSync('echo', ['child']).toString());
fs.promises.writeFile('b', 'text').then(() => fs.promises.readFile('b', 'utf8')).then(console.log);
new Worker('console.log(40 + 2)', { eval: true }).on('exit', () => console.log('worker ended'));
END
             node a.js; export HOME=$d npm_config_cache=$d/cache npm_config_update_notifier=false; npm --version
             echo '{\"scripts\": {\"t\": \"echo script\"}}' >package.json; npm run -s t",
        );
    }
}

#[test]
fn shell_tools_work_under_a_filter() {
    prints_the_same(
        "seq 1000 | sort -R --random-source=/bin/sh | sort -n | tail -1; mkfifo p; cat p >q & echo fifo >p; wait; cat q
         tar -cf - /etc/passwd 2>/dev/null | tar -tf -; cp -a /etc/hostname h; touch -d 2020-01-01 h; ls --full-time h
         xargs --version | head -1; find . -name h -newermt 2019-01-01; nice -n 1 true; timeout 5 true; date -d @0
         dd if=/dev/zero of=z bs=1M count=1 conv=fsync status=none; truncate -s 2M z; stat -c %s z; ulimit -n 64
         ulimit -n; awk 'BEGIN { print 1 + 1 }'; sed -i s/x/y/ h; ln -s h l; readlink l; flock h echo locked; wait",
    );
}

/// A script fails with this error under a filter, and does not without it.
#[track_caller]
fn fails_alone(filter: impl Fn() -> Vec<sock_filter>, text: &str, want: &str) {
    let plain = script(text, None).exited(0);
    let filtered = script(text, Some(filter()));
    assert_ne!(filtered.code(), Some(0), "{filtered}");
    assert!(filtered.stderr().contains(want), "{want}: {filtered}\nand without: {plain}");
}

/// Makes system calls that a filter refuses, and prints the outcome of each. They change nothing for others.
const REFUSED_CALLS: &str = "cat >a.py <<'END'
import ctypes, errno, socket, sys
libc = ctypes.CDLL(None, use_errno=True)

def outcome(name, number, *arguments):
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(argument) for argument in arguments))
    print(name, 'done' if done >= 0 else errno.errorcode[ctypes.get_errno()])

def sockets(name, *arguments):
    try:
        socket.socket(*arguments).close()
        print(name, 'done')
    except OSError as error:
        print(name, errno.errorcode[error.errno])

outcome('unshare', 272, 0x10000000)
outcome('personality', 135, 0x40000)
outcome('io_uring_setup', 425, 1, 0)
outcome('bpf', 321, 0, 0, 0)
outcome('keyctl', 250, 0, 0xfffffffd, 0)
outcome('process_vm_readv', 310, 1, 0, 0, 0, 0, 0)
outcome('clone3', 435, 0, 0)
outcome('umount2', 166, 0, 0)
outcome('high', 16 | 0, 0, 0xdead00005412, 0)
sockets('vsock', 40, 1, 0)
sockets('netlink', 16, 3, 4)
sockets('udp', 2, 2, 0)
sockets('mptcp', 2, 1, 262)
sockets('tcp', 2, 1, 0)
sockets('route', 16, 3, 0)
END
python3 a.py";

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_that_are_refused_fail_as_programs_expect() {
    if !needs("python3", "python3") {
        return;
    }
    let tcp = NetAccess::Tcp(vec![443]);
    let filter = filter(SyscallSet::Default, &tcp, &UnixAccess::None, MetadataCalls::Allowed);
    let (plain, filtered) = (script(REFUSED_CALLS, None), script(REFUSED_CALLS, Some(filter)));
    let filtered = filtered.exited(0).printed(
        "unshare EPERM\npersonality EPERM\nio_uring_setup ENOSYS\nbpf EPERM\nkeyctl EPERM\n\
         process_vm_readv EPERM\nclone3 ENOSYS\numount2 EPERM\nhigh EPERM\nvsock EAFNOSUPPORT\n\
         netlink EPROTONOSUPPORT\nudp EPROTONOSUPPORT\nmptcp EPROTONOSUPPORT\ntcp done\n\
         route done\n",
    );
    let (plain, filtered) = (plain.exited(0).stdout(), filtered.stdout());
    let differ = plain.lines().zip(filtered.lines()).filter(|(plain, filtered)| plain != filtered).count();
    // A container refuses some of them as well.
    assert!(differ >= 7, "{plain}");
}

#[test]
fn metadata_is_refused_here_and_can_be_changed_without_a_filter() {
    let (none, unix) = (NetAccess::None, UnixAccess::None);
    let filter = || filter(SyscallSet::Default, &none, &unix, MetadataCalls::Refused);
    fails_alone(filter, "umask 077; echo >a; chmod 644 a", "Operation not permitted");
    fails_alone(filter, "echo >a; touch -d 2020-01-01 a", "Operation not permitted");
    fails_alone(
        filter,
        "python3 -c 'import os; open(\"a\", \"w\"); os.chown(\"a\", -1, os.getgid())'",
        "not permitted",
    );
}

#[test]
fn a_confined_call_has_its_filter() {
    if !needs_user_namespaces() {
        return;
    }
    let try_out =
        "unshare -Ur true 2>/dev/null && echo made || echo denied; grep '^Seccomp:' /proc/self/status";
    let plain = Broker::new(SHELL).start().sh(try_out).exited(0).text();
    assert!(plain.starts_with("made\n"), "{plain}");
    for keys in ["syscalls = default", "syscalls = strict", "confine = system"] {
        let broker = Broker::new(&format!("{SHELL}  {keys}\n")).start();
        let call = broker.sh(try_out).exited(0).printed("denied\nSeccomp:\t2\n");
        assert_eq!(call.record("start").get("confinement")["seccomp"], true);
    }
}

#[test]
fn a_confined_call_that_writes_nothing_changes_no_metadata() {
    let try_out = "cd @DIR@; chmod 600 own 2>/dev/null && echo changed || echo denied";
    let broker = |keys: &str| {
        Broker::new(&format!("{SHELL}{keys}")).arranged(|dir| drop(dir.write("own", ""))).start()
    };
    let check = |broker: Broker, want: &str| {
        let script = try_out.replace("@DIR@", &broker.dir().display().to_string());
        broker.sh(&script).exited(0).printed(want);
    };
    check(broker(""), "changed\n");
    check(broker("  confine = system\n  read = @DIR@\n"), "denied\n");
    check(broker("  net = none\n"), "changed\n");
}

/// A python program that uses its stdin, a unix socket, to reach a path.
const BY_STDIN: &str =
    "import socket, sys; s = socket.socket(fileno=0); s.connect(sys.argv[1]); s.send(b'x')";

#[test]
fn a_unix_socket_that_a_caller_hands_over_reaches_no_path() {
    if !needs("python3", "python3") {
        return;
    }
    let rule = "/usr/bin/python3 -c #script #path\n  allow_any = script, path\n";
    let call = |keys: &str, socket: OwnedFd| {
        let broker =
            Broker::new(&format!("{rule}{keys}")).arranged(|dir| drop(dir.mkdir("out", 0o700))).start();
        let path = broker.dir().join("out/sock");
        let receiver = UnixDatagram::bind(&path).expect("a socket");
        let path = path.to_str().expect("plain");
        let words = ["/usr/bin/python3", "-c", BY_STDIN, path];
        let answer = broker.request(&words).given(0, socket).begin().wait();
        receiver.set_nonblocking(true).expect("a socket");
        let came = receiver.recv(&mut [0; 8]).is_ok();
        if came {
            answer.exited(0);
        } else {
            answer.refused(Status::SPAWN).audited(["start", "exit step=stdio errno=EPROTOTYPE"]);
        }
        came
    };
    let datagram = || OwnedFd::from(UnixDatagram::unbound().expect("a socket"));
    let connected = || OwnedFd::from(UnixDatagram::pair().expect("a pair").0);
    assert!(call("", datagram()));
    assert!(call("  net = none\n", connected()));
    for keys in ["  confine = system\n", "  unix = none\n", "  confine = workspace\n  cwd = @DIR@/out\n"] {
        assert!(!call(keys, datagram()), "{keys}");
        assert!(!call(keys, connected()), "{keys}");
    }
    let (own, other) = UnixStream::pair().expect("a pair");
    let broker = Broker::new("/bin/cat\n  confine = system\n").start();
    drop(other);
    broker.request(&["/bin/cat"]).given(0, own).begin().wait().exited(0);
}

/// A python program that takes a descriptor from its stdin, a unix socket, and sends one there.
const PASSING: &str = "
import os, socket
s = socket.socket(fileno=0)
def attempt(what):
    try: return what()
    except OSError as error: return 'errno %d' % error.errno
print(attempt(lambda: len(socket.recv_fds(s, 1, 4)[1])))
print(attempt(lambda: socket.send_fds(s, [b'x'], [os.open('/', os.O_PATH)])))
os.write(0, b'bytes')
";

/// By a descriptor of a directory outside, a command could change modes there; by one of `/`, its caller
/// could leave its own sandbox.
#[test]
fn no_descriptor_passes_by_a_connected_socket_that_a_caller_hands_over() {
    if !needs("python3", "python3") {
        return;
    }
    let rule = "/usr/bin/python3 -c #script\n  allow_any = script\n";
    let call = |keys: &str| {
        let broker = Broker::new(&format!("{rule}{keys}")).start();
        let (own, far) = UnixStream::pair().expect("a pair");
        let directory = std::fs::File::open("/").expect("a directory");
        let rights = [nix::sys::socket::ControlMessage::ScmRights(&[directory.as_raw_fd()])];
        let payload = [std::io::IoSlice::new(b"x")];
        let flags = nix::sys::socket::MsgFlags::empty();
        nix::sys::socket::sendmsg::<()>(far.as_raw_fd(), &payload, &rights, flags, None).expect("sent");
        let words = ["/usr/bin/python3", "-c", PASSING];
        broker.request(&words).given(0, own).begin().wait().exited(0).text()
    };
    assert_eq!(call(""), "1\n1\n");
    assert_eq!(call("  confine = system\n"), "errno 1\nerrno 1\n");
    assert_eq!(call("  unix = none\n"), "errno 1\nerrno 1\n");
}
