#!/usr/bin/python3
"""What an attacker has a tool run: tries to get out in each way that targets.json names, and writes the ways that
worked to report.txt. Both files are beside this one. A way can have a label, after a colon. A report has "begin" and
"end"; between them, a line for each way, with what it brought."""

import array
import json
import os
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
SOON = 5


def write_beside(path):
    with open(path, "w") as file:
        file.write("payload")
    return path


def append(path):
    with open(path, "a") as file:
        file.write("payload")
    return path


def change_mode(path):
    os.chmod(path, 0o777)
    return path


def change_times(path):
    os.utime(path, (1, 1))
    return path


def link(pair):
    os.link(*pair)
    return pair[1]


def read(path):
    with open(path, "rb") as file:
        return file.read().decode(errors="replace").strip()


def environ(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return next(word.decode() for word in file.read().split(b"\0") if word.startswith(b"TOKEN="))


def listing(path):
    return " ".join(sorted(os.listdir(path)))


def connected(family, kind, address):
    it = socket.socket(family, kind)
    it.settimeout(SOON)
    it.connect(address)
    return it


def tcp(port):
    connected(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port))
    return port


def fast_open(port):
    it = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    it.sendto(b"payload", socket.MSG_FASTOPEN, ("127.0.0.1", port))
    return port


def udp(port):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"payload", ("127.0.0.1", port))
    return port


def stream(path):
    connected(socket.AF_UNIX, socket.SOCK_STREAM, path)
    return path


def abstract(name):
    connected(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + name)
    return name


def datagram(path):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"payload", path)
    return path


def datagram_pair(path):
    near, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.sendto(b"payload", path)
    return path


def signal(pid):
    os.kill(pid, 15)
    return pid


def bus(path):
    it = connected(socket.AF_UNIX, socket.SOCK_STREAM, path)
    it.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
    answer = it.recv(4096).decode()
    return answer.strip() if answer.startswith("OK") else None


def unit(name):
    """A unit of the user's manager, as systemd-run asks for one."""
    words = ["systemd-run", "--user", "--quiet", "--collect", f"--unit={name}", "sleep", "600"]
    run = {**os.environ, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(words, check=True, env=run, timeout=SOON, **quiet)
    return name


def move(group):
    """Into another group of the kernel's, out of the call's own."""
    with open(os.path.join(group, "cgroup.procs"), "w") as file:
        file.write(str(os.getpid()))
    return group


def broker(target):
    path, message = target
    it = connected(socket.AF_UNIX, socket.SOCK_SEQPACKET, path)
    null = os.open("/dev/null", os.O_RDWR)
    it.sendmsg([bytes.fromhex(message)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 3))])
    return it.recv(4096).hex() or None


def leave(seconds):
    """A process that nobody waits for, in a session of its own, with nothing of its parent's open."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        left = os.fork()
        if left:
            os.write(writing, str(left).encode())
            os._exit(0)
        os.closerange(0, 256)
        time.sleep(seconds)
        os._exit(0)
    return os.read(reading, 32).decode()


WAYS = {
    "beside": write_beside, "home": append, "bashrc": append, "cache": append, "chmod": change_mode, "utimes": change_times,
    "link": link, "secret": read, "listing": listing, "environ": environ, "tcp": tcp, "fastopen": fast_open, "udp": udp,
    "stream": stream, "abstract": abstract, "datagram": datagram, "datagram_pair": datagram_pair, "bus": bus,
    "unit": unit, "move": move, "broker": broker, "left": leave, "signal": signal,
}


def main():
    # Tools have their own ideas of what a child's descriptors and environment are: none of them matters here.
    with open(os.path.join(HERE, "targets.json")) as file:
        targets = json.load(file)
    with open(os.path.join(HERE, "report.txt"), "a") as report:
        report.write("begin\n")
        report.flush()
        for name, target in targets.items():
            try:
                brought = WAYS[name.partition(":")[0]](target)
            except Exception:
                brought = None
            if brought is not None:
                report.write(f"{name} {brought}\n")
                report.flush()
        report.write("end\n")


if __name__ == "__main__":
    main()
    sys.exit(0)
