//! The caller's stdin, stdout and stderr are the command's own, and its exit is the caller's answer.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Broker, SHELL, Status, needs};

/// A block of no round length, so that a lost or doubled piece of any usual size shows.
const BLOCK_BYTES: usize = (1 << 20) - 3;

const STREAM_BYTES: usize = 1 << 30;

fn random_block() -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut random = std::fs::File::open("/dev/urandom").expect("there is /dev/urandom");
    random.read_exact(&mut block).expect("it never ends");
    block
}

fn write_stream(mut pipe: std::io::PipeWriter, block: &[u8]) {
    let mut left = STREAM_BYTES;
    while left > 0 {
        let bytes = left.min(block.len());
        pipe.write_all(&block[..bytes]).expect("the command reads all");
        left -= bytes;
    }
}

/// How many bytes come, all of them as they were written.
fn read_stream(mut pipe: std::io::PipeReader, block: &[u8]) -> usize {
    let mut buffer = vec![0; 1 << 16];
    let mut count = 0;
    loop {
        let at = count % block.len();
        let room = buffer.len().min(block.len() - at);
        let bytes = pipe.read(&mut buffer[..room]).expect("a pipe can be read");
        if bytes == 0 {
            return count;
        }
        assert!(buffer[..bytes] == block[at..at + bytes], "a difference after {count} bytes");
        count += bytes;
    }
}

#[test]
fn a_gibibyte_of_random_bytes_arrives_as_it_was_sent() {
    let broker = Broker::new("/bin/cat\n").start();
    let (in_read, in_write) = std::io::pipe().expect("a pipe can be made");
    let (out_read, out_write) = std::io::pipe().expect("a pipe can be made");
    let block = random_block();
    let call = broker.request(&["/bin/cat"]).given(0, in_read).given(1, out_write).begin();
    let count = std::thread::scope(|scope| {
        scope.spawn(|| write_stream(in_write, &block));
        read_stream(out_read, &block)
    });
    assert_eq!(count, STREAM_BYTES);
    call.wait().exited(0);
}

#[test]
fn a_call_prints_what_the_command_prints() {
    let broker = Broker::shell();
    broker.sh("echo out; echo err >&2").exited(0).printed("out\n").complained("err\n").audited([
        "start resolved=/bin/sh scope=off",
        "exit status=0 duration_ms !signal !timed_out !hangup",
    ]);
}

#[test]
fn bytes_of_every_value_pass_both_ways() {
    let broker = Broker::new("/bin/cat\n").start();
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let answer = broker.request(&["/bin/cat"]).stdin(bytes.clone()).run().exited(0);
    assert!(answer.stdout == bytes, "{} bytes of {}", answer.stdout.len(), bytes.len());
}

#[test]
fn every_exit_code_is_the_callers() {
    let broker = Broker::shell();
    for code in 0..=255 {
        broker
            .sh(&format!("exit {code}"))
            .exited(code)
            .audited(["start", &*format!("exit status={code} !signal")]);
    }
}

#[test]
fn death_by_each_signal_is_told() {
    let broker = Broker::shell();
    let harmless = [Signal::SIGCHLD, Signal::SIGCONT, Signal::SIGURG, Signal::SIGWINCH];
    let stopping = [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
    let deadly = Signal::iterator().filter(|signal| !harmless.contains(signal) && !stopping.contains(signal));
    let real_time = [34, 35, 50, 64];
    for number in deadly.map(|signal| signal as i32).chain(real_time) {
        let exit = format!("exit status={} signal={number}", 128 + number);
        broker
            .sh(&format!("kill -{number} $$; echo alive"))
            .exited(128 + number)
            .printed("")
            .audited(["start", &*exit]);
    }
}

#[test]
fn a_command_that_closes_its_stdout_early_goes_on() {
    let broker = Broker::shell();
    let mut call =
        broker.request(&["/bin/sh", "-c", "echo first; exec >&- 2>&-; read go; exit 5"]).stdin_open().begin();
    assert_eq!(call.line(), "first");
    call.outputs_end();
    assert!(!call.is_answered());
    call.write(b"go\n");
    call.wait().exited(5);
}

#[test]
fn a_command_that_does_not_read_its_stdin_ends_all_the_same() {
    let broker = Broker::new("/bin/echo done\n").start();
    broker.request(&["/bin/echo", "done"]).stdin(vec![b'x'; 1 << 20]).run().exited(0).printed("done\n");
}

#[test]
fn a_caller_that_closes_its_stdin_early_is_an_end_of_file() {
    let broker = Broker::shell();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; wc -c"]).stdin_open().begin();
    call.line();
    call.write(b"12345");
    call.close_stdin();
    call.wait().exited(0).printed("5\n");
}

#[test]
fn a_caller_that_closes_its_stdout_early_is_a_broken_pipe() {
    let broker = Broker::new(&format!("{SHELL}  timeout = 20s\n")).start();
    let mut call = broker.begin_sh("echo up; while echo more; do :; done 2>/dev/null; exit 9");
    call.line();
    call.close_stdout();
    call.wait().died_of(Signal::SIGPIPE).took(Duration::ZERO, Duration::from_secs(10));
}

#[test]
fn one_pipe_may_be_stdout_and_stderr() {
    let broker = Broker::shell();
    let (read, write) = std::io::pipe().expect("a pipe can be made");
    let other = write.try_clone().expect("a pipe can be duplicated");
    let call = broker
        .request(&["/bin/sh", "-c", "echo a; echo b >&2; echo c"])
        .given(1, write)
        .given(2, other)
        .begin();
    call.wait().exited(0);
    assert_eq!(std::io::read_to_string(read).expect("a pipe can be read"), "a\nb\nc\n");
}

#[test]
fn a_terminal_is_passed_on_but_does_not_control() {
    if !needs("script", "bsdutils") {
        return;
    }
    let broker = Broker::shell();
    let script =
        "test -t 0 && test -t 1 && test -t 2 && echo terminal; (: </dev/tty) 2>/dev/null || echo not mine";
    let inner = format!(
        "exec {} {} /bin/sh -c '{script}'",
        env!("CARGO_BIN_EXE_sluicify"),
        broker.socket().to_str().expect("a test's path is UTF-8")
    );
    let output = Command::new("timeout").args(["60", "script", "-qefc", &inner, "/dev/null"]).output();
    let output = output.expect("coreutils are installed");
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert_eq!(text, "terminal\nnot mine\n", "{output:?}{}", broker.transcript(0));
}

#[test]
fn a_refused_call_touches_none_of_the_callers_stdio() {
    let broker = Broker::new("/bin/echo a\n").start();
    broker.request(&["/bin/echo", "b"]).stdin("in").run().refused(Status::NO_RULE).printed("").complained("");
}
