//! `sluicify` in version 2: signals, the outcome for programs, the broker of the environment, links, and the
//! connection for a sandbox.

use std::fs;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen};
use nix::unistd::Pid as NixPid;

use crate::harness::{
    Broker, Ended, Pid, Process, SHELL, SOON, Stderr, TempDir, found, needs_bubblewrap, run, sluicify,
    sluicify_bin,
};

/// A caller that runs on while the test goes on.
struct Caller {
    child: Child,
    said: Stderr,
}

impl Caller {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let said = Stderr::follow(child.stdout.take().expect("a pipe"));
        Self { child, said }
    }

    fn sh(broker: &Broker, script: &str) -> Self {
        let mut command = Command::new(sluicify_bin());
        command.arg(broker.socket()).args(["/bin/sh", "-c", script]);
        Self::start(command)
    }

    #[track_caller]
    fn prints(&self, line: &str) {
        assert!(self.said.line_with(line, 0, SOON).is_some(), "no {line:?} in {:?}", self.said.text());
    }

    fn signal(&self, signal: Signal) {
        let pid = NixPid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, signal).expect("it is there");
    }

    #[track_caller]
    fn exits(&mut self, code: i32) {
        let ended = found(SOON, || self.child.try_wait().expect("a child of ours"));
        assert_eq!(ended.and_then(|status| status.code()), Some(code), "{}", self.said.text());
    }
}

#[test]
fn a_signal_reaches_the_command_and_not_the_caller() {
    let broker = Broker::shell();
    let script = "trap 'echo usr1' USR1; trap 'echo int' INT; trap 'echo quit; exit 5' QUIT; echo ready; \
                  while :; do sleep 0.05; done";
    let mut caller = Caller::sh(&broker, script);
    caller.prints("ready");
    for (signal, line) in [(Signal::SIGUSR1, "usr1"), (Signal::SIGINT, "int"), (Signal::SIGQUIT, "quit")] {
        caller.signal(signal);
        caller.prints(line);
    }
    caller.exits(5);
}

#[test]
fn a_command_that_dies_of_a_forwarded_signal_is_said_to() {
    let broker = Broker::shell();
    let mut caller = Caller::sh(&broker, "echo ready; exec sleep 60");
    caller.prints("ready");
    caller.signal(Signal::SIGINT);
    caller.exits(130);
    broker.record("exit");
}

#[test]
fn term_and_hup_hang_the_call_up_and_its_end_is_waited_for() {
    let broker = Broker::shell();
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut caller = Caller::sh(&broker, "trap 'echo term; exit 5' TERM; echo ready; sleep 60 & wait");
        caller.prints("ready");
        caller.signal(signal);
        caller.prints("term");
        caller.exits(5);
        broker.record("exit hangup=true status=5");
    }
    let mut caller = Caller::sh(&broker, "trap '' TERM; echo ready; sleep 60; sleep 60");
    caller.prints("ready");
    caller.signal(Signal::SIGTERM);
    caller.exits(137);
    broker.record("exit hangup=true signal=9");
}

#[test]
fn a_call_that_its_rule_keeps_outlives_a_caller_that_was_told_to_end() {
    let broker = Broker::new(&format!("{SHELL}  on_hangup = keep\n")).start();
    let go = TempDir::new();
    let script =
        format!("echo ready; until [ -e {} ]; do sleep 0.05; done; exit 7", go.path().join("go").display());
    let mut callers = [(); 2].map(|()| Caller::sh(&broker, &script));
    callers.iter().for_each(|caller| caller.prints("ready"));
    callers.iter().for_each(|caller| caller.signal(Signal::SIGHUP));
    // A second signal ends the caller at once; without one it stays for a moment.
    callers[1].signal(Signal::SIGTERM);
    for (caller, signal) in callers.iter_mut().zip([Signal::SIGHUP, Signal::SIGTERM]) {
        let ended = found(SOON, || caller.child.try_wait().expect("a child of ours"));
        assert_eq!(ended.and_then(|status| status.signal()), Some(signal as i32));
    }
    fs::write(go.path().join("go"), "").expect("it is written");
    (0..2).for_each(|_| drop(broker.record("exit status=7 !hangup")));
}

#[test]
fn a_sandbox_that_is_killed_takes_its_call_along() {
    let sandbox = ["--die-with-parent", "--unshare-all", "--dev-bind", "/", "/"];
    if !needs_bubblewrap(&sandbox) {
        return;
    }
    let broker = Broker::shell();
    let mut command = Command::new("bwrap");
    command.args(sandbox).arg(sluicify_bin()).arg(broker.socket()).args([
        "/bin/sh",
        "-c",
        "echo ready; exec sleep 60",
    ]);
    let mut caller = Caller::start(command);
    caller.prints("ready");
    caller.child.kill().expect("it is there");
    broker.record("exit hangup=true");
    caller.child.wait().expect("it ends");
}

#[test]
fn a_signal_that_was_ignored_stays_so() {
    let broker = Broker::shell();
    let mut command = Command::new("/bin/sh");
    let script = "trap '' HUP; exec \"$0\" \"$@\"";
    command.args(["-c", script]).arg(sluicify_bin()).arg(broker.socket());
    command.args([
        "/bin/sh",
        "-c",
        "trap 'echo hup' HUP; trap 'exit 3' USR1; echo ready; while :; do sleep 0.05; done",
    ]);
    let mut caller = Caller::start(command);
    caller.prints("ready");
    caller.signal(Signal::SIGHUP);
    caller.signal(Signal::SIGUSR1);
    caller.exits(3);
    assert_eq!(caller.said.whole(SOON), "ready");
}

#[test]
fn a_caller_that_is_killed_takes_its_command_along() {
    let broker = Broker::shell();
    let caller = Caller::sh(&broker, "echo ready; exec sleep 60");
    caller.prints("ready");
    caller.signal(Signal::SIGKILL);
    let record = broker.record("exit");
    assert!(format!("{record:?}").contains("hangup"), "{record:?}");
    drop(caller.child.wait_with_output());
}

#[test]
fn a_caller_that_waits_for_its_place_ends_by_a_signal() {
    let broker = Broker::new(&format!("{SHELL}  max_calls = 1\n")).start();
    let mut first = Caller::sh(&broker, "echo ready; exec sleep 60");
    first.prints("ready");
    let mut command = Command::new(sluicify_bin());
    command.arg(broker.socket()).args(["/bin/sh", "-c", "echo never"]).stderr(Stdio::piped());
    let mut second = Process::new(command.stdin(Stdio::null()).spawn().expect("it starts"));
    let line = second.stderr.line_with("waiting: 1 calls", 0, SOON);
    assert!(line.is_some(), "{}", second.stderr.text());
    kill(NixPid::from_raw(i32::try_from(second.child.id()).expect("a pid")), Signal::SIGTERM).expect("there");
    assert_eq!(second.exit_code(), Some(143), "{}", second.stderr.text());
    first.signal(Signal::SIGTERM);
    first.exits(143);
}

#[test]
fn a_caller_that_waits_and_is_told_to_end_says_so_and_no_more() {
    let broker = Broker::new(&format!("{SHELL}  max_calls = 1\n")).start();
    let mut first = Caller::sh(&broker, "echo ready; exec sleep 60");
    first.prints("ready");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" --status-fd 5 \"$1\" /bin/sh -c 'echo never' 5>&1"]);
    let mut second = Caller::start({
        command.arg(sluicify_bin()).arg(broker.socket());
        command
    });
    // An adapter has the request; that it waits is said a second later.
    let is_adapter = |pid: &Pid| {
        fs::read_to_string(format!("/proc/{}/comm", pid.0)).is_ok_and(|name| name == "sluice-adapter\n")
    };
    let adapters = || broker.pid().children().iter().filter(|pid| is_adapter(pid)).count();
    assert!(found(SOON, || (adapters() == 2).then_some(())).is_some());
    second.signal(Signal::SIGTERM);
    let ended = found(SOON, || second.child.try_wait().expect("a child of ours"));
    assert_eq!(
        ended.and_then(|status| status.signal()),
        Some(Signal::SIGTERM as i32),
        "{}",
        second.said.text()
    );
    let said = second.said.whole(SOON);
    assert!(said.starts_with(r#"{"outcome":"error","code":143,"#) && said.lines().count() == 1, "{said}");
    broker.record("reject reason=hangup");
    first.signal(Signal::SIGTERM);
    first.exits(143);
}

#[test]
fn the_outcome_is_told_to_programs() {
    let rules = format!("{SHELL}  timeout = 300ms\n");
    let broker = Broker::new(&rules).start();
    let outcome = |words: &[&str]| -> String {
        let script = "exec 5>&1 1>&2; exec \"$@\"";
        let socket = broker.socket().to_string_lossy().into_owned();
        let client = sluicify_bin().to_string_lossy().into_owned();
        let own = ["-c", script, "sh", &*client, "--status-fd", "5", &*socket];
        run("/bin/sh".into(), own.iter().chain(words), b"").stdout()
    };
    let sh = |script| outcome(&["/bin/sh", "-c", script]);
    let (none, numbered) =
        (r#""status":null,"call":"#, |text: String| text.split("\"call\":").next().map(str::to_owned));
    assert_eq!(
        sh("exit 7"),
        format!("{{\"outcome\":\"exited\",\"code\":7,\"signal\":null,{none}1,\"reason\":null}}\n")
    );
    assert_eq!(
        sh("kill -9 $$"),
        format!("{{\"outcome\":\"signaled\",\"code\":137,\"signal\":9,{none}2,\"reason\":null}}\n")
    );
    let timeout = numbered(sh("sleep 60"));
    assert_eq!(
        timeout.as_deref(),
        Some(r#"{"outcome":"timeout","code":124,"signal":null,"status":"TIMEOUT","#)
    );
    let refused = outcome(&["/bin/nope"]);
    assert!(
        refused.starts_with(
            r#"{"outcome":"refused","code":129,"signal":null,"status":"NO_RULE","call":4,"reason":""#
        ),
        "{refused}"
    );
    let word = "x".repeat(20_000);
    assert!(outcome(&[&word]).starts_with(r#"{"outcome":"error","code":2,"#));
}

#[test]
fn a_descriptor_for_the_outcome_has_to_be_open() {
    let broker = Broker::shell();
    let socket = broker.socket().to_string_lossy().into_owned();
    for number in ["77", "x", "-1", ""] {
        let ended = sluicify(["--status-fd", number, &*socket, "/bin/sh", "-c", "echo ran"]);
        ended.exited(2).printed("").complained(&["--status-fd is", "nothing was sent"]);
    }
}

/// `sluicify` in this environment.
fn with_environment(variables: &[(&str, &Path)], arguments: &[&str]) -> Ended {
    let pairs = variables.iter().map(|(name, value)| format!("{name}={}", value.display()));
    let client = sluicify_bin().to_string_lossy().into_owned();
    let own = ["-u", "SLUICE_FD", "-u", "SLUICE_SOCKET"].into_iter().map(str::to_owned);
    run(
        "env".into(),
        own.chain(pairs).chain([client]).chain(arguments.iter().map(|word| (*word).to_owned())),
        b"",
    )
}

#[test]
fn a_dash_is_the_broker_of_the_environment() {
    let broker = Broker::new("/bin/echo #word\n  word = [a-z]+\n").start();
    let socket = broker.socket();
    with_environment(&[("SLUICE_SOCKET", &socket)], &["-", "/bin/echo", "hi"]).exited(0).printed("hi\n");
    with_environment(&[("SLUICE_SOCKET", &socket)], &["--list", "-"]).exited(0).printed(&broker.listing());
    with_environment(&[], &["-", "true"]).exited(125).complained(&["neither $SLUICE_FD nor $SLUICE_SOCKET"]);
    let dead = Path::new("987");
    with_environment(&[("SLUICE_FD", dead)], &["-", "true"])
        .exited(125)
        .complained(&["no such descriptor is open"]);
    with_environment(&[("SLUICE_FD", dead), ("SLUICE_SOCKET", &socket)], &["-", "/bin/echo", "hi"])
        .exited(0)
        .printed("hi\n");
    let nowhere = Path::new("/nowhere/sock");
    with_environment(&[("SLUICE_FD", dead), ("SLUICE_SOCKET", nowhere)], &["-", "true"])
        .exited(125)
        .complained(&["no such descriptor is open", "by $SLUICE_SOCKET: no directory /nowhere"]);
    let gate = TempDir::new();
    let said = with_environment(&[("SLUICE_FD", dead), ("SLUICE_SOCKET", gate.path())], &["-", "true"]);
    let said = said.exited(125).stderr();
    assert_eq!(said.matches("no such descriptor is open").count(), 1, "{said}");
}

#[test]
fn a_listing_comes_as_json() {
    let broker = Broker::new("; Says a word.\n/bin/echo #word\n  word = [a-z]+\n").start();
    let socket = broker.socket().to_string_lossy().into_owned();
    let listed = sluicify(["--list", &*socket, "--json"]).exited(0).stdout();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
    assert_eq!(listed["rules"][0]["words"][0], "/bin/echo");
}

#[test]
fn a_connection_that_was_left_open_carries_many_calls() {
    let broker = Broker::shell();
    let socket = broker.socket().to_string_lossy().into_owned();
    let client = sluicify_bin().to_string_lossy().into_owned();
    let script = "test \"$SLUICE_FD\" -ge 9 || exit 99; \
                  for i in 1 2 3 4 5 6 7 8; do \"$0\" - /bin/sh -c \"echo $i; exit $i\" & done; wait; \
                  \"$0\" --list - >/dev/null || exit 98; \"$0\" - /bin/sh -c 'exit 7'";
    let ended = sluicify(["--with-fd", &*socket, "--", "/bin/sh", "-c", script, &*client]).exited(7);
    let mut lines: Vec<_> = ended.stdout().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[test]
fn a_connection_whose_broker_is_gone_is_said_to_be_dead() {
    let mut broker = Broker::shell();
    let (socket, dir) = (broker.socket().to_string_lossy().into_owned(), TempDir::new());
    let client = sluicify_bin().to_string_lossy().into_owned();
    let (connected, go) = (dir.join("connected"), dir.join("go"));
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.02; done; exec \"$0\" - /bin/sh -c true",
        connected.display(),
        go.display()
    );
    let caller = std::thread::spawn(move || {
        sluicify(["--with-fd", &*socket, "--", "/bin/sh", "-c", &*script, &*client])
    });
    assert!(found(SOON, || connected.exists().then_some(())).is_some());
    broker.stop();
    fs::write(&go, "").expect("an own directory");
    let ended = caller.join().expect("no panic").exited(125);
    ended.complained(&["($SLUICE_FD) has closed the connection", "nothing ran"]);
    broker.start_again();
}

#[test]
fn a_program_that_is_not_there_is_told_from_a_broker_that_is_not() {
    let broker = Broker::shell();
    let socket = broker.socket().to_string_lossy().into_owned();
    sluicify(["--with-fd", &*socket, "--", "/nowhere/program"])
        .exited(127)
        .complained(&["cannot start /nowhere/program"]);
    sluicify(["--with-fd", "/nowhere/sock", "--", "true"]).exited(125).complained(&["nothing was started"]);
}

/// A directory with a link of this name to `sluicify`.
fn linked(dir: &TempDir, name: &str) -> PathBuf {
    let shims = dir.mkdir(&format!("shims-{name}"), 0o755);
    symlink(sluicify_bin(), shims.join(name)).expect("an own directory");
    shims
}

#[test]
fn a_link_calls_what_it_is_named_like() {
    let broker = Broker::new("echo #words...\n  words = .*\n  allow_dash = words\n").start();
    let dir = TempDir::new();
    let link = linked(&dir, "echo").join("echo");
    let socket = format!("SLUICE_SOCKET={}", broker.socket().display());
    run("env".into(), [&*socket, &*link.to_string_lossy(), "--list", "--", "x"], b"")
        .exited(0)
        .printed("--list -- x\n");
    run("env".into(), ["-u", "SLUICE_SOCKET", &*link.to_string_lossy(), "x"], b"")
        .exited(125)
        .complained(&["neither $SLUICE_FD nor $SLUICE_SOCKET"]);
}

#[test]
fn shims_are_what_the_socket_allows() {
    let broker = Broker::new("echo #word\n  word = [a-z]+\n\n/bin/cat\n").start();
    let dir = TempDir::new();
    let shims = dir.join("shims").to_string_lossy().into_owned();
    let socket = broker.socket().to_string_lossy().into_owned();
    sluicify(["shims", &*shims, &*socket])
        .exited(0)
        .printed("echo: made\n/bin/cat: no link, it is called by its path: a link gives a name alone\n");
    let script = format!("PATH={shims}:$PATH; SLUICE_SOCKET={socket} exec \"$0\" hi");
    run("sh".into(), ["-c", &*script, "echo"], b"").exited(0).printed("hi\n");
    fs::remove_file(Path::new(&shims).join("echo")).expect("an own directory");
    fs::write(Path::new(&shims).join("echo"), "mine").expect("an own directory");
    sluicify(["shims", &*shims, &*socket]).exited(1).said(&["echo: left alone"]);
}

#[test]
fn a_stand_in_becomes_the_real_program_with_or_without_a_gate() {
    let broker = Broker::shell();
    let (dir, client) = (TempDir::new(), sluicify_bin().to_string_lossy().into_owned());
    let (links, real, copies) = (linked(&dir, "bwrap"), dir.mkdir("real", 0o755), dir.mkdir("copies", 0o755));
    let script = format!(
        "#!/bin/sh\necho \"$@\" fd=${{SLUICE_FD:+yes}}\n[ -z \"$SLUICE_FD\" ] || exec {client} - /bin/sh -c 'exit 7'\n"
    );
    let program = dir.program("program", &script);
    fs::rename(program, real.join("bwrap")).expect("an own directory");
    // By another process, for the reason in `client.rs`.
    run("cp".into(), [Path::new(&client), &copies.join("bwrap")], b"").exited(0);
    let path = format!("PATH={}:{}:{}:/usr/bin:/bin", links.display(), copies.display(), real.display());
    let bwrap = |socket: &str| {
        let own = ["-u", "SLUICE_FD", &*path, &*format!("SLUICE_SOCKET={socket}"), "bwrap", "--ro-bind", "/"]
            .map(str::to_owned);
        run("env".into(), own, b"")
    };
    bwrap(&broker.socket().to_string_lossy()).exited(7).printed("--ro-bind / fd=yes\n");
    let ended = bwrap("/nowhere/sock").exited(0).printed("--ro-bind / fd=\n");
    assert_eq!(ended.stderr(), "");
    let alone = format!("PATH={}:{}", links.display(), copies.display());
    run("env".into(), [&*alone, &*links.join("bwrap").to_string_lossy()], b"")
        .exited(127)
        .complained(&["other than links to sluicify"]);
    // An empty directory in PATH is the working directory.
    let here = format!(
        "cd {} && unset SLUICE_SOCKET SLUICE_FD && PATH={}: exec bwrap x",
        real.display(),
        links.display()
    );
    run("sh".into(), ["-c", &*here], b"").exited(0).printed("x fd=\n");
    let path = format!("PATH={}:{}", links.display(), real.display());
    let bwrap = links.join("bwrap").to_string_lossy().into_owned();
    run("env".into(), ["-u", "SLUICE_SOCKET", "-u", "SLUICE_FD", "SLUICE_VERBOSE=1", &*path, &*bwrap], b"")
        .exited(0)
        .complained(&["this sandbox has no gate: $SLUICE_SOCKET is not set"]);
}

#[test]
fn a_stand_in_does_not_wait_for_a_socket_whose_backlog_is_full() {
    let dir = TempDir::new();
    let (links, real, path) = (linked(&dir, "bwrap"), dir.mkdir("real", 0o755), dir.join("sock"));
    fs::rename(dir.program("program", "#!/bin/sh\necho began\n"), real.join("bwrap"))
        .expect("an own directory");
    let socket = || {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket")
    };
    let (listener, address) = (socket(), UnixAddr::new(&path).expect("a short path"));
    bind(listener.as_raw_fd(), &address).expect("an own directory");
    listen(&listener, Backlog::new(1).expect("a small number")).expect("it listens");
    let mut waiting = vec![socket()];
    while connect(waiting[waiting.len() - 1].as_raw_fd(), &address).is_ok() {
        waiting.push(socket());
    }
    let path = [format!("PATH={}:{}:/usr/bin:/bin", links.display(), real.display())];
    let socket = format!("SLUICE_SOCKET={}", dir.join("sock").display());
    run("env".into(), path.into_iter().chain([socket, "bwrap".to_owned()]), b"").exited(0).printed("began\n");
}

#[test]
fn a_sandbox_that_hides_the_socket_is_reached_by_a_descriptor() {
    let sandbox =
        ["--ro-bind", "/", "/", "--tmpfs", "/tmp", "--dev", "/dev", "--proc", "/proc", "--unshare-all"];
    if !needs_bubblewrap(&sandbox) {
        return;
    }
    let broker = Broker::shell();
    let socket = broker.socket().to_string_lossy().into_owned();
    let client = sluicify_bin().to_string_lossy().into_owned();
    let inside =
        ["--ro-bind", &*client, "/tmp/sluicify", "/tmp/sluicify", "-", "/bin/sh", "-c", "cat; exit 7"];
    let words = ["--with-fd", &*socket, "--", "bwrap"].into_iter().chain(sandbox).chain(inside);
    run(sluicify_bin(), words, b"through").exited(7).printed("through");
}

#[test]
fn a_full_table_of_descriptors_in_flight_does_not_stop_a_caller_with_a_higher_hard_limit() {
    let broker = Broker::shell();
    let script = format!(
        "ulimit -Sn 16; exec {} {} /bin/sh -c 'exit 7'",
        sluicify_bin().display(),
        broker.socket().display()
    );
    run("sh".into(), ["-c", &*script], b"").exited(7);
}

#[test]
fn what_is_read_of_a_pipe_is_whole() {
    let broker = Broker::shell();
    let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mut command = Command::new(sluicify_bin());
    command.arg(broker.socket()).args(["/bin/sh", "-c", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let sent = bytes.clone();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &sent));
    let mut got = Vec::new();
    child.stdout.take().expect("a pipe").read_to_end(&mut got).expect("a pipe can be read");
    feeder.join().expect("no panic").expect("all is taken");
    assert!(child.wait().expect("a child").success() && got == bytes);
}
