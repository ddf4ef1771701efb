//! Calls: what comes back, how much of it, and how many at once.

use std::fs;

use serde_json::{Value, json};

use crate::client::{Client, structure, text};
use crate::gate::{Gate, RULES};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_the_exit_status_and_both_streams() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let result = client.call("sh", json!({"script": "echo out; echo err >&2"})).await;
    assert_eq!(result.is_error, Some(false));
    let call = gate.records("exit")[0]["call"].clone();
    assert_eq!(text(&result), format!("exit code 0 (call {call})\nstdout:\nout\n\nstderr:\nerr\n"));
    let got = structure(result);
    assert_eq!(got["stdout"], json!({"text": "out\n", "bytes": 4, "truncated": false, "utf8": true}));
    assert_eq!((&got["outcome"], &got["exit_code"], &got["call"]), (&json!("exited"), &json!(0), &call));
    let failed = client.call("sh", json!({"script": "exit 3"})).await;
    assert_eq!((failed.is_error, &structure(failed)["exit_code"]), (Some(true), &json!(3)));
    let killed = client.sh("kill -9 $$").await;
    assert_eq!((&killed["outcome"], &killed["signal"]), (&json!("signaled"), &json!(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_is_the_text_or_nothing() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let text = "caf\u{e9}\n".repeat(300_000);
    let got = structure(client.call("cat", json!({"stdin": text})).await);
    assert_eq!(got["stdout"]["bytes"], text.len());
    let got = structure(client.call("cat", json!({})).await);
    assert_eq!((&got["exit_code"], &got["stdout"]["bytes"]), (&json!(0), &json!(0)));
    // What the command does not read holds up nothing.
    let got = structure(client.call("sh", json!({"script": "exit 4", "stdin": text})).await);
    assert_eq!(got["exit_code"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_list_are_words() {
    let gate = Gate::start(RULES);
    for name in ["a", "b"] {
        fs::write(gate.path("files").join(name), name).expect("a file");
    }
    let client = Client::start(&gate).await;
    let tools = client.list().await.expect("a list");
    let files = ["a", "b"].map(|name| gate.path("files").join(name).to_string_lossy().into_owned());
    let got = structure(client.call(&tools[3].name, json!({"files": files})).await);
    assert_eq!(got["stdout"]["text"], "ab");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_allows_is_refused_with_the_reason() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let result = client.call("echo", json!({"number": "100"})).await;
    let said = text(&result);
    assert!(said.starts_with("no rule allows this, and nothing ran: "), "{said}");
    assert!(said.contains("<number>"), "{said}");
    assert_eq!(result.is_error, Some(true));
    let got = structure(result);
    assert_eq!((&got["outcome"], &got["status"]), (&json!("refused"), &json!("NO_RULE")));
    assert!(gate.records("start").is_empty() && !gate.records("reject").is_empty());
    let wrong = client.call("echo", json!({"number": "1", "more": "2"})).await;
    assert_eq!((text(&wrong).as_str(), wrong.is_error), ("there is no argument \"more\"", Some(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_output_is_bounded_and_counted() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let bytes = 64 * 1024 * 1024;
    let got =
        client.sh(&format!("echo first; head -c {bytes} /dev/zero | tr '\\0' x; echo; echo last")).await;
    let stdout = &got["stdout"];
    assert_eq!((&stdout["bytes"], &stdout["truncated"]), (&json!(bytes + 12), &json!(true)));
    let text = stdout["text"].as_str().expect("a text");
    assert!(text.starts_with("first\nxxx") && text.ends_with("xxx\nlast\n"));
    let left_out = format!("[... {} bytes left out ...]", bytes + 12 - 64 * 1024);
    assert!(text.contains(&left_out) && text.len() < 66 * 1024, "{}", text.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_is_no_text_is_shown() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let got = client.sh("printf 'a\\377b'").await;
    assert_eq!(got["stdout"], json!({"text": "a\\xffb", "bytes": 3, "truncated": false, "utf8": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_and_a_start_that_fails_are_told_apart() {
    let gate =
        Gate::start("/bin/sleep #n\n  n = [0-9]+\n  timeout = 100ms\n\n/bin/true\n  cwd = @DIR@/none\n");
    let client = Client::start(&gate).await;
    let got = structure(client.call("sleep", json!({"n": "100"})).await);
    assert_eq!((&got["outcome"], &got["timed_out"]), (&json!("timeout"), &json!(true)));
    let got = structure(client.call("true", json!({})).await);
    assert_eq!((&got["outcome"], &got["status"]), (&json!("refused"), &json!("SPAWN")));
    assert!(got["reason"].as_str().is_some_and(|reason| reason.contains("chdir")), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_calls_run_at_once() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    // Each waits until all have begun.
    let script = |number| {
        let directory = gate.path("files");
        let directory = directory.display();
        format!(
            "touch {directory}/{number}; while [ $(ls {directory} | wc -l) -lt 20 ]; do sleep 0.05; done; echo {number}"
        )
    };
    let scripts: Vec<_> = (0..20).map(script).collect();
    let mut begun = Vec::new();
    for script in scripts {
        begun.push(client.begin("sh", json!({"script": script})).await);
    }
    for (number, call) in begun.into_iter().enumerate() {
        let got: Value = structure(crate::client::answer(call).await);
        assert_eq!(got["stdout"]["text"], format!("{number}\n"));
    }
}
