//! Figures: what a call costs through the server. `cargo test --release --test mcp figures -- --ignored
//! --nocapture` prints them.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Client;
use crate::gate::Gate;

const CALLS: usize = 300;

/// The times of calls one after the other, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// The time that this many hundredths of the calls did not take longer than.
    fn percentile(&self, hundredths: usize) -> Duration {
        self.0[(self.0.len() - 1) * hundredths / 100]
    }
}

#[expect(clippy::print_stdout, reason = "a figure is there to be read")]
fn print(name: &str, times: &Times, floor: &Times) {
    let (p50, p99) = (times.percentile(50), times.percentile(99));
    let ratio = p50.as_secs_f64() / floor.percentile(50).as_secs_f64();
    println!("{name:32} p50 {p50:>10.1?}  p99 {p99:>10.1?}  {ratio:5.2} x /bin/true run directly");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a figure"]
async fn a_call_of_true_against_running_it() {
    let gate = Gate::start("/bin/true\n");
    let client = Client::start(&gate).await;
    client.list().await.expect("a list");
    let (mut direct, mut calls, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let began = Instant::now();
        assert!(Command::new("/bin/true").status().expect("it runs").success());
        direct.push(began.elapsed());
        let began = Instant::now();
        assert_eq!(client.call("true", json!({})).await.is_error, Some(false));
        calls.push(began.elapsed());
        let began = Instant::now();
        client.list().await.expect("a list");
        lists.push(began.elapsed());
    }
    let (direct, calls, lists) = (Times::new(direct), Times::new(calls), Times::new(lists));
    print("/bin/true, directly", &direct, &direct);
    print("tools/call of /bin/true", &calls, &direct);
    print("tools/list of one rule", &lists, &direct);
}
