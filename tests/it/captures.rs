//! What a command writes and reads is in files of its own, byte for byte, and the caller has it too.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::stat::{Mode, fstat};

use crate::harness::{Answer, Broker, Record, Setup, Status, needs};

/// Every stream of any shell script.
pub(crate) const ALL: &str = "
    stdinfile   = @DIR@/audit/calls/c#$call.in
    stdoutfile  = @DIR@/audit/calls/c#$call.out
    stderrfile  = @DIR@/audit/calls/c#$call.err
";

/// A broker to be that captures every stream of any shell script, with more lines for its defaults.
pub(crate) fn capturing(more: &str) -> Setup {
    let more = if more.is_empty() { String::new() } else { format!("  {more}\n") };
    let files = ALL.trim().lines().map(|line| format!("  {}\n", line.trim())).collect::<String>();
    Broker::new(&format!("defaults:\n{files}{more}\n/bin/sh -c #script\n  allow_any = script\n"))
}

/// What the capture that a record names holds.
#[track_caller]
pub(crate) fn held(start: &Record, stream: &str) -> Vec<u8> {
    fs::read(start.text(stream)).unwrap_or_else(|error| panic!("{stream} of {start}: {error}"))
}

/// The three captures of a call are these.
#[track_caller]
fn holds(answer: &Answer<'_>, stdin: &[u8], stdout: &[u8], stderr: &[u8]) {
    let (start, exit) = (answer.record("start"), answer.record("exit"));
    for (stream, want) in [("stdin", stdin), ("stdout", stdout), ("stderr", stderr)] {
        let held = held(&start, stream);
        if held != want {
            answer.fail(&format!("want {} bytes of {stream} captured, not {}", want.len(), held.len()));
        }
        assert_eq!(exit.number(&format!("{stream}_bytes")), want.len() as u64, "{exit}");
    }
}

fn every_byte(times: usize) -> Vec<u8> {
    (0..=255).cycle().take(256 * times).collect()
}

#[test]
fn what_passes_is_in_files_that_the_start_names() {
    let broker = capturing("").start();
    let bytes = every_byte(4000);
    let answer = broker.request(&["/bin/sh", "-c", "tee /dev/stderr"]).stdin(bytes.clone()).run().exited(0);
    assert!(answer.stdout == bytes && answer.stderr == bytes);
    holds(&answer, &bytes, &bytes, &bytes);
    let answer = answer.audited(["start stdin stdout stderr", "exit status=0 !truncated !drain_timeout"]);
    let calls = broker.dir().join("audit/calls");
    assert_eq!(fs::metadata(&calls).expect("it was made").permissions().mode() & 0o777, 0o700);
    let mode = fs::metadata(answer.record("start").text("stdout")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn both_outputs_at_once_are_kept_apart() {
    let broker = capturing("").start();
    let script = "yes out | head -c 3000000 & yes err | head -c 2000000 >&2; wait";
    let answer = broker.sh(script).exited(0);
    let (stdout, stderr) = (answer.stdout.clone(), answer.stderr.clone());
    assert_eq!((stdout.len(), stderr.len()), (3_000_000, 2_000_000));
    holds(&answer, b"", &stdout, &stderr);
}

/// A rule with a capture of stdin alone: nothing else goes on for as long as the command does.
const STDIN: &str = "/bin/sh -c #script\n  allow_any = script\n  stdinfile = @DIR@/audit/in-#$call\n";

/// What the capture of a script's stdin holds, and how many bytes of it the record says were left in the
/// pipe.
#[track_caller]
fn stdin_of(broker: &Broker, script: &str, stdin: &[u8]) -> (String, u64) {
    let answer = broker.request(&["/bin/sh", "-c", script]).stdin(stdin).run().exited(0);
    let (start, exit) = (answer.record("start"), answer.record("exit"));
    let held = held(&start, "stdin");
    assert_eq!(exit.number("stdin_bytes"), held.len() as u64, "{exit}");
    let unread = if exit.is("exit stdin_unread") { exit.number("stdin_unread") } else { 0 };
    (String::from_utf8(held).expect("text"), unread)
}

#[test]
fn a_stdin_capture_holds_what_the_command_was_handed_and_the_record_what_it_left() {
    for rules in [STDIN.to_owned(), format!("{STDIN}  stdoutfile = @DIR@/audit/out-#$call\n")] {
        let broker = Broker::new(&rules).start();
        let check = |script: &str, unread: u64| {
            assert_eq!(stdin_of(&broker, script, b"one\ntwo\n"), ("one\ntwo\n".into(), unread), "{script}");
        };
        check("exec cat", 0);
        check("sleep 0.3; exec cat", 0);
        check("read line; echo $line", 4);
        check("sleep 0.3; read line", 4);
        // Whether it is handed anything is a race, so it waits.
        check("sleep 0.3", 8);
    }
}

#[test]
fn what_a_command_closes_without_reading_is_not_captured() {
    let broker = Broker::new(STDIN).start();
    let (read, write) = std::io::pipe().expect("a pipe");
    let reader = read.try_clone().expect("another handle");
    let script = "exec <&-; echo closed; exec sleep 0.2";
    let mut call = broker.request(&["/bin/sh", "-c", script]).given(0, read).begin();
    assert_eq!(call.line(), "closed");
    (&write).write_all(b"too late\n").expect("there is a reader");
    let answer = call.wait().exited(0).audited(["start", "exit stdin_bytes=0 !stdin_unread"]);
    drop(reader);
    assert_eq!(held(&answer.record("start"), "stdin"), b"");
}

/// Looks at its stdin in the ways that leave it there, or puts it back, and prints what it saw.
const LOOKERS: [&str; 4] = [
    // tee(2)
    "r, w = os.pipe(); n = libc.tee(0, w, 100, 0); out(os.read(r, n))",
    // splice(2), there and back
    "r, w = os.pipe(); n = libc.splice(0, None, w, None, 100, 0); \
     back = os.open('/proc/self/fd/0', os.O_WRONLY); seen = os.read(r, n); os.write(back, seen); out(seen)",
    // read(2), and written into the pipe again
    "seen = os.read(0, 100); os.write(os.open('/proc/self/fd/0', os.O_WRONLY), seen); out(seen)",
    // FIONREAD, which tells no more than how much there is
    "n = bytearray(4); fcntl.ioctl(0, termios.FIONREAD, n); out(b'x' * n[0])",
];

#[test]
fn what_a_command_looks_at_or_puts_back_is_captured() {
    if !needs("python3", "python3") {
        return;
    }
    let rules = "python3 -c #code\n  allow_any = code\n  stdinfile = @DIR@/audit/in-#$call\n";
    let broker = Broker::new(rules).start();
    for looker in LOOKERS {
        let code = format!(
            "import ctypes, fcntl, os, select, termios, time\n\
             libc = ctypes.CDLL(None)\n\
             out = lambda seen: os.write(1, b'%d' % len(seen))\n\
             select.select([0], [], [])\n{looker}"
        );
        let mut call = broker.request(&["python3", "-c", &*code]).stdin_open().begin();
        call.write(b"secret\n");
        let answer = call.wait().exited(0).printed("7");
        assert_eq!(held(&answer.record("start"), "stdin"), b"secret\n", "{looker}");
        answer.audited(["start", "exit stdin_bytes=7 stdin_unread=7"]);
    }
}

#[test]
fn what_is_left_to_a_kept_process_to_read_is_captured() {
    let rules = "/bin/sh -c #script\n  allow_any = script\n  background = keep\n  stdinfile = @DIR@/audit/in-#$call\n";
    let broker = Broker::new(rules).start();
    let script = "exec 3<&0; (sleep 0.3; exec cat <&3) & read line";
    let answer = broker.request(&["/bin/sh", "-c", script]).stdin(&b"one\ntwo\n"[..]).run().exited(0);
    assert_eq!(answer.stdout, b"two\n");
    assert_eq!(held(&answer.record("start"), "stdin"), b"one\ntwo\n");
    // What the kept process reads later stands in the pipe now.
    answer.audited(["start", "exit stdin_bytes=8 stdin_unread=4"]);
}

#[test]
fn a_rule_without_stdin_has_no_capture_of_it() {
    capturing("stdin = null")
        .start()
        .sh("cat")
        .exited(0)
        .audited(["start !stdin stdout", "exit !stdin_bytes"]);
}

#[test]
fn a_capture_ends_at_its_bound_and_the_caller_gets_everything() {
    let broker = capturing("capture_max = 1M").start();
    for (bytes, truncated) in
        [(1 << 20, "!truncated"), ((1 << 20) + 1, "truncated=true"), (9 << 20, "truncated=true")]
    {
        let answer = broker.sh(&format!("yes | head -c {bytes}")).exited(0);
        assert_eq!(answer.stdout.len(), bytes);
        let exit = format!("exit stdout_bytes={} {truncated}", 1 << 20);
        let answer = answer.audited(["start", &*exit]);
        assert!(held(&answer.record("start"), "stdout") == answer.stdout[..1 << 20]);
    }
}

#[test]
fn a_name_that_is_taken_gets_the_calls_number() {
    let broker = Broker::new("/bin/echo #word\n  word = [a-z]+\n  stdoutfile = @DIR@/audit/out\n").start();
    let kept_at = |word: &str| {
        let answer = broker.call(["/bin/echo", word]).exited(0);
        let start = answer.record("start");
        assert_eq!(held(&start, "stdout"), format!("{word}\n").as_bytes());
        PathBuf::from(start.text("stdout"))
    };
    let name = broker.dir().join("audit/out");
    assert_eq!(kept_at("a"), name);
    assert_eq!(kept_at("b"), broker.dir().join("audit/out.c2"));
    assert_eq!(fs::read(&name).expect("it stays"), b"a\n");
    fs::remove_file(&name).expect("an own file");
    nix::unistd::mkfifo(&name, Mode::S_IRWXU).expect("a fifo");
    assert_eq!(kept_at("c"), broker.dir().join("audit/out.c3"));
    fs::remove_file(&name).expect("an own file");
    symlink(broker.dir().join("victim"), &name).expect("a link");
    assert_eq!(kept_at("d"), broker.dir().join("audit/out.c4"));
    assert!(!broker.dir().join("victim").exists());
    fs::remove_file(&name).expect("the link");
}

#[test]
fn placeholders_name_the_call() {
    let broker = Broker::new(
        "
        /bin/echo a
          stdoutfile = @DIR@/audit/#$socket/#$rule-#$uid/#$ts_ms.#$pid.c#$call
    ",
    );
    let broker = broker.start();
    let answer = broker.call(["/bin/echo", "a"]).exited(0);
    let start = answer.record("start");
    let name = start.text("stdout").rsplit('/').next().expect("a name").to_owned();
    let above = format!("audit/it/{}-{}", start.number("rule"), start.number("uid"));
    let (ts, rest) = name.split_once('.').expect("two parts");
    assert!(start.text("stdout").starts_with(&*broker.dir().join(above).to_string_lossy()), "{start}");
    assert!(ts.parse::<u64>().expect("a number").abs_diff(start.number("ts")) < 60_000, "{start}");
    assert_eq!(rest, format!("{}.c1", start.number("pid")));
}

#[test]
fn without_captures_the_commands_descriptors_are_the_callers() {
    let script = "/bin/readlink /proc/self/fd/1";
    let is_passed = |broker: &Broker| {
        let (mut read, write) = std::io::pipe().expect("a pipe");
        let own = format!("pipe:[{}]\n", fstat(write.as_fd()).expect("a pipe has an inode").st_ino);
        let call = broker.request(&["/bin/sh", "-c", script]).given(1, write).begin();
        call.wait().exited(0);
        let mut seen = String::new();
        read.read_to_string(&mut seen).expect("a pipe can be read");
        seen == own
    };
    assert!(is_passed(&Broker::shell()));
    assert!(!is_passed(&capturing("").start()));
    for log in ["argv-only", "exit-only"] {
        let broker = capturing(&format!("log = {log}")).start();
        assert!(is_passed(&broker));
        assert!(!broker.dir().join("audit/calls").exists());
    }
}

#[test]
fn calls_at_once_have_captures_of_their_own() {
    let broker = capturing("").start();
    let script = |n: usize| format!("yes {n} | head -c 100000; echo {n} >&2");
    let calls: Vec<_> =
        (0..40).map(|n| broker.request(&["/bin/sh", "-c", &*script(n)]).quick().begin()).collect();
    let answers: Vec<_> = calls.into_iter().map(|call| call.wait().exited(0)).collect();
    let starts = broker.records_of("start");
    for (n, answer) in answers.iter().enumerate() {
        let start = starts.iter().find(|start| start.argv()[2] == script(n)).expect("it has a start");
        assert!(held(start, "stdout") == answer.stdout && held(start, "stderr") == answer.stderr);
    }
    let mut paths: Vec<_> = starts.iter().map(|start| start.text("stdout").to_owned()).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), 40);
}

#[test]
fn a_restart_goes_on_with_new_files() {
    let mut broker = capturing("").start();
    broker.sh("echo first").exited(0);
    broker.stop();
    broker.start_again();
    broker.sh("echo second").exited(0);
    broker.kill();
    broker.start_again();
    broker.sh("echo third").exited(0);
    let held: Vec<_> = broker.records_of("start").iter().map(|start| held(start, "stdout")).collect();
    assert_eq!(held, [b"first\n".to_vec(), b"second\n".to_vec(), b"third\n".to_vec()]);
}

#[test]
fn a_reload_in_the_middle_leaves_a_capture_alone() {
    let broker = capturing("").start();
    let mut call = broker.request(&["/bin/sh", "-c", "echo one; read x; echo two"]).stdin_open().begin();
    assert_eq!(call.line(), "one");
    broker.hup();
    call.write(b"go\n");
    call.wait().exited(0);
    assert_eq!(held(&broker.record("start"), "stdout"), b"one\ntwo\n");
}

#[test]
fn a_command_that_cannot_start_leaves_empty_captures() {
    let setup = Broker::new("@DIR@/no-interpreter\n  stdoutfile = @DIR@/audit/out\n");
    let broker = setup.program("no-interpreter", "#!/no/such/thing\n").start();
    let program = broker.dir().join("no-interpreter").to_string_lossy().into_owned();
    broker.call([&*program]).refused(Status::SPAWN).audited(["start stdout", "exit step=exec !stdout_bytes"]);
    assert_eq!(fs::metadata(broker.dir().join("audit/out")).expect("it is there").size(), 0);
}

/// As many bytes of a block, over and over, as a caller feeds a command and wants back.
fn stream(bytes: usize) {
    let broker = capturing("capture_max = none").start();
    broker.sh("true").exited(0);
    let before = broker.pid().status("VmHWM").expect("it runs");
    let block: Vec<u8> = (0..(1 << 20) - 3).map(|n: usize| ((n * n) >> 7).to_le_bytes()[0]).collect();
    let (in_read, in_write) = std::io::pipe().expect("a pipe");
    let (out_read, out_write) = std::io::pipe().expect("a pipe");
    let call = broker.request(&["/bin/sh", "-c", "exec cat"]).given(0, in_read).given(1, out_write).begin();
    std::thread::scope(|scope| {
        scope.spawn(|| write_blocks(in_write, &block, bytes));
        assert_eq!(read_blocks(out_read, &block), bytes);
    });
    let answer = call.wait_within(Duration::from_secs(120)).exited(0);
    let after = broker.pid().status("VmHWM").expect("it runs");
    assert!(after < before + 4096, "{before} KiB grew to {after} KiB");
    for (stream, name) in [("stdin", "stdin_bytes"), ("stdout", "stdout_bytes")] {
        let file = fs::File::open(answer.record("start").text(stream)).expect("it is there");
        assert_eq!(read_blocks(file, &block), bytes);
        assert_eq!(answer.record("exit").number(name), bytes as u64);
    }
}

fn write_blocks(mut pipe: impl std::io::Write, block: &[u8], bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let next = left.min(block.len());
        pipe.write_all(&block[..next]).expect("it is read");
        left -= next;
    }
}

/// How many bytes come, all of them as they were written.
fn read_blocks(mut from: impl std::io::Read, block: &[u8]) -> usize {
    let (mut count, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        let at = count % block.len();
        let room = buffer.len().min(block.len() - at);
        let read = from.read(&mut buffer[..room]).expect("it can be read");
        if read == 0 {
            return count;
        }
        assert!(buffer[..read] == block[at..at + read], "a difference after {count} bytes");
        count += read;
    }
}

#[test]
fn a_long_stream_is_captured_as_it_passes_in_little_memory() {
    stream(64 << 20);
}

#[test]
#[ignore = "2 GiB of files; for a machine that has the time: --ignored gibibyte"]
fn a_gibibyte_is_captured_as_it_passes_in_little_memory() {
    stream(1 << 30);
}
