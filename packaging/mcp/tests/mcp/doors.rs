//! The ways in which the server finds its broker, and is found itself.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::symlink;
use std::process::Command as StdCommand;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::json;
use sluice::client::SharedConnection;
use tokio::process::Command;

use crate::client::{Client, structure};
use crate::gate::{Gate, RULES, sluice, sluice_mcp};

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_a_socket() {
    let gate = Gate::start(RULES);
    let mut command = Command::new(sluice_mcp());
    command.args(["--socket", "-"]).env_remove("SLUICE_FD").env("SLUICE_SOCKET", gate.socket());
    let client = Client::of(command).await;
    assert_eq!(client.sh("exit 5").await["exit_code"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_open_carries_calls_at_once() {
    let gate = Gate::start(RULES);
    let connection = SharedConnection::open(&gate.socket()).expect("it listens");
    let number = connection.as_fd().as_raw_fd();
    fcntl(&connection, FcntlArg::F_SETFD(FdFlag::empty())).expect("it is open");
    let mut command = Command::new(sluice_mcp());
    command.args(["--socket", "-"]).env("SLUICE_FD", number.to_string()).env_remove("SLUICE_SOCKET");
    let client = Client::of(command).await;
    assert_eq!(client.list().await.expect("a list").len(), 4);
    let (first, second) = tokio::join!(client.sh("echo 1"), client.sh("echo 2"));
    assert_eq!((&first["stdout"]["text"], &second["stdout"]["text"]), (&json!("1\n"), &json!("2\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn sluice_mcp_is_a_command_of_sluice() {
    let gate = Gate::start(RULES);
    let programs = gate.path("programs");
    fs::create_dir(&programs).expect("a directory");
    fs::copy(sluice(), programs.join("sluice")).expect("a copy");
    symlink(sluice_mcp(), programs.join("sluice-mcp")).expect("a link");
    let mut command = Command::new(programs.join("sluice"));
    command.args(["mcp", "--socket"]).arg(gate.socket());
    let client = Client::of(command).await;
    assert_eq!(structure(client.call("echo", json!({"number": "7"})).await)["stdout"]["text"], "7");
}

#[test]
fn wrong_usage_is_said() {
    let check = |arguments: &[&str], want: &str| {
        let mut command = StdCommand::new(sluice_mcp());
        command.args(arguments).env_remove("SLUICE_SOCKET").env("SLUICE_FD", "999");
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.contains(want)), (Some(2), true), "{said}");
    };
    check(&[], "usage: sluice-mcp --socket PATH|-");
    check(&["--socket", "-"], "$SLUICE_FD is 999, and no such descriptor is open");
}
