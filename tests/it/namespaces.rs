//! Callers and brokers that do not see each other's processes or users, and descriptors that a user has too
//! many of on their way: what is said and recorded then.

use std::fs;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, chown};

use crate::harness::{
    Broker, CrowdedUser, Process, SOON, Status, TempDir, chmod, is_root, needs, needs_mounts, needs_root,
    run, serve_words, skip, sluice, sluice_bin, sluicify,
};

const NO_NAMESPACES: &str = "no user namespaces: sudo sysctl kernel.unprivileged_userns_clone=1";

#[test]
fn a_user_that_the_namespace_does_not_know_is_said_to_be_one() {
    let unshare =
        |words: &[&str]| run("unshare".into(), [&["--user", "--map-root-user"], words].concat(), b"");
    if unshare(&["true"]).code() != Some(0) {
        return skip(NO_NAMESPACES);
    }
    let dir = TempDir::new();
    let rules = dir.write("it.rules", "/bin/echo a\n");
    if is_root() {
        // Root's own namespace maps root alone; an ordinary user's does not map whose the root directory is.
        chown(&rules, Some(Uid::from_raw(12_345)), None).expect("root may give files away");
        chmod(&rules, 0o644);
    }
    let (program, rules) =
        (sluice_bin().to_string_lossy().into_owned(), rules.to_string_lossy().into_owned());
    let socket = dir.join("s.sock").to_string_lossy().into_owned();
    let serve = [&program, "serve", "--allow-root", "--rules", &rules, "--socket", &socket];
    let want = "belongs to a user who has no number in this user namespace";
    unshare(&serve).exited(2).said(&[want, "maps root as well"]);
    unshare(&[&program, "check", &rules]).said(&["a broker would refuse to serve this", want]);
}

#[test]
fn a_caller_that_the_broker_cannot_see_has_no_pid_on_record() {
    if !needs_mounts() {
        return;
    }
    let dir = TempDir::new();
    dir.mkdir("audit", 0o700);
    let (at, socket) = (dir.path().to_string_lossy().into_owned(), dir.join("s.sock"));
    let text = format!(
        "defaults:\n  logfile = {at}/audit/manifest.jsonl\n\n/bin/echo a\n  stdoutfile = {at}/audit/pid-#$pid.out\n"
    );
    let rules = dir.write("it.rules", text);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(sluice_bin()).args(serve_words());
    command.arg("--rules").arg(rules).arg("--socket").arg(&socket).stderr(Stdio::piped());
    let mut broker = Process::new(command.spawn().expect("util-linux is installed"));
    let ready = broker.stderr.line_with("sluice: ready", 0, SOON);
    assert!(ready.is_some(), "{}", broker.stderr.text());
    let call = |word: &str| sluicify([&socket.to_string_lossy(), "/bin/echo", word]);
    call("a").exited(0).printed("a\n");
    call("b").exited(129);
    sluicify(["--list", &socket.to_string_lossy()]).exited(0);
    broker.child.kill().expect("a child of ours can be killed");
    broker.child.wait().expect("a child can be waited for");
    let manifest = dir.join("audit/manifest.jsonl");
    let records = fs::read_to_string(&manifest).expect("there is a manifest");
    let records = records.lines().map(|line| serde_json::from_str(line).expect("a record"));
    let records: Vec<serde_json::Value> = records.collect();
    for kind in ["start", "reject", "list"] {
        let record = records.iter().find(|record| record["kind"] == kind).expect("there is one");
        assert!(record["pid"].is_null() && record["uid"].is_u64() && record["gid"].is_u64(), "{record}");
    }
    assert_eq!(fs::read(dir.join("audit/pid-0.out")).expect("a capture"), b"a\n");
    let manifest = manifest.to_string_lossy();
    sluice(["verify", "--journal", "none", &manifest]).exited(0);
    sluice(["log", "--file", &manifest]).exited(0).said(&["/bin/echo a", "/bin/echo b"]);
}

#[test]
fn a_user_with_too_many_descriptors_on_their_way_has_a_refusal_of_that_name() {
    if !needs_root() || !needs("python3", "python3") {
        return;
    }
    let setup = Broker::new("defaults:\n  max_calls = 1\n  scope = off\n\n/bin/echo a\n");
    let user = CrowdedUser(61_234);
    let broker = user.broker(setup);
    broker.call(["/bin/echo", "a"]).exited(0);
    let crowd = user.crowd();
    let refused = broker.call(["/bin/echo", "a"]).refused(Status::SPAWN).printed("");
    refused.audited(["reject reason=in_flight status=-4"]);
    let manifest = broker.manifest_path().to_string_lossy().into_owned();
    sluice(["log", "--file", &manifest]).exited(0).said(&["in_flight", "/bin/echo a"]);
    sluice(["log", "--rejects", "--file", &manifest]).exited(0).said(&["too many descriptors"]);
    sluice(["verify", "--journal", "none", &manifest]).exited(0);
    crowd.leave();
    broker.call(["/bin/echo", "a"]).exited(0).printed("a\n");
}
