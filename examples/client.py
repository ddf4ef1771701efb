#!/usr/bin/env python3
"""A whole caller in plain Python: python3 client.py SOCKET CMD [ARGS...]. REFERENCE.md has the format."""
import array, os, signal, socket, struct, sys

MAGIC, VERSION = 0x534C4358, 1


def fail(code, message):
    print(f"client.py: {message}", file=sys.stderr)
    sys.exit(code)


def main(path, *words):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    while (spare := os.open(os.devnull, os.O_RDWR)) < 3:
        pass  # a closed stdin, stdout or stderr becomes /dev/null
    os.close(spare)
    try:
        words = [word.encode() for word in words]
    except UnicodeEncodeError:
        fail(2, "a word is not UTF-8")
    if not 1 <= len(words) <= 256 or any(len(word) > 16384 for word in words):
        fail(2, "1 to 256 words of at most 16384 bytes")
    request = struct.pack("<3I", MAGIC, VERSION, len(words))
    request += b"".join(struct.pack("<I", len(word)) + word for word in words)
    try:
        broker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        broker.connect(path)
        broker.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    except OSError as error:
        fail(125, f"{path}: {error.strerror}; nothing ran")
    try:
        reply = broker.recv(13)
    except OSError:
        reply = b""
    if len(reply) != 12 or struct.unpack_from("<2I", reply) != (MAGIC, VERSION):
        fail(135, "no answer that a broker gives; the command may have run")
    (status,) = struct.unpack_from("<i", reply, 8)
    if 0 <= status <= 255:
        sys.exit(status)
    why = explanation(broker)
    code = 124 if status == -7 else 128 - status if -127 <= status < 0 else 135
    fail(code, f"the broker says {status}{why}; REFERENCE.md explains it")


def explanation(broker):
    """What follows a status of the broker's own: the call's number and the reason. An older broker hangs up instead."""
    broker.settimeout(0.2)
    try:
        message = broker.recv(20 + 1024)
    except OSError:
        message = b""
    if len(message) < 20 or struct.unpack_from("<2I", message) != (MAGIC, VERSION):
        return ""
    call, _ = struct.unpack_from("<QI", message, 8)
    return f" (call {call}: {message[20:].decode(errors='replace')})"


if __name__ == "__main__":
    if len(sys.argv) < 3:
        fail(2, "usage: client.py SOCKET CMD [ARGS...]")
    main(*sys.argv[1:])
