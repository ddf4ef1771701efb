//! Clients in other languages, against a real broker. Their tests are written in the language itself
//! (`tests/languages`); each Rust test here runs one class of them, on a broker of its own.

use std::ffi::OsString;
use std::path::Path;

use crate::harness::{Broker, Ended, needs, needs_strace, run, sluicify_bin};

/// What the tests in `tests/languages` call.
const RULES: &str = "
    defaults:
      max_calls = 256

    ; Runs a script.
    /bin/sh -c #script
      allow_any = script

    /bin/cat

    /bin/cat -
      max_calls = 1

    /bin/sleep #n
      n       = [0-9]
      timeout = 300ms

    /bin/is-not-there
";

/// A variable for env(1).
fn variable(name: &str, path: &Path) -> OsString {
    format!("{name}={}", path.display()).into()
}

/// Runs classes of the Python tests; gives how they ended, and how many there were.
fn python_tests(broker: Option<&Broker>, classes: &[&str]) -> (Ended, usize) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/languages/test_sluicify.py");
    let mut words: Vec<OsString> = Vec::new();
    if let Some(broker) = broker {
        words.push(variable("SLUICE_TEST_SOCKET", &broker.socket()));
        words.push(variable("SLUICE_TEST_MANIFEST", &broker.manifest_path()));
    }
    // Development mode has descriptors that are left open, and tasks that nobody waits for, be warnings.
    words.extend(["python3".into(), "-X".into(), "dev".into(), "-W".into(), "error".into(), file.into()]);
    words.extend(classes.iter().map(OsString::from));
    let ended = run("env".into(), words, b"").exited(0);
    let said = ended.stderr();
    let count = said.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok());
    assert!(!said.contains("skipped") && !said.contains("ResourceWarning"), "{ended}");
    (ended, count.unwrap_or_default())
}

/// Every test of a class passes against a broker.
#[track_caller]
fn passes(class: &str, least: usize) {
    if !needs("python3", "python3") {
        return;
    }
    let broker = Broker::new(RULES).start();
    let (ended, count) = python_tests(Some(&broker), &[class]);
    assert!(count >= least, "{count} tests: {ended}");
}

#[test]
fn in_python_a_call_is_run_as_a_command_is() {
    passes("Run", 12);
}

#[test]
fn in_python_a_call_streams_and_takes_signals() {
    passes("Streaming", 9);
}

#[test]
fn in_python_many_calls_share_a_connection() {
    if needs_strace() {
        passes("Connections", 6);
    }
}

#[test]
fn in_python_calls_run_on_an_event_loop() {
    passes("Async", 5);
}

#[test]
fn in_python_the_program_is_used_as_sluicify_is() {
    passes("Program", 10);
}

#[test]
fn in_python_what_no_broker_answers_is_told() {
    if needs("python3", "python3") {
        let (ended, count) = python_tests(None, &["Broken", "Bytes"]);
        assert!(count >= 12, "{count} tests: {ended}");
    }
}

/// `sluicify` from plain node.
#[test]
fn in_node_a_call_is_run_by_the_client() {
    if !needs("node", "nodejs") {
        return;
    }
    let broker = Broker::new(RULES).start();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/languages/test_sluicify.js");
    let variables =
        [variable("SLUICE_TEST_SOCKET", &broker.socket()), variable("SLUICE_TEST_CLIENT", &sluicify_bin())];
    let words = [OsString::from("node"), "--test".into(), file.into()];
    run("env".into(), variables.into_iter().chain(words), b"").exited(0).said(&["# pass 9\n", "# fail 0\n"]);
}
