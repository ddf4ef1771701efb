//! The inspector from npm, as another client. It is installed once, beside what cargo builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::gate::{Gate, RULES, skip, sluice_mcp};

const PACKAGE: &str = "@modelcontextprotocol/inspector";

/// The oldest node that it was seen to run on; Debian 12 has 18.
const NODE_LEAST: u32 = 20;

/// The inspector's command, or why there is none.
fn inspector() -> Result<PathBuf, String> {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.trim().trim_start_matches('v').split('.').next()?.parse::<u32>().ok()
    };
    if version("node").is_none_or(|major| major < NODE_LEAST) || version("npm").is_none() {
        return Err(format!("no node {NODE_LEAST} with npm, for the inspector: https://nodejs.org"));
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inspector");
    let program = directory.join("node_modules/.bin/mcp-inspector");
    if !program.exists() {
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("package.json"), "{}").expect("a file");
        let mut command = Command::new("npm");
        command.args(["install", "--no-audit", "--no-fund", "--silent", PACKAGE]).current_dir(&directory);
        let installed = command.output().expect("npm runs");
        if !installed.status.success() || !program.exists() {
            return Err(format!("{PACKAGE} cannot be had from npm"));
        }
    }
    Ok(program)
}

fn inspect(program: &Path, gate: &Gate, arguments: &[&str]) -> Value {
    let mut command = Command::new(program);
    command.arg("--cli").arg(sluice_mcp()).arg("--socket").arg(gate.socket()).args(arguments);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {said}"))
}

#[test]
fn the_inspector_lists_and_calls() {
    let program = match inspector() {
        Ok(program) => program,
        Err(reason) => return skip(&reason),
    };
    let gate = Gate::start(RULES);
    let listed = inspect(&program, &gate, &["--method", "tools/list"]);
    let names: Vec<_> =
        listed["tools"].as_array().expect("a list").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names[..3], ["sh", "echo", "cat"]);
    let call = ["--method", "tools/call", "--tool-name", "sh", "--tool-arg", "script=echo hello; exit 3"];
    let called = inspect(&program, &gate, &call);
    assert_eq!((&called["isError"], &called["structuredContent"]["exit_code"]), (&true.into(), &3.into()));
    assert_eq!(called["structuredContent"]["stdout"]["text"], "hello\n");
}
