//! The caller's programs: what `sluicify` exits with and says.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, listen, recv, send, socket,
};

use crate::harness::{
    Broker, Ended, Process, SHELL, SOON, TempDir, needs_bubblewrap, needs_root, run, sluicify, sluicify_bin,
};

/// `sluicify` through this broker.
fn through(broker: &Broker, words: &[&str]) -> Ended {
    let socket = broker.socket().to_string_lossy().into_owned();
    sluicify([&[&*socket], words].concat())
}

fn sh(broker: &Broker, script: &str) -> Ended {
    through(broker, &["/bin/sh", "-c", script])
}

#[test]
fn it_is_the_command_to_its_caller() {
    let broker = Broker::shell();
    sh(&broker, "echo out; echo err >&2; exit 3").exited(3).printed("out\n").complained(&["err"]);
    sh(&broker, "exit 0").exited(0).printed("");
    sh(&broker, "kill -TERM $$").exited(143);
    sh(&broker, "exit 126").exited(126);
    sh(&broker, "exit 127").exited(127);
    sh(&broker, "exit 255").exited(255);
}

#[test]
fn words_after_the_socket_are_the_commands() {
    let broker = Broker::new("/bin/echo #words...\n  words = .*\n  allow_dash = words\n").start();
    through(&broker, &["/bin/echo", "--help", "--list", "--version", "--"])
        .exited(0)
        .printed("--help --list --version --\n");
}

#[test]
fn dashes_after_the_socket_are_not_the_program() {
    let broker = Broker::new("/bin/echo #words...\n  words = .*\n  allow_dash = words\n").start();
    through(&broker, &["--", "/bin/echo", "--", "a"]).exited(0).printed("-- a\n");
    through(&broker, &["--", "--"]).exited(129).complained(&["no rule allows: -- (call 2"]);
}

#[test]
fn a_forgotten_socket_is_said_to_be_one() {
    sluicify(["git", "push"])
        .exited(125)
        .complained(&["the first argument is the broker's socket", "SOCKET git"]);
    sluicify([""; 0]).exited(2).complained(&["missing SOCKET and CMD"]);
    sluicify(["--list", "agent"]).exited(125).complained(&["a gate's is $XDG_RUNTIME_DIR/sluice/agent/sock"]);
    let unit = "/run/sluice/nobody-has-this-name/sock";
    let is_booted = Path::new("/run/systemd/system").is_dir();
    let want = if is_booted { "systemctl status sluice@nobody-has-this-name.socket" } else { "no directory" };
    sluicify([unit, "true"]).exited(125).complained(&[want]);
    sluicify(["/sluice/agent/sock", "true"]).exited(125).complained(&["export XDG_RUNTIME_DIR="]);
}

#[test]
fn a_refusal_is_one_line_that_says_what_to_do() {
    let broker = Broker::new("/bin/echo greet #name\n  name = [a-z]+\n").start();
    through(&broker, &["/bin/echo", "greet", "Bob"])
        .exited(129)
        .printed("")
        .complained(&["no rule", "--list"]);
    through(&broker, &["/bin/nope"]).exited(129).complained(&["no rule", "/bin/nope"]);
}

#[test]
fn a_timeout_exits_as_timeout_does() {
    let broker = Broker::new(&format!("{SHELL}  timeout = 200ms\n")).start();
    sh(&broker, "sleep 60").exited(124).complained(&["time"]);
}

#[test]
fn what_could_not_start_is_no_exit_of_a_command() {
    let rules = "/bin/pwd\n  cwd = @DIR@/gone\n\n/nonexistent/program\n";
    let broker = Broker::new(rules).start();
    through(&broker, &["/bin/pwd"]).exited(132).complained(&["could not be started"]);
    through(&broker, &["/nonexistent/program"]).exited(132).complained(&["could not be started"]);
}

#[test]
fn a_broken_audit_has_its_own_exit() {
    let broker = Broker::new("/bin/echo a\n").start();
    fs::rename(broker.manifest_path(), broker.dir().join("away")).expect("an own file can be renamed");
    through(&broker, &["/bin/echo", "a"]).exited(134).printed("").complained(&["record", "AUDIT"]);
    broker.hup();
}

#[test]
fn without_a_broker_it_says_so() {
    let dir = TempDir::new();
    let socket = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let missing = socket("none.sock");
    sluicify([&*missing, "true"]).said(&[&missing, "no "]).complained(&[]);
    dir.write("file.sock", "");
    let refused = sluicify([&*socket("file.sock"), "true"]).complained(&["file.sock"]);
    assert_ne!(refused.code(), Some(0));
    let long = format!("/tmp/{}", "x".repeat(200));
    assert_ne!(sluicify([&*long, "true"]).complained(&["107 bytes"]).code(), Some(0));
}

/// A socket at which nobody accepts yet, as systemd's is while its broker does not start.
fn unserved(dir: &TempDir) -> OwnedFd {
    let (kind, flags) = (SockType::SeqPacket, SockFlag::empty());
    let listener = socket(AddressFamily::Unix, kind, flags, None).expect("unix sockets can be had");
    let path = UnixAddr::new(&dir.join("sock")).expect("a short path");
    bind(listener.as_raw_fd(), &path).expect("an own directory");
    listen(&listener, Backlog::new(8).expect("a small number")).expect("it listens");
    listener
}

#[test]
fn a_request_that_nobody_takes_is_said_once_and_waited_for() {
    let dir = TempDir::new();
    let listener = unserved(&dir);
    let path = dir.join("sock").to_string_lossy().into_owned();
    let mut child = Command::new(sluicify_bin());
    child.args([&path, "git", "push"]).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut client = Process::new(child.spawn().expect("it can be started"));
    let line = client.stderr.line_with("still waiting: nobody has taken the request on ", 0, SOON);
    let line = line.unwrap_or_else(|| panic!("it says nothing: {}", client.stderr.text()));
    assert!(line.contains("outside, systemctl --user status 'sluice*' says why"), "{line}");
    // The request is still there. A broker of version 1 is asked once more, and its answer is the command's.
    for (version, answer) in [(2, b"XCLS\x01\0\0\0\xfe\xff\xff\xff"), (1, b"XCLS\x01\0\0\0\x07\0\0\0")] {
        let taken = accept(listener.as_raw_fd()).expect("it waits to be accepted");
        let mut request = [0; 64];
        assert!(recv(taken, &mut request, MsgFlags::empty()).is_ok_and(|length| length > 12));
        assert_eq!(request[4], version);
        send(taken, answer, MsgFlags::empty()).expect("it listens");
    }
    assert_eq!(client.exit_code(), Some(7));
    assert_eq!(client.stderr.text().lines().count(), 1, "{}", client.stderr.text());
}

#[test]
fn a_command_that_runs_is_waited_for_in_silence() {
    let broker = Broker::shell();
    let ended = sh(&broker, "sleep 6").exited(0);
    assert_eq!(ended.stderr(), "");
}

#[test]
fn without_permission_it_says_so() {
    if !needs_root() {
        return;
    }
    let broker = Broker::shell();
    let dir = TempDir::new();
    let client = dir.join("sluicify");
    // By another process: what this one has open to write, a child of another test would hold open, and busy.
    run("cp".into(), [Path::new(env!("CARGO_BIN_EXE_sluicify")), &client], b"").exited(0);
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("own directory");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&client)
        .arg(broker.socket());
    let output = command.arg("true").output().expect("util-linux is installed");
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(
        !output.status.success() && said.contains("permission") && said.lines().count() == 1,
        "{output:?}"
    );
}

#[test]
fn a_listing_is_what_may_be_asked() {
    let broker = Broker::new("; Says a word.\n/bin/echo #word\n  word = [a-z]+\n").start();
    let socket = broker.socket().to_string_lossy().into_owned();
    sluicify(["--list", &socket]).exited(0).printed(&broker.listing());
}

#[test]
fn it_says_its_version_and_its_usage() {
    sluicify(["--version"]).exited(0).printed(concat!("sluicify ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = sluicify(["--help"]).exited(0).said(&["sluicify SOCKET", "--list", "--version"]);
    assert_eq!(help.stderr(), "");
}

#[test]
fn usage_errors_are_told_from_commands() {
    for words in [&[][..], &["/x.sock"], &["--list"], &["--nonsense"], &["--list", "/x.sock", "more"]] {
        let ended = sluicify(words);
        assert!(!ended.stderr().is_empty(), "{ended}");
        assert_ne!(ended.code(), Some(0), "{ended}");
    }
}

#[test]
fn a_broker_that_dies_in_the_middle_is_said() {
    let mut broker = Broker::shell();
    let socket = broker.socket().to_string_lossy().into_owned();
    let caller = std::thread::spawn(move || sluicify([&*socket, "/bin/sh", "-c", "exec sleep 60"]));
    broker.record("start");
    broker.kill();
    let ended = caller.join().expect("the caller does not panic").complained(&["broker"]);
    assert_ne!(ended.code(), Some(0), "{ended}");
}

#[test]
fn a_stdin_that_is_closed_is_no_obstacle() {
    let broker = Broker::shell();
    let script = format!(
        "exec {} {} /bin/sh -c 'echo fine' <&-",
        env!("CARGO_BIN_EXE_sluicify"),
        broker.socket().display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"fine\n"[..]), "{output:?}");
}

#[test]
fn a_real_sandbox_can_call_through() {
    let sandbox =
        ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--unshare-all"];
    if !needs_bubblewrap(&sandbox) {
        return;
    }
    let broker = Broker::new("/bin/sh -c #script\n  allow_any = script\n").start();
    let socket = broker.socket();
    let mut command = Command::new("bwrap");
    command.args(sandbox).arg("--bind").args([&socket, &socket]);
    let client = env!("CARGO_BIN_EXE_sluicify");
    command.args(["--ro-bind", client, "/tmp/sluicify", "--", "/tmp/sluicify"]).arg(&socket);
    let output = command.args(["/bin/sh", "-c", "ls -d $0; readlink /proc/self/ns/pid; exit 5"]).output();
    let output = output.expect("bwrap is installed");
    let ours = fs::read_link("/proc/self/ns/pid").expect("there is /proc");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(5) && text.contains(&*ours.to_string_lossy()), "{output:?}");
}
