#!/usr/bin/env python3
"""What examples/sluicify.py promises, against a real broker; tests/it/languages.rs starts it and runs this file.

SLUICE_TEST_SOCKET is the broker's socket, SLUICE_TEST_MANIFEST its manifest. `Broken` and `Bytes` need none: they
have what no broker answers, and the vectors of tests/fixtures/wire.hex."""
import array
import asyncio
import contextlib
import gc
import hashlib
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "examples/sluicify.py"
sys.path.insert(0, str(PROGRAM.parent))
sys.dont_write_bytecode = True
import sluicify  # noqa: E402

SOCKET = os.environ.get("SLUICE_TEST_SOCKET", "")
SOON = 30
MIB_64 = 64 << 20


def sh(script):
    return ["/bin/sh", "-c", script]


def run(script, **how):
    return sluicify.run(sh(script), SOCKET, **how)


def program(*words, **how):
    """The program on the broker's socket."""
    how.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([sys.executable, PROGRAM, *words], capture_output=True, text=True, timeout=60, **how)


@contextlib.contextmanager
def client_of(script):
    """The program, while it runs."""
    words = [sys.executable, PROGRAM, SOCKET, *sh(script)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as client:
        try:
            yield client
        finally:
            client.kill()


@contextlib.contextmanager
def waiting_client():
    """The program, whose call waits for the one place of `cat -`."""
    words = [sys.executable, PROGRAM, SOCKET, "/bin/cat", "-"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as client:
        try:
            assert "waiting for a place" in client.stderr.readline()
            yield client
        finally:
            client.kill()


def until(what, found):
    """Waits for an event that no descriptor tells of."""
    deadline = time.monotonic() + SOON
    while not found():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {SOON} s: {what}")
        time.sleep(0.005)


def is_gone(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state in "ZX"


def exit_record(call):
    """The record of a call's end, when it is there."""
    found = []

    def look():
        lines = pathlib.Path(os.environ["SLUICE_TEST_MANIFEST"]).read_text().splitlines()
        found[:] = [record for record in map(json.loads, lines) if (record["kind"], record.get("call")) == ("exit", call)]
        return found
    until(f"the exit record of call {call}", look)
    return found[0]


def expired(run):
    """What a call had printed when its timeout came: the first that leaves it the time to print something."""
    timeout = 0.25
    while True:
        try:
            run(timeout)
        except subprocess.TimeoutExpired as error:
            if error.stdout:
                return error.stdout
        timeout *= 2


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class WithBroker(unittest.TestCase):
    """A test that leaves no descriptor behind."""

    def setUp(self):
        self.assertTrue(SOCKET, "tests/it runs these tests")
        self.before = descriptors()

    def tearDown(self):
        self.assertEqual(descriptors(), self.before)

    def begin(self, script):
        """A call that has printed the pid of its shell."""
        call = sluicify.Call(sh(f"echo $$; {script}"), SOCKET, stdout=sluicify.PIPE, text=True)
        return call, int(call.stdout.readline())


class Run(WithBroker):
    def test_it_is_the_command_to_its_caller(self):
        done = run("echo out; echo err >&2; exit 3", capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, "out\n", "err\n"))
        self.assertEqual((done.args, done.signal, done.flags, done.reason), (sh("echo out; echo err >&2; exit 3"), None, 0, None))
        self.assertGreater(done.microseconds, 0)
        self.assertEqual(exit_record(done.call)["status"], 3)

    def test_exit_codes_are_the_commands_own(self):
        for code in (0, 1, 7, 126, 127, 129, 255):
            self.assertEqual(run(f"exit {code}").returncode, code)

    def test_the_signal_that_ends_a_command_is_told_from_an_exit_code(self):
        for name in ("HUP", "KILL", "TERM"):
            number = getattr(signal, f"SIG{name}")
            self.assertEqual((run(f"kill -{name} $$").signal, run(f"exit {128 + number}").signal), (number, None))
            self.assertEqual(run(f"kill -{name} $$").returncode, 128 + number)

    def test_a_refusal_says_why_and_nothing_runs(self):
        with self.assertRaises(sluicify.Refused) as caught:
            sluicify.run(["/bin/nope", "x"], SOCKET, capture_output=True)
        refused = caught.exception
        self.assertEqual((refused.status, refused.name, refused.exit_code), (-1, "NO_RULE", 129))
        self.assertIn("/bin/nope", refused.reason)
        # The number stands before the reason on the wire, and is no part of it here.
        self.assertGreater(refused.call, 0)
        self.assertNotIn("call", refused.reason)
        self.assertEqual((refused.stdout, refused.stderr), (b"", b""))

    def test_a_program_that_is_not_there_is_a_refusal(self):
        with self.assertRaises(sluicify.Refused) as caught:
            sluicify.run(["/bin/is-not-there"], SOCKET)
        self.assertEqual((caught.exception.name, caught.exception.exit_code), ("SPAWN", 132))

    def test_input_goes_to_stdin_and_streams_go_where_they_are_sent(self):
        self.assertEqual(run("cat; echo e >&2", input="caf\u00e9\r\n", text=True, stdout=sluicify.PIPE,
                             stderr=sluicify.STDOUT).stdout, "caf\u00e9\ne\n")
        self.assertEqual(run("cat", stdin=sluicify.DEVNULL, capture_output=True).stdout, b"")
        with tempfile.TemporaryFile() as file:
            run("echo in a file", stdout=file, stderr=sluicify.DEVNULL)
            file.seek(0)
            self.assertEqual(file.read(), b"in a file\n")

    def test_a_command_that_does_not_read_is_no_error(self):
        self.assertEqual(run("exec <&-; exit 4", input=bytes(1 << 20)).returncode, 4)

    def test_64_mib_go_both_ways(self):
        data = os.urandom(1 << 20) * 64
        done = run("cat", input=data, stdout=sluicify.PIPE)
        self.assertEqual(len(done.stdout), MIB_64)
        self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(data).digest())

    def test_the_rules_timeout_is_told(self):
        done = sluicify.run(["/bin/sleep", "9"], SOCKET)
        self.assertEqual((done.returncode, done.flags & 1), (124, 1))
        self.assertIn("its rule's timeout", done.reason)

    def test_check_raises_for_an_exit_code(self):
        with self.assertRaises(subprocess.CalledProcessError) as caught:
            run("echo why; exit 6", check=True, capture_output=True)
        self.assertEqual((caught.exception.returncode, caught.exception.stdout), (6, b"why\n"))
        self.assertEqual(run("exit 0", check=True).returncode, 0)

    def test_a_timeout_ends_the_call_and_keeps_what_was_printed(self):
        printed = expired(lambda timeout: run("echo $$; exec sleep 60", timeout=timeout, stdout=sluicify.PIPE))
        until("the command is gone", lambda: is_gone(int(printed)))

    def test_words_that_no_request_carries_are_named(self):
        for words in ([], ["true"] * 257, ["x" * 16385], ["a\0b"], [b"\xff"], ["x" * 16384] * 64, "true"):
            with self.assertRaises(ValueError):
                sluicify.run(words, SOCKET)
        self.assertEqual(sluicify.run(["/bin/sh", b"-c", pathlib.PurePath("exit 3")], SOCKET).returncode, 3)

    def test_the_largest_request_is_sent(self):
        words = ["/bin/echo", *["x" * 16384] * 63]
        with self.assertRaises(sluicify.Refused) as caught:
            sluicify.run(words, SOCKET)
        self.assertEqual(caught.exception.name, "NO_RULE")


class Streaming(WithBroker):
    def test_a_call_has_a_number_and_streams_while_it_runs(self):
        with sluicify.Call(["/bin/cat"], SOCKET, stdin=sluicify.PIPE, stdout=sluicify.PIPE) as call:
            self.assertIsNone(call.poll())
            call.stdin.write(b"line\n")
            call.stdin.flush()
            self.assertEqual(call.stdout.readline(), b"line\n")
            call.stdin.close()
            self.assertEqual((call.stdout.read(), call.wait(), call.returncode), (b"", 0, 0))
        self.assertEqual(exit_record(call.call)["status"], 0)

    def test_signals_reach_the_command(self):
        for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"):
            call, _ = self.begin(f"trap 'exit 9' {name}; echo; while :; do sleep 0.02; done")
            with call:
                call.stdout.readline()
                call.send_signal(getattr(signal, f"SIG{name}"))
                self.assertEqual(call.wait(SOON), 9)
                call.send_signal(signal.SIGTERM)

    def test_terminate_ends_the_command(self):
        call, pid = self.begin("exec sleep 60")
        with call:
            call.terminate()
            self.assertEqual((call.wait(SOON), call.completed.signal), (143, signal.SIGTERM))
            self.assertTrue(is_gone(pid))

    def test_a_signal_that_cannot_be_forwarded_is_an_error(self):
        call, _ = self.begin("read line")
        with call:
            for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, 0):
                self.assertRaises(ValueError, call.send_signal, number)
            call.kill()
            call.wait(SOON)

    def test_kill_is_the_callers_end_on_record(self):
        call, pid = self.begin("trap '' TERM; while :; do sleep 0.05; done")
        with call:
            call.kill()
            self.assertEqual(call.wait(SOON), 137)
            self.assertEqual(call.completed.flags & 8, 8)
        self.assertTrue(is_gone(pid))
        self.assertTrue(exit_record(call.call)["hangup"])

    def test_a_call_that_is_dropped_ends(self):
        call, pid = self.begin("exec sleep 60")
        number = call.call
        del call
        gc.collect()
        self.assertTrue(exit_record(number)["hangup"])
        self.assertTrue(is_gone(pid))

    def test_an_exception_in_the_block_ends_the_call(self):
        with self.assertRaises(KeyError):
            with sluicify.Call(sh("exec sleep 60"), SOCKET) as call:
                raise KeyError
        self.assertTrue(exit_record(call.call)["hangup"])

    def test_a_timeout_of_wait_and_communicate_loses_nothing(self):
        call = sluicify.Call(sh("echo one; read line; echo $line"), SOCKET, stdin=sluicify.PIPE, stdout=sluicify.PIPE)
        with call:
            with self.assertRaises(subprocess.TimeoutExpired):
                call.wait(0.2)
            self.assertEqual(call.communicate(b"two\n", SOON), (b"one\ntwo\n", None))
            self.assertEqual(call.returncode, 0)

    def test_a_call_that_waits_for_its_place_says_so(self):
        limits = []
        with sluicify.Call(["/bin/cat", "-"], SOCKET, stdin=sluicify.PIPE) as first:
            with self.assertRaises(subprocess.TimeoutExpired):
                sluicify.Call(["/bin/cat", "-"], SOCKET, timeout=0.01)

            def full(limit):
                limits.append(limit)
                raise KeyError
            with self.assertRaises(KeyError):
                sluicify.Call(["/bin/cat", "-"], SOCKET, on_queued=full)
            self.assertEqual(limits, [1])
            first.stdin.close()
            self.assertEqual(first.wait(SOON), 0)


class Connections(WithBroker):
    def test_threads_share_a_connection(self):
        codes = []
        with sluicify.Connection(SOCKET) as connection:
            threads = [threading.Thread(target=lambda code=code: codes.append(
                sluicify.run(sh(f"exit {code}"), connection).returncode)) for code in range(32)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual((sorted(codes), connection.version), (list(range(32)), 2))

    def test_the_environment_names_the_broker(self):
        os.environ["SLUICE_SOCKET"] = SOCKET
        self.assertEqual(sluicify.run(sh("exit 5")).returncode, 5)
        os.environ["SLUICE_SOCKET"] = "/is/not/there"
        with self.connected() as broker:
            os.environ["SLUICE_FD"] = str(broker.fileno())
            for code in (6, 7):
                self.assertEqual(sluicify.run(sh(f"exit {code}")).returncode, code)
        # What is no connection, or has lost its broker, is followed by the path.
        os.environ["SLUICE_SOCKET"] = SOCKET
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        far.close()
        with open(os.devnull) as other, near:
            for number in (other.fileno(), near.fileno(), 9999):
                os.environ["SLUICE_FD"] = str(number)
                self.assertEqual(sluicify.run(sh("exit 8")).returncode, 8)
            del os.environ["SLUICE_SOCKET"]
            for number in (other.fileno(), near.fileno(), 9999):
                os.environ["SLUICE_FD"] = str(number)
                self.assertRaises(sluicify.BrokerGone, sluicify.run, ["true"])
        del os.environ["SLUICE_FD"]
        with self.assertRaises(sluicify.BrokerGone) as caught:
            sluicify.run(["true"])
        self.assertFalse(caught.exception.may_have_run)

    def test_a_connection_that_is_handed_in_is_used_by_sendmsg_alone(self):
        """As in a sandbox whose filter denies everything else, which strace plays."""
        denied = "socket,connect,bind,listen,sendto,getsockopt,setsockopt,getsockname,getpeername,shutdown"
        with self.connected() as broker:
            for script, code in (("cat; exit 4", 4), ("exit 0", 0)):
                done = subprocess.run(
                    ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={denied}", "-e",
                     f"inject={denied}:error=EPERM", sys.executable, PROGRAM, "-", *sh(script)],
                    env={**os.environ, "SLUICE_FD": str(broker.fileno())}, pass_fds=[broker.fileno()], input=b"in\n",
                    capture_output=True, timeout=60)
                self.assertEqual((done.returncode, done.stderr), (code, b""))
                self.assertEqual(done.stdout, b"in\n" if code else b"")

    def test_a_signal_reaches_a_command_that_begins_before_its_caller_goes_on(self):
        """The caller is held up where it has sent its request, which strace plays."""
        script = "trap 'exit 9' INT; echo; while :; do sleep 0.02; done"
        words = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=sendmsg", "-e", "inject=sendmsg:delay_exit=1000000",
                 sys.executable, PROGRAM, SOCKET, *sh(script)]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True) as client:
            client.stdout.readline()
            os.killpg(client.pid, signal.SIGINT)
            self.assertEqual(client.wait(SOON), 9)

    def test_a_broker_that_is_not_there_is_told(self):
        with self.assertRaises(sluicify.BrokerGone) as caught:
            sluicify.run(["true"], "/is/not/there")
        self.assertEqual((caught.exception.may_have_run, caught.exception.exit_code), (False, 125))

    def test_the_listing_has_each_rule(self):
        rules = sluicify.list_commands(SOCKET)
        self.assertEqual(rules[0]["about"], ["Runs a script."])
        self.assertEqual(rules[0]["words"][:2], ["/bin/sh", "-c"])
        self.assertEqual(rules[0]["words"][2]["slot"], "script")

    def connected(self):
        broker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        broker.connect(SOCKET)
        return broker


class Async(WithBroker):
    def test_100_calls_share_one_connection_at_once(self):
        async def main(name):
            with sluicify.Connection(SOCKET) as connection:
                fifo, begun = pathlib.Path(name, "fifo"), pathlib.Path(name, "begun")
                os.mkfifo(fifo)
                # Each waits until all have begun: none is in another's way.
                calls = [asyncio.ensure_future(sluicify.run_async(
                    sh(f"echo {number} >>{begun}; read line <{fifo}; echo {number}"), connection,
                    capture_output=True)) for number in range(100)]
                while not begun.exists() or len(begun.read_text().split()) < 100:
                    await asyncio.sleep(0.01)
                gate = os.open(fifo, os.O_RDWR)
                os.write(gate, b"\n" * 100)
                done = await asyncio.gather(*calls)
                os.close(gate)
                return [int(each.stdout) for each in done], {each.call for each in done}
        with tempfile.TemporaryDirectory() as name:
            printed, numbers = asyncio.run(main(name))
        self.assertEqual((printed, len(numbers)), (list(range(100)), 100))

    def test_the_loop_goes_on_while_calls_run(self):
        async def main(fifo):
            os.mkfifo(fifo)
            call = asyncio.ensure_future(sluicify.run_async(sh(f"read line <{fifo}; exit 3"), SOCKET))
            for _ in range(10):
                await asyncio.sleep(0.01)
            # The command ends by what the loop does next.
            gate = os.open(fifo, os.O_RDWR)
            os.write(gate, b"\n")
            code = (await call).returncode
            os.close(gate)
            return code
        with tempfile.TemporaryDirectory() as name:
            self.assertEqual(asyncio.run(main(pathlib.Path(name, "fifo"))), 3)

    def test_64_mib_go_both_ways(self):
        data = os.urandom(1 << 20) * 64
        done = asyncio.run(sluicify.run_async(["/bin/cat"], SOCKET, input=data, stdout=sluicify.PIPE))
        self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(data).digest())

    def test_cancelling_ends_the_call(self):
        async def main(pid_file):
            call = asyncio.ensure_future(sluicify.run_async(sh(f"echo $$ >{pid_file}; exec sleep 60"), SOCKET))
            while not (pid_file.exists() and pid_file.read_text().strip()):
                await asyncio.sleep(0.01)
            call.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await call
            return int(pid_file.read_text())
        with tempfile.TemporaryDirectory() as name:
            pid = asyncio.run(main(pathlib.Path(name) / "pid"))
        until("the command is gone", lambda: is_gone(pid))

    def test_failures_are_those_of_run(self):
        async def main():
            with self.assertRaises(sluicify.Refused):
                await sluicify.run_async(["/bin/nope"], SOCKET)
            with self.assertRaises(sluicify.BrokerGone):
                await sluicify.run_async(["true"], "/is/not/there")
            with self.assertRaises(subprocess.CalledProcessError):
                await sluicify.run_async(sh("exit 3"), SOCKET, check=True)
        asyncio.run(main())
        printed = expired(lambda timeout: asyncio.run(sluicify.run_async(
            sh("echo $$; exec sleep 60"), SOCKET, timeout=timeout, stdout=sluicify.PIPE)))
        until("the command is gone", lambda: is_gone(int(printed)))


class Program(WithBroker):
    def test_it_exits_and_prints_as_the_command_does(self):
        done = program(SOCKET, "--", *sh("cat; echo err >&2; exit 7"), stdin=None, input="in")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "in", "err\n"))
        self.assertEqual(program(SOCKET, *sh("kill -TERM $$")).returncode, 143)

    def test_each_failure_has_its_exit_code_and_one_line(self):
        for words, code, part in (
                ((SOCKET, "/bin/nope"), 129, "NO_RULE"), ((SOCKET, "/bin/is-not-there"), 132, "SPAWN"),
                ((SOCKET, "/bin/sleep", "9"), 124, "timeout"), (("/is/not/there", "true"), 125, "nothing ran"),
                ((), 2, "usage"), ((SOCKET,), 2, "usage"), (("--json", SOCKET), 2, "usage"), (("--list",), 2, "usage"),
                ((SOCKET, "x" * 16385), 2, "word 1")):
            done = program(*words)
            self.assertEqual((done.returncode, done.stderr.count("\n"), done.stdout), (code, 1, ""), done.stderr)
            self.assertIn(part, done.stderr)

    def test_a_signal_goes_to_the_command(self):
        for name, code in (("INT", 9), ("QUIT", 9), ("USR1", 9)):
            script = f"trap 'exit 9' {name}; echo; while :; do sleep 0.02; done"
            with client_of(script) as client:
                client.stdout.readline()
                client.send_signal(getattr(signal, f"SIG{name}"))
                self.assertEqual(client.wait(SOON), code)

    def test_a_client_that_is_to_end_hangs_the_call_up_and_stays_for_its_end(self):
        for name in ("TERM", "HUP"):
            with client_of("trap 'exit 9' TERM; echo $$; sleep 60 & wait") as client:
                pid = int(client.stdout.readline())
                client.send_signal(getattr(signal, f"SIG{name}"))
                self.assertEqual(client.wait(SOON), 9)
            self.assertTrue(is_gone(pid))
        with client_of("trap 'echo term' TERM; echo; while :; do sleep 0.02; done") as client:
            client.stdout.readline()
            client.send_signal(signal.SIGHUP)
            self.assertEqual(client.stdout.readline(), "term\n")
            client.send_signal(signal.SIGINT)
            self.assertEqual(client.wait(SOON), -signal.SIGINT)

    def test_a_stop_of_the_client_is_forwarded_and_ends(self):
        script = "trap 'echo stop' TSTP; trap 'echo on; exit 3' CONT; echo; while :; do sleep 0.02; done"
        with client_of(script) as client:
            client.stdout.readline()
            client.send_signal(signal.SIGTSTP)
            self.assertEqual(client.stdout.readline(), "stop\n")
            _, status = os.waitpid(client.pid, os.WUNTRACED)
            self.assertTrue(os.WIFSTOPPED(status))
            client.send_signal(signal.SIGCONT)
            self.assertEqual((client.stdout.readline(), client.wait(SOON)), ("on\n", 3))

    def test_a_client_that_waits_for_its_place_stops_and_goes_on_and_ends(self):
        with sluicify.Call(["/bin/cat", "-"], SOCKET, stdin=sluicify.PIPE) as first:
            with waiting_client() as client:
                client.send_signal(signal.SIGTSTP)
                _, status = os.waitpid(client.pid, os.WUNTRACED)
                self.assertTrue(os.WIFSTOPPED(status))
                client.send_signal(signal.SIGCONT)
                _, status = os.waitpid(client.pid, os.WCONTINUED)
                self.assertTrue(os.WIFCONTINUED(status))
                client.send_signal(signal.SIGWINCH)
                first.stdin.close()
                self.assertEqual((client.wait(SOON), first.wait(SOON)), (0, 0))
        with sluicify.Call(["/bin/cat", "-"], SOCKET, stdin=sluicify.PIPE) as first:
            for name in ("INT", "TERM", "HUP", "QUIT"):
                number = getattr(signal, f"SIG{name}")
                with waiting_client() as client:
                    client.send_signal(number)
                    self.assertEqual(client.wait(SOON), -number)
            first.stdin.close()

    def test_a_connection_that_is_none_is_told(self):
        with open(os.devnull) as other:
            environment = {**os.environ, "SLUICE_FD": str(other.fileno())}
            done = program("-", "true", pass_fds=[other.fileno()], env=environment)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (125, 1), done.stderr)
        self.assertIn("is no connection to a broker; nothing ran", done.stderr)

    def test_a_client_that_is_killed_takes_its_command_along(self):
        with client_of("echo $$; exec sleep 60") as client:
            pid = int(client.stdout.readline())
            client.kill()
        until("the command is gone", lambda: is_gone(pid))

    def test_streams_that_are_closed_are_no_obstacle(self):
        done = subprocess.run(["sh", "-c", 'exec "$@" <&- 2>&-', "sh", sys.executable, PROGRAM, SOCKET, *sh("cat; echo fine")],
                              stdout=subprocess.PIPE, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, b"fine\n"))

    def test_the_listing_is_text_or_json(self):
        done = program("--list", SOCKET)
        self.assertEqual(done.returncode, 0)
        self.assertIn("/bin/sh -c <script>\n  Runs a script.\n", done.stdout)
        self.assertEqual(json.loads(program("--list", SOCKET, "--json").stdout)["rules"], sluicify.list_commands(SOCKET))


class Peer:
    """A broker that answers what none does. Each script is for one connection: it gets the connection and the first
    request, as its bytes and descriptors."""

    def __init__(self, *scripts):
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.thread = threading.Thread(target=self.serve, args=scripts)
        self.thread.start()

    def serve(self, *scripts):
        for script in scripts:
            connection, _ = self.listener.accept()
            with connection:
                message, rights, _, _ = connection.recvmsg(1 << 20, socket.CMSG_LEN(4 * 8), socket.MSG_PEEK)
                fds = list(array.array("i", rights[0][2])) if rights else []
                try:
                    script(connection, message, fds)
                finally:
                    for fd in fds:
                        os.close(fd)

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        self.thread.join(SOON)
        self.listener.close()
        self.directory.cleanup()


def answering(data):
    """A script that reads the request and writes this to its reply pipe, one byte after the other."""
    def script(connection, _message, fds):
        connection.recv(1 << 20)
        for byte in data:
            os.write(fds[3 if len(fds) == 5 else 0], bytes([byte]))
    return script


def told(status, explanation=b""):
    """A script of version 1: a status, and what explains it."""
    def script(connection, _message, _fds):
        connection.recv(1 << 20)
        connection.send(struct.pack("<2Ii", 0x534C4358, 1, status))
        if explanation:
            connection.send(explanation)
    return script


def frame(kind, payload):
    return struct.pack("<2I", kind, len(payload)) + payload


DONE_7 = frame(16, struct.pack("<Q", 5)) + frame(17, struct.pack("<iIIQ", 7, 0, 0, 1))


class Broken(unittest.TestCase):
    def check(self, *scripts, want=None, may_have_run=None):
        """Both forms of a call, with the same answers."""
        async def run_async(path):
            return await sluicify.run_async(["x"], path, capture_output=True)
        for run in (lambda path: sluicify.run(["x"], path, capture_output=True), lambda path: asyncio.run(run_async(path))):
            with Peer(*scripts) as path:
                if may_have_run is None:
                    done = run(path)
                    self.assertEqual((done.returncode, done.call), want)
                    continue
                with self.assertRaises(sluicify.BrokerGone) as caught:
                    run(path)
                self.assertEqual(caught.exception.may_have_run, may_have_run, caught.exception)

    def test_frames_may_come_in_pieces_and_of_unknown_kinds(self):
        self.check(answering(frame(99, b"whatever") + DONE_7), want=(7, 5))

    def test_what_is_no_frame_is_not_taken_for_one(self):
        for name, data in vectors("no-v2-frame-"):
            with self.subTest(name):
                self.check(answering(data), may_have_run=True)
        self.check(answering(frame(16, bytes(8)) + frame(19, b"a listing")), may_have_run=True)

    def test_an_answer_that_ends_early_is_none(self):
        self.check(answering(DONE_7[:16]), may_have_run=True)
        self.check(answering(DONE_7[:-1]), may_have_run=True)
        self.check(answering(b""), may_have_run=True)

    def test_what_answers_and_is_no_broker_is_told(self):
        def talk(connection, _message, _fds):
            connection.recv(1 << 20)
            connection.send(b"220 mail.example ESMTP")
        self.check(talk, may_have_run=True)

    def test_a_broker_that_did_not_hear_is_followed_by_the_next(self):
        def leave(_connection, _message, _fds):
            pass
        self.check(leave, answering(DONE_7), want=(7, 5))
        self.check(leave, leave, leave, may_have_run=False)

    def test_connections_that_lost_their_broker_are_closed(self):
        with Peer(*[answering(DONE_7)] * 5) as path, sluicify.Connection(path) as connection:
            counts = set()
            for _ in range(5):
                self.assertEqual(sluicify.run(["x"], connection, capture_output=True).returncode, 7)
                counts.add(descriptors())
            # The first call may be asked before the peer has closed its end, or after it.
            self.assertLessEqual(len(counts), 2)

    def test_a_broker_of_version_1_is_asked_in_its_own(self):
        self.check(told(-2), told(7), want=(7, None))
        for status, code in ((-7, 124),):
            self.check(told(-2), told(status), want=(code, None))

    def test_a_refusal_of_version_1_has_number_and_reason(self):
        with Peer(told(-2), told(-1, struct.pack("<2IQI", 0x534C4358, 1, 9, 2) + b"no")) as path:
            with self.assertRaises(sluicify.Refused) as caught:
                sluicify.run(["x"], path)
            self.assertEqual((caught.exception.name, caught.exception.reason, caught.exception.call), ("NO_RULE", "no", 9))

    def test_version_1_has_no_signals_and_its_end_is_a_hangup(self):
        ends = []

        def wait(connection, _message, _fds):
            connection.recv(1 << 20)
            ends.append(connection.recv(1))
        with Peer(told(-2), wait) as path:
            call = sluicify.Call(["x"], path)
            self.assertRaises(OSError, call.send_signal, signal.SIGTERM)
            call.kill()
            with self.assertRaises(sluicify.BrokerGone):
                call.wait(SOON)
            call.close()
        self.assertEqual(ends, [b""])

    def test_a_listing_that_is_none_is_told(self):
        for data in (frame(19, b"not json"), frame(19, b"[]"), frame(17, bytes(20))):
            with Peer(answering(data)) as path:
                self.assertRaises(sluicify.BrokerGone, sluicify.list_commands, path)


def vectors(prefix):
    lines = (ROOT / "tests/fixtures/wire.hex").read_text().splitlines()
    named = [line.split(":") for line in lines if line and not line.startswith("#")]
    return [(name, bytes.fromhex(digits)) for name, digits in named if name.startswith(prefix)]


class Bytes(unittest.TestCase):
    """Each vector is written, or read, by this implementation."""

    WRITTEN = {
        "v1-request-call": lambda: sluicify.encode_call(["echo", "hi"], 1),
        "v1-request-list": lambda: sluicify.encode_list(1),
        "v2-request-call": lambda: sluicify.encode_call(["true"]),
        "v2-request-call-empty": lambda: sluicify.encode_call(["a", ""]),
        "v2-request-call-utf8": lambda: sluicify.encode_call(["caf\u00e9"]),
        "v2-request-list-text": lambda: sluicify.encode_list(2, is_json=False),
        "v2-request-list-json": lambda: sluicify.encode_list(2),
        "v2-control-int": lambda: sluicify.encode_order(signal.SIGINT),
        "v2-control-term": lambda: sluicify.encode_order(signal.SIGTERM),
        "v2-control-winch": lambda: sluicify.encode_order(signal.SIGWINCH),
        "v2-control-tstp": lambda: sluicify.encode_order(signal.SIGTSTP),
        "v2-control-cont": lambda: sluicify.encode_order(signal.SIGCONT),
    }
    READ = {
        "v1-reply-0": 0, "v1-reply-7": 7, "v1-reply-timeout": -7, "v1-reply-listing": "true\n", "v1-explanation": (7, "no"),
        "v2-frame-queued": (20, 64), "v2-frame-started": (16, 7),
        "v2-frame-done-0": (17, (0, None, 0, 1000, None)), "v2-frame-done-signal": (17, (137, 9, 0, 1000, None)),
        "v2-frame-done-timeout": (17, (-7, 15, 9, 1000, None)), "v2-frame-done-oom": (17, (137, 9, 4, 1000, None)),
        "v2-frame-refused": (18, (-1, "no")), "v2-frame-listing": (19, "true\n"),
    }

    def read(self, name, data):
        if name.startswith("v1-reply"):
            return sluicify.decode_reply(data, name.endswith("listing"))
        if name == "v1-explanation":
            return sluicify.decode_explanation(data)
        frames = list(sluicify.FrameReader().push(data))
        return frames[0] if len(frames) == 1 else frames

    def test_every_vector_is_written_or_read(self):
        found = vectors("v")
        self.assertEqual({name for name, _ in found}, {*self.WRITTEN, *self.READ})
        for name, data in found:
            got = self.WRITTEN[name]() if name in self.WRITTEN else self.read(name, data)
            self.assertEqual(got, data if name in self.WRITTEN else self.READ[name], name)

    def test_what_is_malformed_is_refused(self):
        found = vectors("no-v2-frame")
        self.assertGreaterEqual(len(found), 5)
        for name, data in found:
            self.assertRaises(sluicify.Malformed, lambda data=data: list(sluicify.FrameReader().push(data)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
