//! `sluice init NAME --for AGENT`, and its way back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{TempDir, sluice_bin, sluicify_bin};

fn init(home: &TempDir, words: &[&str]) -> Output {
    let mut command = Command::new(sluice_bin());
    let client = sluicify_bin();
    let path = format!("{}:/usr/bin:/bin", client.parent().expect("a directory").display());
    command.arg("init").args(words).env_clear().env("HOME", home.path()).env("PATH", path);
    command.env("XDG_RUNTIME_DIR", "/run/user/7").output().expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// All files below a directory, links not followed.
fn files(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).expect("it is there").flatten() {
        if entry.file_type().expect("a type").is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push(entry.path().display().to_string());
        }
    }
    all
}

#[test]
fn what_is_made_is_said_and_taken_away_again() {
    for (agent, entry) in [("claude", ".claude.json"), ("codex", ".codex/config.toml"), ("srt", "")] {
        let home = TempDir::new();
        let made = init(&home, &["agent", "--for", agent]);
        assert!(made.status.success(), "{}", said(&made));
        let own = home.path().join(".local/share/sluice/agent");
        let stand_in = fs::read(own.join("bin/bwrap")).expect("a copy");
        assert!(stand_in == fs::read(sluicify_bin()).expect("the client"));
        assert!(fs::symlink_metadata(own.join("bin/bwrap")).expect("it is there").is_file());
        let script = fs::read_to_string(own.join(agent)).expect("a script");
        assert!(script.contains("SLUICE_SOCKET=/run/user/7/sluice/agent/sock\n"), "{script}");
        assert_eq!(fs::metadata(own.join(agent)).expect("a file").permissions().mode() & 0o777, 0o755);
        if !entry.is_empty() {
            let text = fs::read_to_string(home.path().join(entry)).expect("an entry");
            assert!(
                text.contains("sluice-agent") && text.contains("/run/user/7/sluice/agent/sock"),
                "{text}"
            );
        }
        for file in files(home.path()) {
            assert!(said(&made).contains(&file), "{file} is not named in:\n{}", said(&made));
        }
        let again = init(&home, &["agent", "--for", agent]);
        assert!(again.status.success() && !said(&again).contains("made "), "{}", said(&again));
        let undone = init(&home, &["agent", "--for", agent, "--undo"]);
        assert!(undone.status.success(), "{}", said(&undone));
        let left = files(home.path());
        let is_config = |file: &String| !entry.is_empty() && file.ends_with(entry);
        assert!(left.iter().all(is_config), "{left:?}");
        let rest: String = left.iter().map(|file| fs::read_to_string(file).expect("a file")).collect();
        assert!(!rest.contains("sluice"), "{rest}");
    }
}

#[test]
fn what_another_agent_of_the_gate_uses_stays() {
    let home = TempDir::new();
    for agent in ["codex", "srt"] {
        let made = said(&init(&home, &["agent", "--for", agent]));
        assert!(made.contains("missing   /run/user/7/sluice/agent/sock: no gate is there"), "{made}");
        assert_eq!(made.contains("missing   sluice-mcp"), agent == "codex", "{made}");
    }
    let stand_in = home.path().join(".local/share/sluice/agent/bin/bwrap");
    let undone = said(&init(&home, &["agent", "--for", "srt", "--undo"]));
    assert!(undone.contains(&format!("kept      {}", stand_in.display())) && stand_in.exists(), "{undone}");
    let undone = said(&init(&home, &["agent", "--for", "codex", "--undo"]));
    assert!(!undone.contains("kept") && !stand_in.exists(), "{undone}");
}

#[test]
fn the_script_starts_the_agent_with_the_stand_in_first() {
    let home = TempDir::new();
    home.mkdir("path", 0o755);
    home.program("path/srt", "#!/bin/sh\necho \"$SLUICE_SOCKET $* $(command -v bwrap)\"\n");
    assert!(init(&home, &["agent", "--for", "srt", "--socket", "/somewhere/a sock"]).status.success());
    let own = home.path().join(".local/share/sluice/agent");
    let path = format!("{}:/usr/bin:/bin", home.path().join("path").display());
    let ran = Command::new(own.join("srt")).args(["x", "y"]).env("PATH", path).output().expect("it runs");
    let want = format!("/somewhere/a sock x y {}/bin/bwrap\n", own.display());
    assert_eq!(String::from_utf8_lossy(&ran.stdout), want);
}

#[test]
fn what_others_made_stays() {
    let home = TempDir::new();
    for directory in [".local", ".local/share", ".local/share/sluice", ".local/share/sluice/agent"] {
        home.mkdir(directory, 0o755);
    }
    home.write(".local/share/sluice/agent/codex", "#!/bin/sh\necho mine\n");
    let refused = init(&home, &["agent", "--for", "codex"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("something else has this name"), "{}", said(&refused));
    let undone = init(&home, &["agent", "--for", "codex", "--undo"]);
    assert_eq!(undone.status.code(), Some(1), "{}", said(&undone));
    let kept = fs::read_to_string(home.path().join(".local/share/sluice/agent/codex")).expect("it stays");
    assert!(kept.contains("mine"));
    home.mkdir(".codex", 0o700);
    let mine = "[mcp_servers.sluice-gate]\ncommand = \"mine\"\n";
    home.write(".codex/config.toml", mine);
    let refused = init(&home, &["gate", "--for", "codex"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("config.toml: its entry sluice-gate was made"), "{}", said(&refused));
    home.write(".claude.json", r#"{"mcpServers":{"sluice-gate":{"command":"mine"}}}"#);
    assert_eq!(init(&home, &["gate", "--for", "claude"]).status.code(), Some(2));
    let undone = init(&home, &["gate", "--for", "claude", "--undo"]);
    assert!(undone.status.code() == Some(1) && said(&undone).contains("left "), "{}", said(&undone));
    assert_eq!(fs::read_to_string(home.path().join(".codex/config.toml")).expect("it stays"), mine);
    assert!(fs::read_to_string(home.path().join(".claude.json")).expect("it stays").contains("mine"));
}

#[test]
fn what_was_made_is_taken_away_without_the_client() {
    let home = TempDir::new();
    assert!(init(&home, &["agent", "--for", "srt"]).status.success());
    home.mkdir("alone", 0o755);
    let alone = home.path().join("alone/sluice");
    // By another process, for the reason in `client.rs`.
    assert!(Command::new("cp").arg(sluice_bin()).arg(&alone).status().expect("it runs").success());
    let mut command = Command::new(alone);
    command.args(["init", "agent", "--for", "srt", "--undo"]).env_clear().env("HOME", home.path());
    let undone = command.env("PATH", "/usr/bin:/bin").output().expect("it runs");
    assert!(undone.status.success(), "{}", said(&undone));
    assert_eq!(files(home.path()).len(), 1, "the program alone");
}

#[test]
fn a_stand_in_of_an_earlier_version_is_replaced_and_no_other_program() {
    let home = TempDir::new();
    assert!(init(&home, &["agent", "--for", "srt"]).status.success());
    let stand_in = home.path().join(".local/share/sluice/agent/bin/bwrap");
    let now = fs::read(&stand_in).expect("a copy");
    fs::write(&stand_in, [&now[..], b"another"].concat()).expect("written");
    assert!(said(&init(&home, &["agent", "--for", "srt"])).contains("made "));
    assert!(fs::read(&stand_in).expect("a copy") == now);
    fs::write(&stand_in, "#!/bin/sh\n").expect("written");
    assert_eq!(init(&home, &["agent", "--for", "srt"]).status.code(), Some(2));
    assert_eq!(init(&home, &["agent", "--for", "srt", "--undo"]).status.code(), Some(1));
    assert_eq!(fs::read_to_string(&stand_in).expect("it stays"), "#!/bin/sh\n");
}

#[test]
fn a_name_that_is_none_changes_nothing_and_a_file_that_is_broken_stays() {
    let home = TempDir::new();
    for name in ["", "../x", "a/b", ".", "-x", "a b", "a.b"] {
        let refused = init(&home, &["--for", "srt", "--", name]);
        assert_eq!(refused.status.code(), Some(2), "{name:?}: {}", said(&refused));
    }
    assert!(files(home.path()).is_empty());
    home.write(".claude.json", "{ broken");
    let refused = init(&home, &["agent", "--for", "claude"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains(".claude.json: it is no JSON object"), "{}", said(&refused));
    for file in files(home.path()).iter().filter(|file| !file.ends_with(".claude.json")) {
        assert!(said(&refused).contains(file), "{file} is not named in:\n{}", said(&refused));
    }
    assert!(!said(&refused).contains("start it by"), "{}", said(&refused));
    assert_eq!(fs::read_to_string(home.path().join(".claude.json")).expect("it stays"), "{ broken");
}
