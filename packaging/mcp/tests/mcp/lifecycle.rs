//! Progress, cancelling, and ends: of a call, of the client, of the broker.

use std::fs;

use serde_json::json;

use crate::client::{Client, Heard, answer, structure, text};
use crate::gate::{Gate, RULES, found, gone};

/// A script that writes its pid to a file, and goes on for long.
fn endless(gate: &Gate, name: &str) -> serde_json::Value {
    let path = gate.path(name);
    json!({"script": format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", path.display())})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_is_ended_and_others_go_on() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let first = client.begin("sh", endless(&gate, "first")).await;
    let second = client.begin("sh", endless(&gate, "second")).await;
    let (ended, other) = (gate.pid_in("first"), gate.pid_in("second"));
    first.cancel(Some("enough".into())).await.expect("it is told");
    gone(ended);
    let exit = found("exit record", || gate.records("exit").pop());
    assert_eq!(exit["hangup"], true, "{exit}");
    assert!(fs::exists(format!("/proc/{other}")).expect("it can be looked at"), "the other call has ended");
    second.cancel(None).await.expect("it is told");
    gone(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_stdin_ends_its_calls() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let _call = client.begin("sh", endless(&gate, "pid")).await;
    let (pid, server) = (gate.pid_in("pid"), client.server);
    client.close().await;
    gone(pid);
    gone(server);
    let exit = found("exit record", || gate.records("exit").pop());
    assert_eq!(exit["hangup"], true, "{exit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_ends_its_calls() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let _call = client.begin("sh", endless(&gate, "pid")).await;
    let pid = gate.pid_in("pid");
    let server = nix::unistd::Pid::from_raw(client.server);
    nix::sys::signal::kill(server, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    gone(pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_tells_of_the_begin_the_wait_and_the_bytes() {
    let gate = Gate::start("/bin/sh -c #script\n  allow_any = script\n  max_calls = 1\n");
    let client = Client::start(&gate).await;
    let script = format!("printf hello; until [ -e {} ]; do sleep 0.05; done", gate.path("go").display());
    let first = client.begin("sh", json!({"script": script})).await;
    assert_eq!(client.progress("runs").await.split(';').next(), Some("call 1 runs"));
    assert!(client.progress("5 bytes").await.ends_with("5 bytes of output so far"));
    let second = client.begin("sh", json!({"script": "exit 0"})).await;
    assert_eq!(client.progress("waiting").await, "waiting: 1 calls run, and no more may at once");
    fs::write(gate.path("go"), "").expect("a file");
    assert_eq!(structure(answer(first).await)["exit_code"], 0);
    assert_eq!(structure(answer(second).await)["exit_code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_only_rises() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let call = client.begin("sh", json!({"script": "sleep 1000"})).await;
    let mut last = -1.0;
    for _ in 0..3 {
        let Heard::Progress(progress, _) = client.hear().await else { continue };
        assert!(progress > last, "{progress} after {last}");
        last = progress;
    }
    call.cancel(None).await.expect("it is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_again_is_asked_again() {
    let mut gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    assert_eq!(client.sh("exit 0").await["exit_code"], 0);
    gate.stop();
    let away = client.call("sh", json!({"script": "exit 0"})).await;
    let said = text(&away);
    assert!(said.starts_with("no broker can be reached on ") && said.contains("nothing ran"), "{said}");
    assert_eq!(away.is_error, Some(true));
    gate.serve();
    assert_eq!(client.sh("exit 0").await["exit_code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_broker_leaves_is_answered() {
    let mut gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let call = client.begin("sh", endless(&gate, "pid")).await;
    gate.pid_in("pid");
    gate.stop();
    let got = structure(answer(call).await);
    assert_eq!((&got["outcome"], &got["status"]), (&json!("ended"), &json!("STOPPING")));
}
