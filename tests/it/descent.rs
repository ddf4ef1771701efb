//! Whose process is whose: only what descends from a call's command is that call's, however many end in one
//! moment, and whatever this process had for children before it became a broker.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Broker, Pid, SHELL, SOON, found, needs, within};

/// A rule that ends what its commands leave, and one that lets it go on.
const BOTH: &str = "/bin/sh -c #script
  allow_any = script

/bin/bash -c #script
  allow_any = script
  background = keep
";

/// Is a child of the broker's before that is one: a session of its own, which leaves another when it is told
/// to.
const FOREIGN: &str = "setsid sh -c 'echo $$ > @DIR@/first; while test ! -e @DIR@/go; do sleep 0.05; done; \
    setsid sh -c \"echo \\$\\$ > @DIR@/second; exec sleep 300\" & sleep 0.2' & \
    while test ! -s @DIR@/first; do sleep 0.01; done; exec \"$@\"";

/// Lets any process of its user trace it, and ends when it is told to, traced or not.
const TRACEE: &str = "import ctypes, os
ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(2**64 - 1), 0, 0, 0)  # PR_SET_PTRACER, where there is Yama
print(os.getpid(), flush=True)
input()
os._exit(7)
";

/// Traces a process (PTRACE_SEIZE), whose end its parent does not see before this one looks. It never does.
const TRACER: &str = "import ctypes, os, signal, sys
seized = ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0)
print(seized, flush=True)
if len(sys.argv) > 2:
    [os.close(number) for number in range(3)]
while True:
    signal.pause()
";

fn read_pid(broker: &Broker, name: &str) -> Pid {
    let path = broker.dir().join(name);
    let read = || fs::read_to_string(&path).ok()?.trim().parse().ok().map(Pid);
    within(SOON, "the file with a pid", read)
}

#[test]
fn what_no_call_started_is_nobodys() {
    let mut broker = Broker::new(BOTH).under(&["sh", "-c", FOREIGN, "sh"]).start();
    let first = read_pid(&broker, "first");
    broker.sh("true").exited(0);
    broker.call(["/bin/bash", "-c", "true"]).exited(0).audited(["start", "exit !keeping"]);
    assert!(first.runs());
    fs::write(broker.dir().join("go"), "").expect("an own directory takes a file");
    let second = read_pid(&broker, "second");
    within(SOON, "the end of the first", || (!first.runs()).then_some(()));
    for _ in 0..5 {
        // What a call leaves is still ended with it.
        broker.sh("setsid sleep 60 >/dev/null 2>&1 & echo $!").exited(0).printed_pid_is_gone();
        broker.call(["/bin/bash", "-c", "true"]).exited(0).audited(["start", "exit !keeping"]);
    }
    assert!(second.runs(), "an orphan of nobody's was ended");
    broker.stop();
    assert!(second.runs(), "it was ended with the broker");
    second.signal(Signal::SIGKILL);
}

#[test]
fn calls_that_end_in_one_moment_keep_and_end_each_their_own() {
    let mut broker = Broker::new(BOTH).start();
    let mut kept = Vec::new();
    for _ in 0..25 {
        let leave = "setsid sleep 300 >/dev/null 2>&1 & echo $!; read go";
        let begin = |shell: &'static str| broker.request(&[shell, "-c", leave]).stdin_open().begin();
        let (mut keeps, mut ends) = (begin("/bin/bash"), begin("/bin/sh"));
        let (goes_on, ended) = (keeps.pid(), ends.pid());
        keeps.write(b"go\n");
        ends.write(b"go\n");
        ends.wait().exited(0);
        keeps.wait().exited(0);
        assert!(goes_on.runs(), "what may go on was ended");
        assert!(!ended.runs(), "what was left goes on");
        kept.push(goes_on);
    }
    assert!(kept.iter().all(|pid| pid.runs()));
    assert_eq!(broker.records_of("exit keeping=true").len(), kept.len());
    broker.stop();
    let gone = || kept.iter().all(|pid| !pid.runs()).then_some(());
    assert!(found(SOON, gone).is_some(), "kept processes outlive the broker");
}

#[test]
fn a_command_that_its_own_child_traces_holds_up_no_other_call() {
    if !needs("python3", "python3") {
        return;
    }
    let mut broker = Broker::new(BOTH).file("tracee", TRACEE).file("tracer", TRACER).start();
    let dir = broker.dir().display().to_string();
    let both = format!("python3 {dir}/tracer $$ own & read seized <&0; exec python3 {dir}/tracee");
    let mut traced = broker.request(&["/bin/sh", "-c", &both]).stdin_open().begin();
    assert_eq!(traced.line(), "0", "nothing is traced");
    traced.write(b"seized\n");
    traced.pid();
    traced.write(b"end\n");
    broker.sh("exit 3").exited(3);
    traced.wait().exited(7).audited(["start", "start", "exit", "exit"]);
    broker.stop();
}

#[test]
fn a_command_that_another_call_traces_holds_up_no_other_call() {
    if !needs("python3", "python3") {
        return;
    }
    let mut broker = Broker::new(BOTH).file("tracee", TRACEE).file("tracer", TRACER).start();
    let script = |name: &str, of: &str| format!("exec python3 {}/{name} {of}", broker.dir().display());
    let mut traced = broker.request(&["/bin/sh", "-c", &script("tracee", "")]).stdin_open().begin();
    let pid = traced.pid();
    let mut tracer = broker.begin_sh(&script("tracer", &pid.0.to_string()));
    assert_eq!(tracer.line(), "0", "nothing is traced");
    traced.write(b"end\n");
    broker.sh("exit 3").exited(3);
    assert!(!traced.is_answered(), "its end cannot be seen yet");
    tracer.hang_up();
    traced.wait().exited(7);
    drop(tracer);
    broker.stop();
}

#[test]
fn a_call_with_a_reaper_is_recorded_as_any_other() {
    let broker = Broker::new(&format!("{SHELL}  background = keep\n  timeout = 2s\n")).start();
    let answer = broker.sh("echo $$").exited(0);
    let pid: u64 = answer.text().trim().parse().expect("a pid");
    assert_eq!(answer.record("start").number("child"), pid);
    broker.sh("exit 7").exited(7);
    broker.sh("kill -SEGV $$").died_of(Signal::SIGSEGV);
    broker.sh("exec sleep 60").refused(crate::harness::Status::TIMEOUT);
    broker.sh("(setsid sleep 60 & echo $!); exec sleep 60").printed_pid_is_gone();
    broker.sh("read pid name state parent group session rest </proc/$$/stat; test $session = $$").exited(0);
}

#[test]
fn a_command_that_kills_or_stops_its_reaper_gains_nothing() {
    let broker = Broker::new(&format!("{SHELL}  timeout = 2s\n")).under(&["sh", "-c", FOREIGN, "sh"]).start();
    let first = read_pid(&broker, "first");
    broker.sh("setsid sleep 60 >/dev/null 2>&1 & echo $!; kill -9 $PPID; sleep 60").printed_pid_is_gone();
    broker.sh("setsid sleep 60 >/dev/null 2>&1 & echo $!; kill -STOP $PPID").printed_pid_is_gone();
    broker.sh("echo on").exited(0).printed("on\n");
    assert!(first.runs());
    first.signal(Signal::SIGKILL);
}
