//! `sluice log`: what is shown of the calls on record, and that nothing a caller chose acts on who reads it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{Broker, Ended, Pid, SHELL, Status, TempDir, needs, run, sluice, sluice_bin};

fn log(broker: &Broker, words: &[&str]) -> Ended {
    log_of(&broker.manifest_path(), words)
}

fn log_of(manifest: &Path, words: &[&str]) -> Ended {
    sluice([Path::new("log"), Path::new("--file"), manifest].into_iter().chain(words.iter().map(Path::new)))
}

/// The columns of each call that was shown: its number, and all that stands behind it, single-spaced.
fn rows(ended: &Ended) -> Vec<String> {
    let rows = ended.stdout();
    // Below a refusal there may be a line that says why.
    let calls = rows.lines().skip(1).filter(|row| !row.starts_with("    "));
    let cells = calls.map(|row| row.split_whitespace().skip(2).collect::<Vec<_>>().join(" "));
    cells.collect()
}

#[test]
fn calls_are_shown_as_they_went_the_newest_last() {
    let broker = Broker::new(&format!("{SHELL}  timeout = 300ms\n")).start();
    broker.sh("true").exited(0);
    broker.sh("exit 3").exited(3);
    broker.sh("kill -KILL $$");
    broker.call(["nope", "a b"]).refused(Status::NO_RULE);
    broker.sh("sleep 60").refused(Status::TIMEOUT);
    let shown = rows(&log(&broker, &[]).exited(0));
    let begin = |row: &str| row.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let want = ["1 4 0", "2 4 3", "3 4 SIGKILL", "4 no_rule", "5 4 timeout"];
    for (row, want) in shown.iter().zip(want) {
        assert!(begin(row).starts_with(want), "{row:?} begins with {want:?}");
    }
    assert_eq!(shown.len(), 5);
    assert!(shown[1].ends_with("/bin/sh -c 'exit 3'"), "{shown:?}");
    assert!(shown[3].contains(&format!("[{}]", std::process::id())), "{shown:?}");
}

#[test]
fn a_call_that_runs_is_shown_as_running() {
    let broker = Broker::shell();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; read go"]).stdin_open().begin();
    call.line();
    assert!(rows(&log(&broker, &[]).exited(0))[0].contains("running"));
    call.write(b"go\n");
    call.wait().exited(0);
    assert!(!log(&broker, &[]).exited(0).stdout().contains("running"));
}

#[test]
fn nothing_of_a_caller_acts_on_a_reader() {
    let broker = Broker::shell();
    let hostile = "\u{1b}[31m\u{202e}\u{9b}\u{200b}\u{e000}\r\n\u{1b}]0;x\u{7}";
    broker.call(["/bin/sh", "-c", &format!(": '{hostile}'")]).exited(0);
    broker.call(["nope", hostile]).refused(Status::NO_RULE);
    for words in [&[][..], &["--call=1"], &["--call=2"], &["--json"]] {
        let said = log(&broker, words).exited(0).stdout();
        let is_plain = |ch: char| ch == '\n' || (' '..='~').contains(&ch);
        assert!(said.chars().all(is_plain), "{words:?}: {said:?}");
        assert!(words == ["--json"] || said.contains(r"\u202e"), "{said}");
    }
}

#[test]
fn a_filter_takes_what_is_asked_for() {
    let broker = Broker::new(&format!("/bin/echo #word\n  word = [a-z]+\n\n{SHELL}")).start();
    broker.call(["/bin/echo", "one"]).exited(0);
    broker.sh("echo two").exited(0);
    broker.call(["nope", "one"]).refused(Status::NO_RULE);
    broker.call(["/bin/echo", "three"]).exited(0);
    let calls = |words: &[&str]| {
        let numbers = rows(&log(&broker, words).exited(0));
        numbers
            .iter()
            .map(|row| row.split_once(' ').map_or("", |(call, _)| call).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(calls(&["--rejects"]), ["3"]);
    assert_eq!(calls(&["--rule", "4"]), ["1", "4"]);
    assert_eq!(calls(&["--rule", "one"]), ["1", "3"]);
    assert_eq!(calls(&["--rule", "-c 'echo"]), ["2"]);
    assert_eq!(calls(&["-n", "2"]), ["3", "4"]);
    assert_eq!(calls(&["-n", "1", "--rule=4"]), ["4"]);
    assert_eq!(calls(&["--since", "-1h", "--until", "now"]), ["1", "2", "3", "4"]);
    log(&broker, &["--until", "yesterday"]).exited(1).printed("").complained(&["others, up to call 4"]);
    let rules = "rules, by their lines: 4 (/bin/echo), 7 (/bin/sh)";
    log(&broker, &["--rule", "nothing-has-this"])
        .exited(1)
        .printed("")
        .complained(&["nothing-has-this", rules]);
    log(&broker, &["--rule", "5"]).exited(1).complained(&["the rule on line 5", rules]);
    log(&broker, &["--call", "17"]).exited(1).printed("").complained(&["no call 17", "the last one is 4"]);
    log(&broker, &["--since", "soon"]).exited(2).said(&["soon"]);
}

#[test]
fn json_is_the_records_as_they_are() {
    let broker = Broker::shell();
    broker.sh("true").exited(0);
    broker.call(["nope"]).refused(Status::NO_RULE);
    let manifest = fs::read_to_string(broker.manifest_path()).expect("there is a manifest");
    let of_calls: Vec<_> = manifest.lines().filter(|line| line.contains("\"call\":")).collect();
    log(&broker, &["--json"]).exited(0).printed(&(of_calls.join("\n") + "\n"));
    log(&broker, &["--json", "--rejects"]).exited(0).printed(&format!("{}\n", of_calls[2]));
}

#[test]
fn one_call_is_shown_with_all_that_is_known() {
    let broker = Broker::shell();
    broker.sh("exit 7").exited(7);
    let shown = log(&broker, &["--call", "1"]).exited(0);
    shown.said(&["start\n", "exit\n", "/bin/sh -c 'exit 7'", "status         7", "duration_ms", "policy"]);
    log(&broker, &["--call", "2"]).exited(1).printed("").complained(&["the last one is 1"]);
}

#[test]
fn a_refusal_is_shown_with_why() {
    let broker = Broker::new("/bin/echo #word\n  word = [a-z]+\n").start();
    broker.call(["/bin/echo", "NO"]).refused(Status::NO_RULE);
    let detail = broker.record("reject").text("detail").to_owned();
    assert!(detail.contains("word"), "{detail}");
    log(&broker, &["--rejects"]).exited(0).said(&["no_rule", &format!("\n    {detail}\n")]);
    assert!(!log(&broker, &[]).exited(0).stdout().contains(&detail));
}

#[test]
fn refusals_that_are_counted_are_found_by_each_number() {
    let broker = Broker::shell();
    for _ in 0..6 {
        broker.call(["nope"]).refused(Status::NO_RULE);
    }
    crate::harness::within(crate::harness::SOON, "the count is on record", || {
        (broker.records_of("reject").len() == 3).then_some(())
    });
    log(&broker, &["--call", "4"]).exited(0).said(&["count          4", "last           6"]);
    assert!(rows(&log(&broker, &[]).exited(0))[2].contains("no_rule x4"));
}

#[test]
fn rotated_files_are_read_in_order_packed_or_not() {
    let broker = Broker::shell();
    let path = broker.manifest_path();
    let beside = |end: &str| path.with_file_name(format!("manifest.jsonl{end}"));
    for (end, call) in [(".3", 1), (".2", 2), (".1", 3)] {
        broker.sh(&format!("exit {call}")).exited(call);
        fs::rename(&path, beside(end)).expect("an own file can be renamed");
        broker.hup();
    }
    broker.sh("exit 4").exited(4);
    run("gzip".into(), [beside(".3")], b"").exited(0);
    if needs("zstd", "zstd") {
        run("zstd".into(), ["--rm".as_ref(), "-q".as_ref(), beside(".2").as_os_str()], b"").exited(0);
    }
    let calls = |words: &[&str]| {
        let shown = rows(&log(&broker, words).exited(0));
        shown
            .iter()
            .map(|row| row.split_once(' ').map_or("", |(call, _)| call).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(calls(&[]), ["1", "2", "3", "4"]);
    assert_eq!(calls(&["-n", "all"]), ["1", "2", "3", "4"]);
    assert_eq!(calls(&["-n", "2"]), ["3", "4"]);
    assert_eq!(calls(&["-n", "1", "--rule", "exit 2"]), ["2"]);
    log(&broker, &["--call=1"]).exited(0).said(&["'exit 1'"]);
    fs::write(beside(".4.xz"), b"\xfd7zXZ\0rest").expect("an own directory takes a file");
    let shown = log(&broker, &[]).exited(0);
    assert_eq!(rows(&shown).len(), 4);
    shown.complained(&["manifest.jsonl.4.xz", "xz -dk", "its calls are not shown"]);
}

/// A `sluice log --follow`, and the lines that it prints.
struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Following {
    fn of(broker: &Broker, words: &[&str]) -> Self {
        let mut command = Command::new("timeout");
        command.arg("60").arg(sluice_bin()).args(["log", "--follow", "--file"]).arg(broker.manifest_path());
        let mut child = command.args(words).stdout(Stdio::piped()).spawn().expect("sluice can be started");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        Self { child, lines }
    }

    #[track_caller]
    fn says(&mut self, parts: &[&str]) {
        let line = self.lines.next().and_then(Result::ok).unwrap_or_default();
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} in {line:?}");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // `timeout` passes it on.
        Pid(i32::try_from(self.child.id()).expect("a pid fits")).signal(Signal::SIGTERM);
        self.child.wait().expect("a child can be waited for");
    }
}

#[test]
fn following_goes_on_over_rotation() {
    let broker = Broker::shell();
    broker.sh("exit 1").exited(1);
    let mut following = Following::of(&broker, &[]);
    following.says(&["WHEN"]);
    following.says(&["exit 1"]);
    broker.sh("exit 2").exited(2);
    following.says(&["running", "exit 2"]);
    following.says(&[" 2 ", "exit 2"]);
    fs::rename(broker.manifest_path(), broker.manifest_path().with_extension("jsonl.1")).expect("renamed");
    broker.sh("exit 3").refused(Status::AUDIT);
    broker.hup();
    broker.sh("exit 4").exited(4);
    following.says(&["audit", "exit 3"]);
    following.says(&["running", "exit 4"]);
    following.says(&[" 4 ", "exit 4"]);
}

#[test]
fn following_json_gives_each_record_when_it_is_written() {
    let broker = Broker::shell();
    broker.sh("true").exited(0);
    let mut following = Following::of(&broker, &["--json", "-n", "1"]);
    for call in [1, 2] {
        following.says(&[&format!("{{\"kind\":\"start\",\"call\":{call},")]);
        following.says(&[&format!("{{\"kind\":\"exit\",\"call\":{call},")]);
        if call == 1 {
            broker.sh("true").exited(0);
        }
    }
}

#[test]
fn following_ends_when_nobody_reads_it() {
    let broker = Broker::shell();
    broker.sh("true").exited(0);
    let (bin, manifest) = (sluice_bin(), broker.manifest_path());
    let line = format!("{} log --follow --json --file {} | head -n 1", bin.display(), manifest.display());
    run("sh".into(), ["-c", &line], b"").exited(0).said(&["start"]);
}

/// A manifest of one call whose stdout was captured in this file.
fn captured(dir: &TempDir, file: &Path) -> std::path::PathBuf {
    let record = serde_json::json!({ "kind": "start", "call": 5, "ts": 1, "argv": ["a"], "stdout": file });
    let (head, rest) = (r#"{"kind":"start","call":5,"ts":1,"#, record["stdout"].to_string());
    let prev = "0".repeat(64);
    dir.write("manifest.jsonl", format!("{head}\"argv\":[\"a\"],\"stdout\":{rest},\"prev\":\"{prev}\"}}\n"))
}

#[test]
fn a_capture_is_printed_as_it_is_and_through_no_link() {
    let dir = TempDir::new();
    let bytes = b"any \x1b[31m bytes \xff\0\n";
    let file = dir.write("c5.out", bytes);
    let manifest = captured(&dir, &file);
    let shown = log_of(&manifest, &["--output", "5"]).exited(0);
    assert_eq!(shown.stdout(), String::from_utf8_lossy(bytes));
    log_of(&manifest, &["--output", "5", "--stderr"])
        .exited(1)
        .complained(&["no stderr of call 5 was captured; its stdout was: --output 5"]);
    log_of(&manifest, &["--output", "6"]).exited(1).complained(&["no stdout of call 6"]);
    let link = dir.join("link");
    symlink(&file, &link).expect("an own directory takes a link");
    log_of(&captured(&dir, &link), &["--output", "5"]).exited(2).printed("").complained(&["symbolic link"]);
    let gone = captured(&dir, &dir.join("gone"));
    log_of(&gone, &["--output=5"]).exited(2).complained(&["gone"]);
}

#[test]
fn a_terminal_gets_lines_that_fit_it_and_colour_unless_unwanted() {
    if !needs("script", "bsdutils") {
        return;
    }
    let broker = Broker::shell();
    broker.sh(&format!("exit 1; {}", "x".repeat(300))).exited(1);
    let on_terminal = |env: &str| {
        let (bin, manifest) = (sluice_bin(), broker.manifest_path());
        let line =
            format!("stty cols 70; {env} TERM=xterm {} log --file {}", bin.display(), manifest.display());
        run("script".into(), ["-qec", &line, "/dev/null"], b"").exited(0).stdout()
    };
    let coloured = on_terminal("env");
    assert!(coloured.contains("\x1b[31m") && coloured.contains("..."), "{coloured:?}");
    let plain = on_terminal("env NO_COLOR=1");
    assert!(!plain.contains('\x1b') && plain.contains("..."), "{plain:?}");
    assert!(plain.lines().all(|line| line.trim_end().len() <= 70), "{plain:?}");
    assert!(log(&broker, &[]).exited(0).stdout().contains(&"x".repeat(300)), "a pipe gets all");
    // On eighty columns half a line is the command's.
    let (bin, manifest) = (sluice_bin(), broker.manifest_path());
    let line = format!("stty cols 80; TERM=dumb {} log --file {}", bin.display(), manifest.display());
    let narrow = run("script".into(), ["-qec", &line, "/dev/null"], b"").exited(0).stdout();
    let row = narrow.lines().nth(1).unwrap_or_default().trim_end();
    let command = row.split_once("/bin/sh").map_or(0, |(before, _)| 80 - before.len());
    assert!(row.len() == 80 && command >= 40, "{narrow:?}");
}

#[test]
fn a_name_stands_for_the_manifest_of_its_rules() {
    let dir = TempDir::new();
    let bin = sluice_bin();
    let at_home = |words: &[&str]| {
        let home = format!("HOME={}", dir.path().display());
        let words = [&["-u", "XDG_CONFIG_HOME", &home, bin.to_str().expect("UTF-8"), "log"], words].concat();
        run("env".into(), words, b"")
    };
    at_home(&["agent"]).exited(2).complained(&["agent/manifest.jsonl", "/var/lib/sluice", "--file"]);
    at_home(&["../agent"]).exited(2).complained(&["../agent: No such file"]);
    let prev = "0".repeat(64);
    let record = |call| {
        format!(
            "{{\"kind\":\"reject\",\"call\":{call},\"ts\":1,\"reason\":\"no_rule\",\"prev\":\"{prev}\"}}\n"
        )
    };
    for place in [
        ".local",
        ".local/state",
        ".local/state/sluice",
        ".local/state/sluice/agent",
        ".config",
        ".config/sluice",
    ] {
        dir.mkdir(place, 0o700);
    }
    dir.write(".config/sluice/three.rules", "true\n");
    at_home(&["three"])
        .exited(2)
        .complained(&["no call of `three` is on record yet", "three/manifest.jsonl"]);
    let manifest = dir.write(".local/state/sluice/agent/manifest.jsonl", record(1));
    at_home(&[&manifest.to_string_lossy()]).exited(0).said(&[" 1 "]);
    at_home(&["agent"]).exited(0).said(&[" 1 "]);
    dir.write(".config/sluice/agent.rules", "defaults:\n  logfile = $HOME/other.jsonl\n\ntrue\n");
    at_home(&["agent"]).exited(2).complained(&["other.jsonl (but ", "agent/manifest.jsonl is)"]);
    dir.write("other.jsonl", record(22));
    at_home(&["agent"]).exited(0).said(&[" 22 "]);
}

#[test]
fn what_is_no_manifest_is_said() {
    let dir = TempDir::new();
    log_of(&dir.join("none"), &[]).exited(2).complained(&["none"]);
    dir.mkdir("directory", 0o700);
    log_of(&dir.join("directory"), &[]).exited(2).complained(&["not a regular file"]);
    log_of(&dir.write("diary", "dear diary\n\0\n"), &[]).exited(1).printed("");
}
