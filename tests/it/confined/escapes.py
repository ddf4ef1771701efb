"""System calls that lead out of a confinement. probes.json has a list of probes, each a name, a kind and a target; for
each a line is printed: its name, and "ok" or the name of the errno. What succeeds is real: it was written, read or
reached."""

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import termios

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
NR = {
    "bpf": 321, "clone3": 435, "execveat": 322, "fchmodat2": 452, "io_uring_setup": 425, "keyctl": 250,
    "memfd_create": 319, "open_by_handle_at": 304, "openat2": 437, "perf_event_open": 298, "personality": 135,
    "pidfd_getfd": 438, "pidfd_open": 434, "pidfd_send_signal": 424, "pivot_root": 155, "process_vm_writev": 311,
    "process_vm_readv": 310, "ptrace": 101, "setns": 308, "unshare": 272, "userfaultfd": 323, "renameat2": 316, "umount2": 166, "setpriority": 141,
    "ioprio_set": 251, "mount": 165, "shmat": 30, "msgctl": 71, "inotify_add_watch": 254,
    "sched_setaffinity": 203, "getpid": 39,
}
NEWUSER, NEWNS, NEWPID, NEWNET = 0x10000000, 0x20000, 0x20000000, 0x40000000


def call(name, *words):
    """One system call. Numbers are passed as longs, bytes as pointers."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    number = NR[name] if isinstance(name, str) else name
    result = LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), str(name))
    return result


def in_child(what):
    """Done in a child, whose errno is the result."""
    pid = os.fork()
    if pid == 0:
        try:
            what()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        except BaseException:
            os._exit(254)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise OSError(status if status > 0 else errno.EINTR, "child")


def read_file(path):
    with open(path, "rb") as file:
        file.read(1)


def write_file(path):
    with open(path, "ab") as file:
        file.write(b"x")


def openat2(path):
    how = struct.pack("QQQ", os.O_RDONLY, 0, 0)
    os.close(call("openat2", -100, path.encode(), how, len(how)))


def run(words):
    """A program that can be executed, whatever it then says."""
    try:
        ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise OSError(error.errno, "exec") from None
    if ended.stdout != b"ran\n":
        raise OSError(errno.ENOEXEC if b"failed to map" not in ended.stderr else errno.EPERM, "exec")


def run_memfd(how):
    fd = call("memfd_create", b"x", 0)
    os.write(fd, open("prog", "rb").read())
    os.set_inheritable(fd, True)
    if how == "path":
        return in_child(lambda: os.execv(f"/proc/self/fd/{fd}", ["prog", "ran"]))
    return in_child(lambda: call("execveat", fd, b"", pointers([b"prog", b"ran"]), pointers([]), 0x1000))


def pointers(words):
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def map_file(path):
    with open(path, "rb") as file:
        mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()


def unshare(flags):
    in_child(lambda: call("unshare", flags))


def mount(_):
    as_root_of_a_namespace(lambda: call("mount", b"x", b"/tmp", b"tmpfs", 0, 0))


def mount_plainly(_):
    call("mount", b"x", b"/tmp", b"tmpfs", 0, 0)


def clone(flags):
    pid = call(56, flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def clone3(_):
    words = struct.pack("8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    pid = call("clone3", words, len(words))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def ptrace(pid):
    call("ptrace", 0x4206, pid, 0, 0)  # PTRACE_SEIZE
    call("ptrace", 0x4207, pid, 0, 0)  # PTRACE_INTERRUPT
    os.waitpid(pid, 0x40000000)
    call("ptrace", 17, pid, 0, 0)  # PTRACE_DETACH


def traceable_child(_):
    """As a debugger does with a child of its own."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        call("ptrace", 0x4206, pid, 0, 0)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def vm_write(target):
    pid, address = target
    local = ctypes.create_string_buffer(b"TOKEN", 5)
    one = struct.pack("QQ", ctypes.addressof(local), 5)
    other = struct.pack("QQ", address, 5)
    call("process_vm_writev", pid, one, 1, other, 1, 0)


def mem(pid):
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))


def pidfd_signal(pid):
    os.close(call("pidfd_open", pid, 0))
    fd = call("pidfd_open", pid, 0)
    call("pidfd_send_signal", fd, 0, 0, 0)


def pidfd_getfd(pid):
    fd = call("pidfd_open", pid, 0)
    os.close(call("pidfd_getfd", fd, 0, 0))


def signal_by_owner(pid):
    """A signal of the kernel's, to whom a descriptor says that it belongs."""
    near, far = socket.socketpair()
    fcntl.fcntl(near, fcntl.F_SETOWN, pid)
    fcntl.fcntl(near, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(near, fcntl.F_SETFL, os.O_ASYNC)
    far.send(b"x")


def limit(pid):
    soft, hard = resource.prlimit(pid, resource.RLIMIT_CORE)
    resource.prlimit(pid, resource.RLIMIT_CORE, (soft, hard))


def io_uring(_):
    os.close(call("io_uring_setup", 1, ctypes.create_string_buffer(120)))


def bpf(_):
    call("bpf", 0, struct.pack("IIII", 2, 4, 4, 1) + bytes(100), 116)


def terminal_input(command):
    """Types into the terminal on stdin, which is made this process's own if it is not."""
    def typed():
        try:
            os.setsid()
        except OSError:
            pass
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        fcntl.ioctl(0, command, b"x")
    in_child(typed)


def terminal_high(command):
    """The same number with bits above the 32 that the kernel looks at."""
    def typed():
        try:
            os.setsid()
        except OSError:
            pass
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        call(16, 0, command | 1 << 32, b"x")
    in_child(typed)


def personality(value):
    in_child(lambda: call("personality", value))


def device(path):
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


def x32(_):
    call(NR["getpid"] | 0x40000000)


def new_socket(words):
    socket.socket(*words).close()


def shared_memory(number):
    call("shmat", number, 0, 0)


def message_queue(number):
    call("msgctl", number, 2, ctypes.create_string_buffer(256))  # IPC_STAT


def watch(path):
    call("inotify_add_watch", LIBC.inotify_init(), path.encode(), 0x100)


def connect(path):
    it = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    it.settimeout(5)
    it.connect(path)


def connect_seqpacket(path):
    it = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    it.connect(path)


def abstract(name):
    connect("\0" + name)


def own_socket(path):
    """A socket that another process of the same command reaches."""
    it = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    it.bind(path)
    it.listen()
    try:
        in_child(lambda: connect(path))
    finally:
        os.unlink(path)


def tcp(port):
    it = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    it.settimeout(5)
    it.connect(("127.0.0.1", port))


def tcp_six(port):
    """The same port by the other family."""
    it = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    it.settimeout(5)
    it.connect(("::ffff:127.0.0.1", port))


def fast_open(port):
    it = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    it.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", port))


def fast_open_message(port):
    it = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    it.sendmsg([b"x"], [], socket.MSG_FASTOPEN, ("127.0.0.1", port))


def bind(port):
    it = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    it.bind(("127.0.0.1", port))
    it.listen()


def udp(port):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))


def exchange(pair):
    call("renameat2", -100, pair[0].encode(), -100, pair[1].encode(), 2)  # RENAME_EXCHANGE


def as_root_of_a_namespace(what):
    """Done in namespaces of the process's own, in which it has every capability."""
    def done():
        uid, gid = os.getuid(), os.getgid()
        call("unshare", NEWUSER | NEWNS)
        for name, text in [("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")]:
            # Without a number there, it has the capabilities all the same.
            with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        what()
    in_child(done)


def remount(path):
    """Binds a place on itself, and makes that writable."""
    def done():
        call("mount", path.encode(), path.encode(), 0, 4096, 0)
        call("mount", 0, path.encode(), 0, 32 | 4096, 0)
    as_root_of_a_namespace(done)


def uncover(pair):
    """Reads a file once what covers it, if anything does, is taken away."""
    def done():
        with contextlib.suppress(OSError):
            call("umount2", pair[0].encode(), 2)
        read_file(pair[1])
    as_root_of_a_namespace(done)


def reopen(path):
    """A file that the caller passed to be read, opened again to be written."""
    os.close(os.open(path, os.O_RDWR))


def send_pair(path):
    near, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.sendto(b"x", path)


PROBES = {
    "read": read_file, "write": write_file, "openat2": openat2, "listdir": os.listdir,
    "chmod": lambda path: os.chmod(path, 0o777), "fchmodat2": lambda path: call("fchmodat2", -100, path.encode(), 0o777, 0),
    "utime": lambda path: os.utime(path, (1, 1)), "chown": lambda path: os.chown(path, os.getuid(), os.getgid()),
    "setxattr": lambda path: os.setxattr(path, "user.x", b"x"), "truncate": lambda path: os.truncate(path, 1),
    "link": lambda pair: os.link(*pair), "rename": lambda pair: os.rename(*pair),
    "symlink": lambda pair: os.symlink(*pair), "mkdir": os.mkdir, "unlink": os.unlink, "mkfifo": os.mkfifo,
    "run": run, "memfd": run_memfd, "map": map_file, "device": device,
    "unshare": unshare, "mount": mount, "mount_plainly": mount_plainly, "clone": clone, "clone3": clone3,
    "setns": lambda pid: call("setns", os.open(f"/proc/{pid}/ns/user", os.O_RDONLY), 0),
    "chroot": lambda path: in_child(lambda: os.chroot(path)),
    "ptrace": ptrace, "traceable_child": traceable_child, "vm_write": vm_write, "mem": mem,
    "kill": lambda pid: os.kill(pid, 0), "pidfd_signal": pidfd_signal, "pidfd_getfd": pidfd_getfd,
    "signal_by_owner": signal_by_owner, "limit": limit,
    "priority_of_user": lambda _: os.setpriority(os.PRIO_USER, os.getuid(), 5),
    "io_uring": io_uring, "bpf": bpf,
    "keyctl": lambda _: call("keyctl", 0, -3, 1), "userfaultfd": lambda _: os.close(call("userfaultfd", 1)),
    "perf": lambda _: os.close(call("perf_event_open", struct.pack("IIQ", 1, 112, 0) + bytes(96), 0, -1, -1, 0)),
    "terminal_input": terminal_input, "terminal_high": terminal_high, "personality": personality, "x32": x32,
    "socket": new_socket, "shared_memory": shared_memory, "message_queue": message_queue, "watch": watch,
    "connect": connect, "send_pair": send_pair,
    "connect_seqpacket": connect_seqpacket, "abstract": abstract, "own_socket": own_socket, "tcp": tcp, "tcp_six": tcp_six,
    "fast_open": fast_open, "fast_open_message": fast_open_message, "bind": bind, "udp": udp, "exchange": exchange,
    "remount": remount, "uncover": uncover, "reopen": reopen, "read_given": lambda number: os.read(number, 1),
    "chmod_given": lambda number: os.fchmod(number, 0o600), "stat": os.stat, "readlink": os.readlink,
    "memory": lambda flags: os.close(call("memfd_create", b"x", flags)),
}


def main():
    with open("probes.json") as file:
        probes = json.load(file)
    for name, kind, target in probes:
        try:
            PROBES[kind](target)
            came = "ok"
        except OSError as error:
            came = errno.errorcode.get(error.errno, str(error.errno))
        print(name, came, flush=True)


main()
