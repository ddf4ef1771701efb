//! The patterns of the schemas, run by node, against what the broker decides.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::client::{Client, structure};
use crate::gate::{Gate, skip};

/// Regexes that have a pattern, and values around each.
const CASES: [(&str, &[&str]); 10] = [
    ("[1-9][0-9]?", &["1", "99", "100", "0", "", "1\n", "1x"]),
    ("main|dev/[a-z]+", &["main", "dev/a", "maindev/a", "dev/", "xmain"]),
    ("(?:ab|c){2,3}", &["abc", "cc", "ab", "abababab", "ccc"]),
    ("[^/]*", &["", "a", "a/b", "\u{1f600}", "\u{e9}", "a\nb"]),
    (".+", &["x", "\n", "x\ny", "\r", "\u{2028}", "\u{85}", "\u{1f600}"]),
    ("(?s).{2}", &["ab", "a\n", "a", "\u{1f600}x", "\u{1f600}"]),
    ("[a-z-]*", &["-a", "a-", "", "--"]),
    ("(?i)straSSe", &["STRASSE", "stra\u{17f}\u{17f}e", "strasse", "straxe"]),
    (r"a\.b\*\[\]\{\}\\/\^\$", &["a.b*[]{}\\/^$", "axb*[]{}\\/^$"]),
    ("caf\u{e9}+(?-u:\\b)", &["caf\u{e9}", "cafe", "caf\u{e9}\u{e9}"]),
];

/// Reads lines of `[pattern, value]`, and prints whether each value matches.
const PROGRAM: &str = "
const lines = require('fs').readFileSync(0, 'utf8').trim().split('\\n').map(JSON.parse);
console.log(JSON.stringify(lines.map(([pattern, value]) => new RegExp(pattern, 'u').test(value))));
";

fn matched_by_node(lines: &[Value]) -> Option<Vec<bool>> {
    let mut command = Command::new("node");
    let command = command.args(["-e", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = command.spawn().ok()?;
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    node.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("node reads");
    let output = node.wait_with_output().expect("it is a child");
    serde_json::from_slice(&output.stdout).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_matches_what_the_broker_allows() {
    let rules: String = CASES
        .iter()
        .enumerate()
        .map(|(number, (regex, _))| format!("/bin/echo {number} #v\n  v = {regex}\n\n"))
        .collect();
    let gate = Gate::start(&rules);
    let client = Client::start(&gate).await;
    let tools = client.list().await.expect("a list");
    let (mut lines, mut allowed) = (Vec::new(), Vec::new());
    for (tool, (regex, values)) in tools.iter().zip(CASES) {
        let pattern = tool.schema_as_json_value()["properties"]["v"]["pattern"].clone();
        assert!(pattern.is_string(), "{regex} has no pattern");
        for value in values {
            lines.push(json!([pattern, value]));
            let answer = structure(client.call(&tool.name, json!({"v": value})).await);
            allowed.push(answer["outcome"] == "exited");
        }
    }
    assert!(allowed.contains(&true) && allowed.contains(&false));
    match matched_by_node(&lines) {
        Some(matched) => {
            let both = lines.iter().zip(matched.iter().zip(&allowed));
            let differ: Vec<_> = both.filter(|(_, (node, broker))| node != broker).collect();
            assert!(differ.is_empty(), "node and the broker: {differ:?}");
        }
        None => skip("no node: apt-get install nodejs"),
    }
}
