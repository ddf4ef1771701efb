#!/usr/bin/env python3
"""A caller of sluice in plain Python: a program, and a module. One file, Python 3.9 or later.

The program is used like `sluicify`, and exits like it (REFERENCE.md, "Statuses and exit codes"):

    sluicify.py SOCKET [--] CMD [ARGS...]   run CMD outside, with this stdin, stdout and stderr
    sluicify.py --list SOCKET [--json]      show what may be called

A SOCKET of `-` is the environment's: the connection `$SLUICE_FD`, else the path `$SLUICE_SOCKET`. The signals
of FORWARDED go to the command; TERM and HUP hang the call up; and the end of this process, of whatever kind,
ends the call.

The module has the shape of `subprocess`:

    import sluicify
    done = sluicify.run(["git", "log"], "/gate/sock", capture_output=True, text=True, timeout=30)
    done = await sluicify.run_async(["make"], "/gate/sock", check=True)
    with sluicify.Call(["tail", "-f", "log"], "/gate/sock", stdout=sluicify.PIPE) as call: ...
    rules = sluicify.list_commands("/gate/sock")

A `socket` is a path, the number of a connected descriptor, a `Connection` (for many calls), or None for the
environment's. Words are `str`, `bytes` or paths: UTF-8 without NUL, 1 to 256 of at most 16384 bytes each;
others are a ValueError. A stream is None (this process's own), PIPE, DEVNULL, a descriptor or a file.

Version 2 of the protocol is spoken, and version 1 with a broker that knows no other: there no signal can be
sent, and a call has no number. No thread is started, and no descriptor of the caller's has its flags changed.
"""
from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import io
import json
import os
import select
import signal as signals
import socket as sockets
import struct
import subprocess
import sys
import termios
import threading
import time
from subprocess import DEVNULL, PIPE, STDOUT, CalledProcessError, TimeoutExpired
from typing import IO, TYPE_CHECKING, Any, Callable, Generator, Iterator, NamedTuple, Optional, Sequence, Tuple, Union

if TYPE_CHECKING:
    import asyncio

__all__ = ["BrokerGone", "Call", "CalledProcessError", "CompletedProcess", "Connection", "DEVNULL", "FORWARDED",
           "PIPE", "Refused", "STDOUT", "SluiceError", "TimeoutExpired", "list_commands", "run", "run_async"]

MAGIC = 0x534C4358
STATUSES = {-1: "NO_RULE", -2: "PROTO", -3: "FDS", -4: "SPAWN", -6: "AUDIT", -7: "TIMEOUT", -8: "PEER",
            -9: "TOO_LARGE", -10: "STOPPING"}
PROTO, TIMEOUT = -2, -7
# Exit codes that are no status: wrong arguments; no broker was asked; the command may have run.
USAGE_ERROR, UNREACHED, UNANSWERED = 2, 125, 135
WORDS_MAX, WORD_BYTES_MAX, MESSAGE_BYTES_MAX, FRAME_BYTES_MAX = 256, 16384, 1 << 20, 1 << 20
LISTING_BYTES_MAX, REASON_BYTES_MAX, BLOCK_BYTES = 1 << 16, 1024, 1 << 18
# Seconds: from the loss of a call to the broker's word on it; between tries that no event tells the time of;
# for a call that was given up to end, which the broker grants 2 s after TERM; that this program stays for the end
# of a call that it hung up.
ANSWER_WAIT, RETRY, END_WAIT, LEAVE_WAIT = 1.0, 0.005, 5.0, 3.0
# A connection is asked again once for each: a broker of version 1, one that left, and the next one.
TRIES = 3

FORWARDED = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP, signals.SIGQUIT, signals.SIGUSR1, signals.SIGUSR2,
             signals.SIGWINCH, signals.SIGCONT, signals.SIGTSTP)
# Those at which a process is to end whatever it runs, and those at which it ends while it has nothing to wait for.
LEAVING = (signals.SIGTERM, signals.SIGHUP)
ENDING = (*LEAVING, signals.SIGINT, signals.SIGQUIT)

Word = Union[str, bytes, "os.PathLike[str]"]
Stream = Union[None, int, IO[Any]]
Address = Union[None, int, str, "os.PathLike[str]", "Connection"]
# What a step waits for: a descriptor (None for time alone), the events of poll(2), seconds (None for ever). It
# is sent whether the event came.
Wait = Tuple[Optional[int], int, Optional[float]]
Steps = Generator[Wait, bool, Any]


class SluiceError(Exception):
    """A call without an exit code of its command's. `exit_code` is what the program exits with; `stdout` and
    `stderr` are what was captured, as in CompletedProcess."""

    exit_code = UNANSWERED
    stdout: Any = None
    stderr: Any = None


class Refused(SluiceError):
    """The broker's own answer: `status` (negative), `name`, `reason` for a person, `call` (a number, or None).
    AUDIT and STOPPING may end a command that has begun; with all others nothing of it ran."""

    def __init__(self, status: int, reason: str = "", call: Optional[int] = None):
        self.status, self.name, self.reason, self.call = status, STATUSES.get(status, str(status)), reason, call
        self.exit_code = _exit_code(status)
        number = f"call {call}" if call else ""
        detail = ": ".join(part for part in (number, reason) if part)
        super().__init__(f"the broker says {self.name}{f' ({detail})' if detail else ''}")


class BrokerGone(SluiceError):
    """No broker was reached, it went away, or its answer cannot be read. Where `may_have_run` is false, nothing
    of the command ran."""

    def __init__(self, message: str, may_have_run: bool = False):
        self.may_have_run = may_have_run
        self.exit_code = UNANSWERED if may_have_run else UNREACHED
        super().__init__(message + ("; the command may have run" if may_have_run else "; nothing ran"))


class CompletedProcess(subprocess.CompletedProcess):  # type: ignore[type-arg]
    """The end of a call. `returncode` is the command's exit code, 128 + the signal that ended it, or 124 where
    its rule's timeout did. Beyond `subprocess.CompletedProcess`:

    call: the number in the broker's records; signal: what ended the command; reason: why it was ended, for a
    person; flags: 1 timed out, 2 a capture is not complete, 4 out of memory, 8 the caller was gone;
    microseconds: how long it ran. What is not known, or does not apply, is None (flags: 0)."""

    def __init__(self, args: Any, end: End, call: Optional[int], stdout: Any = None, stderr: Any = None):
        super().__init__(args, _exit_code(end.status), stdout, stderr)
        self.call, self.reason = call, end.reason
        self.signal, self.flags, self.microseconds = end.signal, end.flags, end.microseconds


class End(NamedTuple):
    """The end of a call, as its last frame has it."""

    status: int
    signal: Optional[int] = None
    flags: int = 0
    microseconds: Optional[int] = None
    reason: Optional[str] = None


class Frame(NamedTuple):
    """One message of the broker's. value: of QUEUED the limit, of STARTED the call's number, of DONE an End, of
    REFUSED the status and the reason, of LISTING the text."""

    kind: int
    value: Any


class Malformed(ValueError):
    """Bytes that are not a broker's."""


class _Unheard(Exception):
    """The broker went away before it took the request: nothing ran, and the next one may be asked."""


class _OldBroker(Exception):
    """The broker speaks version 1 alone."""


# The bytes. REFERENCE.md, "The wire", has the fields, and tests/fixtures/wire.hex examples.

QUEUED, STARTED, DONE, REFUSED, LISTING = 20, 16, 17, 18, 19


def encode_call(words: Sequence[Word], version: int = 2) -> bytes:
    """The request for a call. Raises ValueError for words that no request carries."""
    if isinstance(words, (str, bytes)) or not 1 <= len(words) <= WORDS_MAX:
        raise ValueError(f"a command line is a sequence of 1 to {WORDS_MAX} words")
    parts = [struct.pack("<3I", MAGIC, 2, 1) if version == 2 else struct.pack("<2I", MAGIC, 1)]
    parts.append(struct.pack("<I", len(words)))
    for place, word in enumerate(map(os.fsencode, words), 1):
        if len(word) > WORD_BYTES_MAX or b"\0" in word:
            raise ValueError(f"word {place} has a NUL byte, or more than {WORD_BYTES_MAX} bytes")
        try:
            word.decode()
        except UnicodeDecodeError:
            raise ValueError(f"word {place} is not UTF-8") from None
        parts += [struct.pack("<I", len(word)), word]
    message = b"".join(parts)
    if len(message) > MESSAGE_BYTES_MAX:
        raise ValueError(f"all words together are over {MESSAGE_BYTES_MAX} bytes")
    return message


def encode_list(version: int = 2, is_json: bool = True) -> bytes:
    """The request for the listing; in version 1 it is always text."""
    return struct.pack("<4I", MAGIC, 2, 2, is_json) if version == 2 else struct.pack("<3I", MAGIC, 1, 0)


def encode_order(number: int) -> bytes:
    """The order to forward a signal. Raises ValueError for one that is not in FORWARDED."""
    if number not in FORWARDED:
        raise ValueError(f"signal {number} is none that a broker forwards")
    return struct.pack("<Ii", 1, number)


def decode_reply(message: bytes, is_listing: bool = False) -> Union[int, str]:
    """A reply of version 1: the status, or the listing's text. Raises Malformed."""
    if len(message) < 12 or struct.unpack_from("<2I", message) != (MAGIC, 1):
        raise Malformed(f"{message[:16]!r} is no reply")
    status, rest = struct.unpack_from("<i", message, 8)[0], message[12:]
    if not (is_listing and status == 0):
        if rest or status > 255:
            raise Malformed(f"{message[:16]!r} is no status")
        return int(status)
    if len(rest) < 4 or struct.unpack_from("<I", rest)[0] != len(rest) - 4:
        raise Malformed("the listing's length is wrong")
    return _text(rest[4:])


def decode_explanation(message: bytes) -> Tuple[Optional[int], str]:
    """The message after a negative status of version 1: the call's number and the reason. Raises Malformed."""
    if len(message) < 20 or struct.unpack_from("<2I", message) != (MAGIC, 1):
        raise Malformed("no explanation")
    call, length = struct.unpack_from("<QI", message, 8)
    if length != len(message) - 20:
        raise Malformed("the reason's length is wrong")
    return call or None, _text(message[20:])


class FrameReader:
    """Puts frames together from the bytes that come out of a reply pipe, in whatever pieces."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def push(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole by now; unknown kinds are left out. Raises Malformed."""
        self._bytes += data
        while len(self._bytes) >= 8:
            kind, length = struct.unpack_from("<2I", self._bytes)
            if length > FRAME_BYTES_MAX:
                raise Malformed(f"a frame of {length} bytes")
            if len(self._bytes) < 8 + length:
                return
            payload = bytes(self._bytes[8 : 8 + length])
            del self._bytes[: 8 + length]
            frame = _frame(kind, payload)
            if frame:
                yield frame


def _frame(kind: int, payload: bytes) -> Optional[Frame]:
    try:
        if kind == QUEUED:
            return Frame(kind, struct.unpack("<I", payload)[0])
        if kind == STARTED:
            return Frame(kind, struct.unpack("<Q", payload)[0])
        if kind == DONE:
            status, signal, flags, microseconds = struct.unpack("<iIIQ", payload)
            return Frame(kind, End(status, signal or None, flags, microseconds))
        if kind == REFUSED:
            return Frame(kind, (struct.unpack_from("<i", payload)[0], _text(payload[4:])))
    except struct.error:
        raise Malformed(f"{len(payload)} bytes are no frame of kind {kind}") from None
    return Frame(kind, _text(payload)) if kind == LISTING else None


def _numbered(reason: str) -> Tuple[Optional[int], str]:
    """The call's number at the beginning of a refusal's reason, and the reason after it."""
    first, _, rest = reason.partition(": ")
    number = first[5:]
    return (int(number), rest) if first.startswith("call ") and number.isdecimal() else (None, reason)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Malformed("text that is not UTF-8") from None


def _exit_code(status: int) -> int:
    if status == TIMEOUT:
        return 124
    return status if 0 <= status <= 255 else 128 - status if -127 <= status < 0 else UNANSWERED


# Steps. What waits is a generator that yields a Wait; one of the two functions here drives it.


def _drive(steps: Sequence[Steps], deadline: Optional[float] = None) -> bool:
    """Runs steps beside each other to their ends; False when the deadline (time.monotonic) was there first."""
    waits: dict[int, Wait] = {}
    due: dict[int, Optional[float]] = {}

    def advance(place: int, came: Optional[bool]) -> None:
        waits.pop(place, None)
        try:
            wait = steps[place].send(came)  # type: ignore[arg-type]
        except StopIteration:
            return
        waits[place] = wait
        due[place] = None if wait[2] is None else time.monotonic() + wait[2]

    for place in range(len(steps)):
        advance(place, None)
    while waits:
        poll, places = select.poll(), {}
        for place, (fd, events, _) in waits.items():
            if fd is not None:
                poll.register(fd, events)
                places[fd] = place
        ends = [end for end in (deadline, *(due[place] for place in waits)) if end is not None]
        ready = poll.poll(None if not ends else max(0.0, min(ends) - time.monotonic()) * 1000 + 0.5)
        for fd, _ in ready:
            advance(places[fd], True)
        now = time.monotonic()
        for place in [place for place in waits if due[place] is not None and now >= due[place]]:  # type: ignore
            advance(place, False)
        if waits and deadline is not None and now >= deadline:
            return False
    return True


async def _drive_async(steps: Steps) -> None:
    """Runs steps on the event loop."""
    came: Any = None
    with contextlib.suppress(StopIteration):
        while True:
            fd, events, seconds = steps.send(came)
            came = await _ready(fd, events, seconds)


async def _ready(fd: Optional[int], events: int, seconds: Optional[float]) -> bool:
    # It takes longer to import than all the rest, and most uses have no event loop.
    import asyncio

    if fd is None:
        await asyncio.sleep(seconds or 0)
        return False
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()
    # A loop knows one reader of a descriptor, and calls on one connection wait for the same one.
    own = os.dup(fd)
    add, remove = ((loop.add_reader, loop.remove_reader) if events == select.POLLIN else
                   (loop.add_writer, loop.remove_writer))
    try:
        add(own, _settle, ready, True)
        timer = None if seconds is None else loop.call_later(seconds, _settle, ready, False)
        try:
            return await ready
        finally:
            if timer:
                timer.cancel()
    finally:
        remove(own)
        os.close(own)


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _read_all(fd: int, into: bytearray) -> Steps:
    os.set_blocking(fd, False)
    while True:
        yield fd, select.POLLIN, None
        with contextlib.suppress(BlockingIOError):
            data = os.read(fd, BLOCK_BYTES)
            if not data:
                return
            into += data


def _write_all(file: IO[bytes], data: bytes) -> Steps:
    fd, rest = file.fileno(), memoryview(data).cast("B")
    os.set_blocking(fd, False)
    with contextlib.suppress(BrokenPipeError):
        while rest:
            yield fd, select.POLLOUT, None
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(fd, rest[:BLOCK_BYTES]) :]
    file.close()


def _receive(broker: sockets.socket, size: int, seconds: Optional[float], flags: int = 0) -> Steps:
    """One message; None when the time is over. Raises ConnectionResetError, for a request that was not read."""
    while True:
        with contextlib.suppress(BlockingIOError):
            return broker.recv(size, sockets.MSG_DONTWAIT | flags)
        if (yield broker.fileno(), select.POLLIN, seconds) is False:
            return None


def _send(broker: sockets.socket, message: bytes, fds: Sequence[int]) -> Steps:
    rights = [(sockets.SOL_SOCKET, sockets.SCM_RIGHTS, array.array("i", fds))] if fds else []
    is_enlarged = False
    while True:
        try:
            broker.sendmsg([message], rights, sockets.MSG_DONTWAIT | sockets.MSG_NOSIGNAL)
            return
        except BlockingIOError:
            yield broker.fileno(), select.POLLOUT, None
        except ConnectionError:
            raise _Unheard from None
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                # Too many descriptors of this user's are on their way. No event tells when it is over.
                yield None, 0, RETRY
            elif error.errno == errno.EMSGSIZE and not is_enlarged:
                is_enlarged = True
                with contextlib.suppress(OSError):
                    broker.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 2 * len(message) + 4096)
            else:
                raise BrokerGone(f"the request cannot be sent: {error.strerror}") from None


class Connection:
    """A connection to a broker, for any number of calls at once, of any number of threads. It is made by the
    first call, and made again when its broker has left. With a broker of version 1, each call makes its own.

    `version` is the protocol's that its broker speaks; None until that is known."""

    def __init__(self, socket: Union[None, int, str, os.PathLike[str]] = None):
        self._broker: Optional[sockets.socket] = None
        self._path: Optional[str] = None
        if socket is None:
            self._broker, self._path = _from_environment()
        elif isinstance(socket, int):
            self._broker = _handed_in(socket)
        else:
            self._path = os.fspath(socket)
        self.version: Optional[int] = None
        self._lock = threading.Lock()
        # The requests that wait for their answer on each connection; an earlier one is closed after its last.
        self._waiting: dict[sockets.socket, int] = {}

    def close(self) -> None:
        """Closes the connection. Calls that have begun go on; one that has not is lost."""
        with self._lock:
            brokers, self._broker = [*self._waiting, *([self._broker] if self._broker else [])], None
        for broker in brokers:
            broker.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _reach(self) -> Steps:
        """The shared connection, for a request that calls `_release` when it has its answer."""
        made = (yield from self._connect()) if self._broker is None else None
        with self._lock:
            if self._broker is None:
                self._broker, made = made, None
            broker = self._broker
            self._waiting[broker] = self._waiting.get(broker, 0) + 1
        if made is not None:
            made.close()
        return broker

    def _release(self, broker: sockets.socket) -> None:
        with self._lock:
            self._waiting[broker] -= 1
            is_last = self._waiting[broker] == 0
            if is_last:
                del self._waiting[broker]
            is_earlier = broker is not self._broker
        if is_last and is_earlier:
            broker.close()

    def _connect(self) -> Steps:
        """A new connection."""
        path = self._path
        if path is None:
            raise BrokerGone("the connection that was handed in has no broker that can be used")
        try:
            broker = sockets.socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
        except OSError as error:
            raise BrokerGone(f"cannot use unix sockets here: {error.strerror}") from None
        try:
            broker.setblocking(False)
            while True:
                try:
                    broker.connect(path)
                    return broker
                except BlockingIOError:
                    # The queue of those who connect is full. No event tells when it is not.
                    yield None, 0, RETRY
        except BaseException as error:
            broker.close()
            if isinstance(error, OSError):
                raise BrokerGone(f"cannot connect to {path}: {error.strerror or error}") from None
            raise

    def _leave(self, broker: sockets.socket) -> None:
        """Has the next call connect anew; others may still wait on this one."""
        with self._lock:
            if self._path is not None and self._broker is broker:
                self._broker = None

    def _answer(self, broker: sockets.socket) -> Steps:
        """Raises what became of a request whose reply pipe ended without a word. The message on the connection
        is left there, where others look for it too."""
        try:
            message = yield from _receive(broker, 16, ANSWER_WAIT, sockets.MSG_PEEK)
            status = decode_reply(message) if message else None
        except ConnectionResetError:
            raise _Unheard from None
        except Malformed as error:
            raise BrokerGone(f"what answers is no broker: {error}", True) from None
        if status is None:
            raise BrokerGone("the broker went away without an answer", True)
        if status != PROTO or self.version == 2:
            raise Refused(int(status))
        if self._path is None:
            raise BrokerGone("the broker speaks version 1 alone, in which no connection can be handed in")
        self.version = 1
        raise _OldBroker


class _Exchange:
    """One request and what is said to it. `ask` makes the request of a version."""

    def __init__(self, connection: Connection, ask: Callable[[int], bytes], fds: Sequence[int], is_call: bool = True):
        self.call: Optional[int] = None
        self.end: Union[None, End, str] = None
        self.on_queued: Callable[[int], None] = lambda limit: None
        # Called while it is certain that nobody has taken the request: it is to be sent, or there is no room for it.
        self.on_unsent: Callable[[], None] = lambda: None
        self._connection, self._ask, self._fds, self._is_call = connection, ask, fds, is_call
        self._frames = FrameReader()
        self._reply: Optional[io.FileIO] = None
        self._control: Optional[io.FileIO] = None
        self._single: Optional[sockets.socket] = None
        # Where the request is, or will be in a moment.
        self._asked: Optional[sockets.socket] = None

    def start(self) -> Steps:
        """Until the command has begun; in version 1, until it is asked for."""
        for _ in range(TRIES):
            self._asked = None
            self.on_unsent()
            if self._connection.version == 1:
                self._single = yield from self._connection._connect()
                with contextlib.suppress(_Unheard):
                    return (yield from self._send(self._single, 1, self._fds))
                continue
            broker = yield from self._connection._reach()
            try:
                yield from self._request(broker)
                while self.call is None and self.end is None:
                    yield from self._read(broker)
                return
            except _Unheard:
                self._connection._leave(broker)
            except _OldBroker:
                pass
            finally:
                self._connection._release(broker)
        raise BrokerGone("the broker hung up before it was asked")

    def _request(self, broker: sockets.socket) -> Steps:
        self.close()
        self._frames = FrameReader()
        read, reply = os.pipe()
        self._reply, theirs = io.FileIO(read, "r"), [reply]
        os.set_blocking(read, False)
        try:
            if self._is_call:
                control, write = os.pipe()
                theirs.append(control)
                self._control = io.FileIO(write, "w")
                os.set_blocking(write, False)
            yield from self._send(broker, 2, [*self._fds, *theirs])
        finally:
            for fd in theirs:
                os.close(fd)

    def _send(self, broker: sockets.socket, version: int, fds: Sequence[int]) -> Steps:
        # Before it is sent: a command may begin before this process goes on.
        self._asked = broker
        for wait in _send(broker, self._ask(version), fds):
            self._asked = None
            self.on_unsent()
            yield wait
            self._asked = broker

    def _read(self, broker: Optional[sockets.socket] = None) -> Steps:
        """Some frames; `broker` is where a request that came to nothing is asked about."""
        if self._reply is None or self._reply.closed:
            raise BrokerGone("the call was given up", True)
        yield self._reply.fileno(), select.POLLIN, None
        data = self._reply.read(BLOCK_BYTES)
        if data is None:
            return
        if not data and broker is not None:
            yield from self._connection._answer(broker)
        if not data:
            raise BrokerGone("the broker went away in the middle of the call", True)
        try:
            for frame in self._frames.push(data):
                self._take(frame)
        except Malformed as error:
            raise BrokerGone(f"the broker's frames cannot be read: {error}", True) from None

    def _take(self, frame: Frame) -> None:
        self._connection.version = 2
        if frame.kind == QUEUED:
            self.on_queued(frame.value)
        elif frame.kind == STARTED:
            self.call = frame.value
        elif frame.kind == REFUSED:
            call, reason = _numbered(frame.value[1])
            raise Refused(frame.value[0], reason, call or self.call)
        elif (frame.kind == DONE) != self._is_call:
            raise Malformed("an answer to another question")
        else:
            self.end = frame.value

    def finish(self) -> Steps:
        """Until the end is known. Raises Refused and BrokerGone."""
        if self._single is not None and self.end is None:
            yield from self._finish_single(self._single)
        while self.end is None:
            yield from self._read()
        if isinstance(self.end, End):
            if self.end.status == TIMEOUT:
                told = f" ({self.end.reason})" if self.end.reason else ""
                self.end = self.end._replace(reason="ended by its rule's timeout" + told)
            elif self.end.status < 0:
                raise Refused(self.end.status, "the command was ended", self.call)

    def _finish_single(self, broker: sockets.socket) -> Steps:
        try:
            message = yield from _receive(broker, 16 + LISTING_BYTES_MAX + 1, None)
            if not message:
                raise BrokerGone("the broker went away without an answer", True)
            answer = decode_reply(message, not self._is_call)
        except ConnectionResetError:
            raise BrokerGone("the broker hung up before it was asked") from None
        except Malformed as error:
            raise BrokerGone(f"what answers is no broker: {error}", True) from None
        if isinstance(answer, str):
            self.end = answer
            return
        call, reason = None, ""
        if answer < 0:
            with contextlib.suppress(Malformed, ConnectionError):
                explanation = yield from _receive(broker, 20 + REASON_BYTES_MAX, ANSWER_WAIT)
                call, reason = decode_explanation(explanation or b"")
        self.call = call
        if answer < 0 and answer != TIMEOUT:
            raise Refused(answer, reason, call)
        self.end = End(answer, reason=reason or None)

    def is_untaken(self) -> bool:
        """Whether nobody has read the request yet, as far as the kernel says. One that is being sent has been read."""
        if self._asked is None:
            return True
        with contextlib.suppress(OSError, ValueError):
            return any(fcntl.ioctl(self._asked, termios.TIOCOUTQ, bytes(4)))
        return False

    def order(self, number: int) -> None:
        """Sends an order. A call that is over, or a pipe that is full, takes none, which is no error."""
        order = encode_order(number)
        if self._single is not None:
            raise OSError(errno.EOPNOTSUPP, "the broker speaks version 1, which has no signals")
        if self._control is not None and not self._control.closed:
            with contextlib.suppress(BrokenPipeError):
                self._control.write(order)

    def hang_up(self) -> None:
        """Tells the broker that the caller is gone."""
        if self._control is not None:
            self._control.close()
        if self._single is not None:
            with contextlib.suppress(OSError):
                self._single.shutdown(sockets.SHUT_RDWR)

    def close(self) -> None:
        for file in (self._control, self._reply, self._single):
            if file is not None:
                file.close()


class Call:
    """A call that has begun; like `subprocess.Popen`. What keeps it from beginning is raised by the constructor:
    Refused, BrokerGone, ValueError for the words, TimeoutExpired after `timeout` seconds (what waits for a place
    waits here). `on_queued` is called with the number of calls that may run at once, after a second of waiting.

    args; call: its number in the records, None in version 1; stdin, stdout, stderr: files, of those that are
    PIPE; returncode: as of CompletedProcess, None before the end; completed: the CompletedProcess, None before
    the end. The call ends when this object does; `with` waits for its end, and ends it after an exception."""

    def __init__(self, args: Sequence[Word], socket: Address = None, *, stdin: Stream = None, stdout: Stream = None,
                 stderr: Stream = None, text: bool = False, encoding: Optional[str] = None,
                 errors: Optional[str] = None, timeout: Optional[float] = None,
                 on_queued: Optional[Callable[[int], None]] = None):
        self._prepare(args, socket, stdin, stdout, stderr, _Text(text, encoding, errors))
        if on_queued:
            self._exchange.on_queued = on_queued
        self._begin(timeout)

    def _prepare(self, args: Sequence[Word], socket: Address, stdin: Stream, stdout: Stream, stderr: Stream,
                 text: _Text) -> None:
        encode_call(args)
        self.args, self.completed = args, None  # type: Sequence[Word], Optional[CompletedProcess]
        self._text, self._is_own = text, not isinstance(socket, Connection)
        self._connection = socket if isinstance(socket, Connection) else Connection(socket)
        self._streams = _Streams(stdin, stdout, stderr)
        self._exchange = _Exchange(self._connection, lambda version: encode_call(args, version), self._streams.theirs)
        self.stdin, self.stdout, self.stderr = (text.wrapped(file) for file in self._streams.ours)
        self._captured = bytearray(), bytearray()
        self._jobs: list[Steps] = []

    def _begin(self, timeout: Optional[float] = None) -> None:
        try:
            self._drive([self._start()], timeout)
        except BaseException:
            self.close()
            raise

    @property
    def call(self) -> Optional[int]:
        return self._exchange.call

    @property
    def returncode(self) -> Optional[int]:
        return None if self.completed is None else self.completed.returncode

    def send_signal(self, number: int) -> None:
        """Forwards one of FORWARDED to the command's process group. Raises ValueError for others, OSError in
        version 1. After the end it does nothing."""
        self._exchange.order(number)

    def terminate(self) -> None:
        """Forwards TERM."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """Ends the call, as if this process were gone: TERM, and KILL 2 s later, to all that the command started.
        With `on_hangup = keep` the command goes on."""
        self._exchange.hang_up()

    def poll(self) -> Optional[int]:
        """`returncode`, without waiting."""
        with contextlib.suppress(TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: Optional[float] = None) -> int:
        """`returncode`, when the call is over and its end on record. Raises TimeoutExpired after that many seconds
        (the call goes on), Refused, BrokerGone. Nobody reads the pipes meanwhile: see `communicate`."""
        if self.completed is None:
            self._drive([self._exchange.finish()], timeout)
            self._complete()
        assert self.completed is not None
        return self.completed.returncode

    def communicate(self, input: Any = None, timeout: Optional[float] = None) -> Tuple[Any, Any]:
        """Writes `input` to a stdin that is PIPE, reads the others to their ends, and waits. Gives stdout and
        stderr (None for one that is not PIPE). After TimeoutExpired it may be called again, and loses nothing."""
        self._jobs = self._jobs or self._collect(input)
        self._drive(self._jobs, timeout)
        outputs = self._outputs()
        self._complete(*outputs)
        return outputs

    def close(self) -> None:
        """Closes all that belongs to the call, which ends it if it is not over."""
        self._streams.close_theirs()
        self._exchange.close()
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        if self._is_own:
            self._connection.close()

    def __del__(self) -> None:
        if hasattr(self, "_jobs"):
            self.close()

    def __enter__(self) -> Call:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None and self.completed is None:
                for file in (self.stdin, self.stdout, self.stderr):
                    if file is not None:
                        file.close()
                self.wait()
        finally:
            self.close()

    def _start(self) -> Steps:
        yield from self._exchange.start()
        self._streams.close_theirs()

    def _collect(self, input: Any) -> list[Steps]:
        jobs = [self._exchange.finish()]
        for file, captured in zip((self.stdout, self.stderr), self._captured):
            if file is not None:
                jobs.append(_read_all(file.fileno(), captured))
        if self.stdin is not None:
            jobs.append(_write_all(self.stdin, self._text.encoded(input)))
        return jobs

    def _drive(self, steps: list[Steps], timeout: Optional[float]) -> None:
        try:
            if _drive(steps, None if timeout is None else time.monotonic() + timeout):
                return
        except SluiceError as error:
            error.stdout, error.stderr = self._outputs()
            raise
        raise self._expired(timeout or 0.0)

    def _expired(self, timeout: float) -> TimeoutExpired:
        return TimeoutExpired(self.args, timeout, *(bytes(captured) for captured in self._captured))

    def _outputs(self) -> Tuple[Any, Any]:
        files = zip((self.stdout, self.stderr), self._captured)
        out, err = (None if file is None else self._text.decoded(captured) for file, captured in files)
        return out, err

    def _complete(self, stdout: Any = None, stderr: Any = None) -> None:
        assert isinstance(self._exchange.end, End)
        self.completed = CompletedProcess(self.args, self._exchange.end, self.call, stdout, stderr)


class _Text(NamedTuple):
    """How streams become text; not at all, where nothing is asked for."""

    text: bool = False
    encoding: Optional[str] = None
    errors: Optional[str] = None

    def is_asked(self) -> bool:
        return bool(self.text or self.encoding or self.errors)

    def wrapped(self, file: Optional[IO[bytes]]) -> Any:
        return io.TextIOWrapper(file, self.encoding, self.errors) if file and self.is_asked() else file

    def encoded(self, data: Any) -> bytes:
        return data.encode(self.encoding or "utf-8", self.errors or "strict") if isinstance(data, str) else data or b""

    def decoded(self, data: bytearray) -> Any:
        if not self.is_asked():
            return bytes(data)
        text = data.decode(self.encoding or "utf-8", self.errors or "strict")
        return text.replace("\r\n", "\n").replace("\r", "\n")


class _Streams:
    """The descriptors that a command gets, `theirs`, and the other ends of those that are pipes, `ours`."""

    def __init__(self, stdin: Stream, stdout: Stream, stderr: Stream):
        self.theirs: list[int] = []
        self.ours: list[Optional[IO[bytes]]] = []
        self._made: list[int] = []
        try:
            for stream in (stdin, stdout, stderr):
                self.theirs.append(self._make(len(self.theirs), stream))
        except BaseException:
            self.close_theirs()
            for file in self.ours:
                if file is not None:
                    file.close()
            raise

    def _make(self, place: int, stream: Stream) -> int:
        self.ours.append(None)
        if stream == PIPE:
            read, write = os.pipe()
            self._made.append(read if place == 0 else write)
            self.ours[place] = os.fdopen(write, "wb") if place == 0 else os.fdopen(read, "rb")
            return self._made[-1]
        if stream == STDOUT and place == 2:
            return self.theirs[1]
        if stream == DEVNULL or (stream is None and not _is_open(place)):
            self._made.append(os.open(os.devnull, os.O_RDWR))
            return self._made[-1]
        fd = place if stream is None else stream if isinstance(stream, int) else stream.fileno()
        if fd < 0:
            raise ValueError(f"{stream!r} is no stream here")
        return fd

    def close_theirs(self) -> None:
        while self._made:
            os.close(self._made.pop())


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def run(args: Sequence[Word], socket: Address = None, *, stdin: Stream = None, input: Any = None,
        stdout: Stream = None, stderr: Stream = None, capture_output: bool = False, timeout: Optional[float] = None,
        check: bool = False, text: bool = False, encoding: Optional[str] = None,
        errors: Optional[str] = None) -> CompletedProcess:
    """Has the broker at `socket` run a command, and waits for its end; like `subprocess.run`.

    Raises Refused; BrokerGone; CalledProcessError with `check`, where the exit code is not 0; TimeoutExpired after
    `timeout` seconds, the wait for a place included, when the call was ended (with `on_hangup = keep`, or after
    END_WAIT seconds, it may go on); ValueError for words that no request carries."""
    stdin, stdout, stderr = _streams_of(stdin, input, stdout, stderr, capture_output)
    began = time.monotonic()
    call = Call(args, socket, stdin=stdin, stdout=stdout, stderr=stderr, text=text, encoding=encoding, errors=errors,
                timeout=timeout)
    try:
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
        try:
            call.communicate(input, left)
        except TimeoutExpired:
            call.kill()
            with contextlib.suppress(TimeoutExpired, SluiceError):
                call.communicate(timeout=END_WAIT)
            raise call._expired(timeout or 0.0) from None
    finally:
        call.close()
    return _checked(call, check)


async def run_async(args: Sequence[Word], socket: Address = None, *, stdin: Stream = None, input: Any = None,
                    stdout: Stream = None, stderr: Stream = None, capture_output: bool = False,
                    timeout: Optional[float] = None, check: bool = False, text: bool = False,
                    encoding: Optional[str] = None, errors: Optional[str] = None) -> CompletedProcess:
    """`run` on the running event loop. Cancelling it ends the call."""
    import asyncio

    stdin, stdout, stderr = _streams_of(stdin, input, stdout, stderr, capture_output)
    call = Call.__new__(Call)
    call._prepare(args, socket, stdin, stdout, stderr, _Text(text, encoding, errors))
    work = asyncio.ensure_future(_work(call, input))
    try:
        done, _ = await asyncio.wait({work}, timeout=timeout)
        if not done:
            call.kill()
            await asyncio.wait({work}, timeout=END_WAIT)
            raise call._expired(timeout or 0.0)
        try:
            work.result()
        except SluiceError as error:
            error.stdout, error.stderr = call._outputs()
            raise
    finally:
        work.cancel()
        call.close()
    return _checked(call, check)


async def _work(call: Call, input: Any) -> None:
    import asyncio

    await _drive_async(call._start())
    jobs = [asyncio.ensure_future(_drive_async(job)) for job in call._collect(input)]
    try:
        await asyncio.gather(*jobs)
    finally:
        for job in jobs:
            job.cancel()
    call._complete(*call._outputs())


def _streams_of(stdin: Stream, input: Any, stdout: Stream, stderr: Stream, is_captured: bool) -> Tuple[Any, Any, Any]:
    if input is not None and stdin is not None:
        raise ValueError("stdin and input cannot be given together")
    if is_captured and (stdout is not None or stderr is not None):
        raise ValueError("stdout and stderr cannot be given together with capture_output")
    return (stdin if input is None else PIPE, *((PIPE, PIPE) if is_captured else (stdout, stderr)))


def _checked(call: Call, check: bool) -> CompletedProcess:
    assert call.completed is not None
    if check:
        call.completed.check_returncode()
    return call.completed


def list_commands(socket: Address = None) -> list[dict[str, Any]]:
    """What may be called: for each rule its `command` line, `about` (its comment, by lines) and `words`, as
    REFERENCE.md, "The listing as JSON", has them. Raises Refused and BrokerGone."""
    try:
        return list(json.loads(_listing(socket, True))["rules"])
    except (ValueError, KeyError, TypeError) as error:
        raise BrokerGone(f"the listing cannot be read: {error}") from None


def _listing(socket: Address, is_json: bool) -> str:
    connection = socket if isinstance(socket, Connection) else Connection(socket)
    exchange = _Exchange(connection, lambda version: encode_list(version, is_json), [], is_call=False)
    try:
        _drive([exchange.start()])
        _drive([exchange.finish()])
        if is_json and connection.version == 1:
            raise Refused(PROTO, "it speaks version 1 alone, in which the listing is text")
        return str(exchange.end)
    finally:
        exchange.close()
        if connection is not socket:
            connection.close()


def _handed_in(number: int) -> sockets.socket:
    """A copy of a connection of this number. Raises BrokerGone."""
    own = None
    try:
        own = os.dup(number)
        # A sandbox may forbid to ask a descriptor what it is, so it is said, and not asked.
        return sockets.socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET, 0, fileno=own)
    except (OSError, OverflowError):
        if own is not None:
            os.close(own)
        raise BrokerGone(f"descriptor {number} is no connection to a broker") from None


def _from_environment() -> Tuple[Optional[sockets.socket], Optional[str]]:
    """The connection $SLUICE_FD, where it is one, and the path $SLUICE_SOCKET, which is asked where it is not, or has
    lost its broker."""
    number, path = os.environ.get("SLUICE_FD", ""), os.environ.get("SLUICE_SOCKET", "") or None
    if not number and not path:
        raise BrokerGone("neither SLUICE_FD nor SLUICE_SOCKET is set")
    try:
        return _handed_in(int(number)) if number.isdecimal() else None, path
    except BrokerGone:
        if not path:
            raise
    return None, path


# The program.

USAGE = "sluicify.py SOCKET [--] CMD [ARGS...], or sluicify.py --list SOCKET [--json]"


def main(arguments: Sequence[str]) -> int:
    """Runs the program with these arguments; gives its exit code."""
    try:
        if arguments and arguments[0] in ("--help", "-h"):
            print(__doc__.split("\n\nThe module")[0])
            return 0
        if arguments and arguments[0] == "--list":
            return _show([word for word in arguments[1:] if word != "--json"], "--json" in arguments)
        socket, *words = arguments or [""]
        words = words[1:] if words[:1] == ["--"] else words
        if not words or not socket or (socket.startswith("-") and socket != "-"):
            raise ValueError("SOCKET and CMD are needed")
        return _call(words, None if socket == "-" else socket)
    except ValueError as error:
        return _complain(USAGE_ERROR, f"{error}; usage: {USAGE}")
    except SluiceError as error:
        return _complain(error.exit_code, str(error))


def _show(sockets_named: list[str], is_json: bool) -> int:
    if len(sockets_named) != 1 or not sockets_named[0]:
        raise ValueError("--list needs the socket")
    text = _listing(None if sockets_named[0] == "-" else sockets_named[0], is_json)
    # A broker of another version may not have escaped what steers a terminal.
    shown = "".join(char if char == "\n" or char.isprintable() else f"\\u{{{ord(char):x}}}" for char in text)
    try:
        print(shown, end="", flush=True)
    except OSError as error:
        return _complain(1, f"cannot write to stdout: {error.strerror}")
    return 0


def _call(words: list[str], socket: Optional[str]) -> int:
    # A stream that is closed becomes /dev/null, before another descriptor gets its number.
    while (spare := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(spare)
    call = Call.__new__(Call)
    call._prepare(words, socket, None, None, None, _Text())
    forwarder = _Forwarder(call)
    call._begin()
    forwarder.begin()
    code = call.wait()
    if call.completed is not None and call.completed.reason:
        _say(call.completed.reason)
    return code


class _Forwarder:
    """Forwards signals, or hangs the call up and waits LEAVE_WAIT seconds for its end. One of ENDING ends this process,
    and so the call, where there is no command yet that could end of it: nobody has taken the request, or the call
    waits for its place."""

    def __init__(self, call: Call) -> None:
        self._call, self._is_queued = call, False
        # One that was forwarded while it was not known whether the command had begun.
        self._ending: Optional[int] = None
        call._exchange.on_queued, call._exchange.on_unsent = self._queue, self._end_pending
        # What nohup and a shell's & have this process ignore, the command is spared.
        self._signals = [number for number in FORWARDED if signals.getsignal(number) is not signals.SIG_IGN]
        for number in self._signals:
            signals.signal(number, self._pass_on)

    def begin(self) -> None:
        """The command has begun; in version 1 it is asked for, and signals end this process."""
        self._is_queued = False
        if self._call.call is not None:
            self._ending = None
            return
        for number in self._signals:
            signals.signal(number, signals.SIG_DFL)
        self._end_pending()

    def _queue(self, limit: int) -> None:
        _say(f"waiting for a place: {limit} calls may run at once")
        self._is_queued = True
        self._end_pending()

    def _end_pending(self) -> None:
        if self._ending is not None:
            _die(self._ending)

    def _pass_on(self, number: int, _: Any) -> None:
        if number in ENDING and self._call.call is None:
            if self._is_queued or self._call._exchange.is_untaken():
                return _die(number)
            self._ending = number
        if number in LEAVING:
            return self._leave(number)
        # An OSError is of version 1, whose signals end this process in a moment.
        with contextlib.suppress(OSError):
            self._call.send_signal(number)
        if number == signals.SIGTSTP:
            os.kill(os.getpid(), signals.SIGSTOP)

    def _leave(self, number: int) -> None:
        signals.signal(signals.SIGALRM, lambda *_: _die(number))
        signals.setitimer(signals.ITIMER_REAL, LEAVE_WAIT)
        # Before anybody can see that the call was hung up, and send another signal for that.
        for ending in ENDING:
            if ending in self._signals:
                signals.signal(ending, signals.SIG_DFL)
        self._call.kill()


def _die(number: int) -> None:
    """Lets a signal have its usual effect on this process."""
    signals.signal(number, signals.SIG_DFL)
    os.kill(os.getpid(), number)


def _complain(code: int, message: str) -> int:
    _say(message)
    return code


def _say(message: str) -> None:
    line = "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in message)
    with contextlib.suppress(OSError, AttributeError):
        print(f"sluicify.py: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
