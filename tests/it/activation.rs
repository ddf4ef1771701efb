//! Where the socket comes from: the broker's own, or one that systemd holds (the real
//! `systemd-socket-activate`).

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::process::{Command, Output, Stdio};

use crate::harness::{Broker, Connection, SHELL, Setup, Status, TempDir, needs, serve, serve_words};

pub(crate) fn activated(names: &[&str]) -> Option<Setup> {
    if !needs("systemd-socket-activate", "systemd") {
        return None;
    }
    Some(Broker::new(SHELL).activated(names))
}

#[test]
fn a_socket_that_systemd_holds_is_served() {
    let Some(setup) = activated(&["agent"]) else { return };
    let broker = setup.start();
    broker.sh("echo hi").exited(0).printed("hi\n").audited(["start socket=agent", "exit status=0"]);
    broker.call(["/bin/nope"]).audited(["reject socket=agent reason=no_rule"]);
}

#[test]
fn every_socket_that_systemd_holds_is_served_under_its_name() {
    let Some(setup) = activated(&["one", "two", "three"]) else { return };
    let broker = setup.start();
    for name in ["three", "one", "two"] {
        let socket = broker.socket_of(name);
        let answer = broker.request(&["/bin/sh", "-c", "true"]).over(&socket).run().exited(0);
        answer.audited([&*format!("start socket={name}"), "exit"]);
    }
}

/// Rules for a socket of this name, recorded where the harness looks.
pub(crate) fn named(setup: Setup, name: &str, rules: &str) -> Setup {
    let rules = format!("defaults:\n  logfile = @DIR@/audit/manifest.jsonl\n\n{rules}\n");
    setup.file(&format!("{name}.rules"), &rules)
}

#[test]
fn each_name_has_its_own_rules_in_a_directory() {
    let Some(setup) = activated(&["one", "two"]) else { return };
    let setup = named(named(setup, "one", "/bin/echo one"), "two", "/bin/echo two");
    let broker = setup.by_name().start();
    for (name, other) in [("one", "two"), ("two", "one")] {
        let socket = broker.socket_of(name);
        broker.request(&["/bin/echo", name]).over(&socket).run().exited(0).printed(&format!("{name}\n"));
        let refused = broker.request(&["/bin/echo", other]).over(&socket).run().refused(Status::NO_RULE);
        refused.audited([&*format!("reject socket={name} reason=no_rule")]);
    }
}

#[test]
fn sockets_may_share_a_rules_file_by_a_link_or_an_include_and_have_manifests_of_their_own() {
    let Some(setup) = activated(&["agent-1", "agent-2"]) else { return };
    let setup = setup.file("agent.rules", "/bin/echo #word\n  word = [a-z]+\n");
    let setup = setup.file("agent-2.rules", "include agent.rules\n").arranged(|dir| {
        symlink("agent.rules", dir.path().join("agent-1.rules")).expect("a link");
    });
    let broker = setup.by_name().start();
    for name in ["agent-1", "agent-2"] {
        broker.request(&["/bin/echo", "hi"]).quick().over(&broker.socket_of(name)).run().exited(0);
        let usual = format!(".local/state/sluice/{name}/manifest.jsonl");
        let records = fs::read_to_string(broker.dir().join(usual)).expect("a manifest of its own");
        assert!(records.contains(r#""kind":"exit","call":1"#), "{records}");
    }
}

#[test]
fn the_activators_variables_and_descriptors_stop_at_the_broker() {
    let Some(setup) = activated(&["agent"]) else { return };
    let broker = setup.start();
    broker.sh("env | grep -c LISTEN_; exec ls /proc/self/fd").exited(0).printed("0\n0\n1\n2\n3\n");
}

#[test]
fn a_socket_that_systemd_holds_stays_when_the_broker_stops() {
    let Some(setup) = activated(&["agent"]) else { return };
    let mut broker = setup.start();
    broker.sh("true").exited(0);
    broker.stop();
    assert!(broker.socket().exists());
}

/// Runs `sluice serve` without `--socket` as an activator would; it must not come to serving.
fn serve_with(variables: &[(&str, &str)], redirection: &str) -> Output {
    let dir = TempDir::new();
    let rules =
        dir.write("it.rules", format!("defaults:\n  logfile = {}/m.jsonl\n\ntrue\n", dir.path().display()));
    let listen =
        variables.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    let verb = serve_words().join(" ");
    let script =
        format!("exec env {listen} LISTEN_PID=$$ timeout 20 \"$0\" {verb} --rules \"$1\" {redirection}");
    let mut command = Command::new("bash");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_sluice")]).arg(rules);
    command.output().expect("bash is installed")
}

#[track_caller]
fn fails(output: &Output, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains(part), "{:?}: {said}", output.status);
}

#[test]
fn without_any_socket_it_does_not_start() {
    let dir = TempDir::new();
    let rules = dir.write("it.rules", "true\n").to_string_lossy().into_owned();
    serve(["--rules", &rules]).exited(2).said(&["--socket"]);
}

#[test]
fn a_descriptor_that_is_no_listening_seqpacket_socket_is_refused() {
    fails(&serve_with(&[("LISTEN_FDS", "1")], "3</dev/null"), "");
    fails(&serve_with(&[("LISTEN_FDS", "1")], "3<&-"), "");
}

#[test]
fn a_stream_socket_is_refused() {
    if !(needs("systemd-socket-activate", "systemd") && needs("python3", "python3")) {
        return;
    }
    let dir = TempDir::new();
    let rules =
        dir.write("it.rules", format!("defaults:\n  logfile = {}/m.jsonl\n\ntrue\n", dir.path().display()));
    let script = "timeout 20 systemd-socket-activate -l \"$2\" \"$0\" $3 --rules \"$1\" & \
        while ! [ -S \"$2\" ]; do sleep 0.02; done; \
        python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' \"$2\"; wait $!";
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_sluice")]).arg(rules).arg(dir.join("stream.sock"));
    command.arg(serve_words().join(" "));
    fails(&command.output().expect("bash is installed"), "SEQPACKET");
}

#[test]
fn a_socket_of_its_own_is_private() {
    let broker = Broker::new(SHELL).under(&["sh", "-c", "umask 000; exec \"$@\"", "sh"]).start();
    let socket = fs::symlink_metadata(broker.socket()).expect("there is a socket");
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o7777, 0o600);
}

#[test]
fn what_is_no_socket_is_not_replaced() {
    let setup = Broker::new(SHELL).arranged(|dir| drop(dir.write("s.sock", "precious\n")));
    let path = setup.socket();
    let (failed, setup) = setup.start_fails_here();
    failed.said(&["s.sock"]);
    assert_eq!(fs::read_to_string(path).expect("the file is there"), "precious\n");
    drop(setup);
}

#[test]
fn a_live_socket_is_respected() {
    let broker = Broker::shell();
    let rules = format!("defaults:\n  logfile = {}/audit/other.jsonl\n\ntrue\n", broker.dir().display());
    let path = broker.dir().join("other.rules");
    fs::write(&path, rules).expect("an own file can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("an own file takes a mode");
    let (path, socket) = (path.to_string_lossy(), broker.socket());
    serve(["--rules", &path, "--socket", &socket.to_string_lossy()]).exited(2).said(&["s.sock"]);
    broker.sh("echo mine").exited(0).printed("mine\n");
}

#[test]
fn a_socket_of_its_own_is_gone_when_it_stops() {
    let mut broker = Broker::shell();
    broker.sh("true").exited(0);
    broker.stop();
    assert!(Connection::open(&broker.socket()).is_err());
    broker.start_again();
    broker.sh("true").exited(0);
}

/// Listens at `argv[1]` under the name of systemd, until its stdin ends.
const NAMESAKE: &str = "\
import socket, sys
open('/proc/self/comm', 'w').write('systemd')
held = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
held.bind(sys.argv[1])
held.listen()
print('up', flush=True)
sys.stdin.read()
";

#[test]
fn a_socket_that_systemd_listens_at_is_left_to_it_with_advice() {
    if !needs("python3", "python3") {
        return;
    }
    let setup = Broker::new(SHELL);
    let mut holder = Command::new("python3");
    holder.args(["-c", NAMESAKE]).arg(setup.socket());
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is python3");
    let mut up = [0; 3];
    holder.stdout.take().expect("a pipe").read_exact(&mut up).expect("it listens");
    setup.start_fails().said(&["systemd holds ", "for a socket unit", "list-sockets names the unit"]);
    drop(holder.stdin.take());
    holder.wait().expect("it ends");
}
