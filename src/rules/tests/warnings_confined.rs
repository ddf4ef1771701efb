//! Tests of warnings of confinements, and of rules that work where callers write. Each warning is absent once
//! what it advises is done.

use super::warnings::{check, check_good};

/// The text with `bad` for `BAD` has one warning with these parts; with `good` it has none.
#[track_caller]
fn check_both((text, bad, good): (&str, &str, &str), place: &str, parts: &[&str]) {
    check(&text.replace("BAD", bad), place, parts);
    check_good(&text.replace("BAD", good));
}

const CALLERS: &str = "defaults:\n  caller_writes = /w $HOME/work\n\n";

/// As [`check_both`], of a rule below defaults that say where callers write; its first line is line 4.
#[track_caller]
fn check_callers((rule, bad, good): (&str, &str, &str), place: &str, parts: &[&str]) {
    check_both((&format!("{CALLERS}{rule}"), bad, good), place, parts);
}

#[test]
fn an_unconfined_rule_that_works_where_callers_write() {
    let nothing = "nothing confines what this rule's command does there";
    let cwd = "make\n  cwd = BAD\n";
    check_callers((cwd, "/w/a", "/v/a"), "5:9", &["callers write /w/a", nothing, "`confine = build`"]);
    check_callers((cwd, "$HOME/work", "$HOME/worker"), "5:9", &["callers write /home/u/work"]);
    let cwd = "x\n  cwd = /w\n  BAD\n";
    check_callers((cwd, "umask = 022", "confine = workspace"), "5:9", &["`confine = workspace`"]);
    check_callers((cwd, "net = none", "unix = none\n  write = ."), "5:9", &[nothing]);
    check_good("git status\n  cwd = /w\n");
    let from_defaults = "defaults:\n  caller_writes = /w\n  cwd = /w/a\n  BAD\n\ngit status\n";
    check_both((from_defaults, "umask = 022", "confine = git"), "6:1", &[nothing, "`confine = git`"]);
    check_callers(("BAD\n", "/w/tool x", "/v/tool x"), "4:1", &["callers write /w/tool"]);
}

#[test]
fn words_of_an_unconfined_rule_that_name_what_callers_write() {
    let rules = [
        ("git -C BAD log\n", "4:8"),
        ("git -CBAD log\n", "4:5"),
        ("git --git-dir=BAD log\n", "4:5"),
        ("git --work-tree BAD log\n", "4:17"),
        ("npm --prefix BAD ci\n", "4:14"),
        ("cargo build --manifest-path BAD/Cargo.toml\n", "4:29"),
        ("make -f BAD/Makefile\n", "4:9"),
        ("/bin/sh BAD/run.sh\n", "4:9"),
        ("python3 -I BAD/run.py\n", "4:12"),
        ("git -C #d log\n  d = in BAD\n", "4:8"),
    ];
    for (rule, place) in rules {
        let nothing = "nothing confines what this rule's command does there";
        check_callers((rule, "/w/a", "/v/a"), place, &["callers write /w/a", nothing]);
    }
    // What is read there decides nothing by itself.
    check_good(&format!("{CALLERS}cat /w/a\ncat #f\n  f = in /w\n"));
    check_callers(("git -C BAD log\n  cwd = /\n", "w", "v"), "4:8", &["callers write /w"]);
}

#[test]
fn what_callers_wrote_and_all_sockets() {
    let reaches = &["callers write /w", "reaches every unix socket", "`unix = none`"];
    let rule = "x\n  cwd = /w\n  confine = workspace\n  BAD\n";
    check_callers((rule, "unix = any", "unix = /run/s"), "5:9", reaches);
    let rule = "x\n  cwd = /w\n  write = .\n  exec = BAD\n";
    check_callers((rule, "/w/bin", "/usr"), "5:9", reaches);
}

#[test]
fn a_directory_that_callers_write_is_there() {
    let text = "defaults:\n  caller_writes = /w BAD\n\nx\n";
    check_both((text, "/missing", "/here"), "2:22", &["there is no directory /missing"]);
}

#[test]
fn the_secrets_of_other_rules_are_read() {
    let secret = "x\n  credential = a as A\n\n";
    let rule = format!("{secret}y\n  confine = system\n  read = /a BAD\n");
    let said =
        &["is read, with the secrets of other rules in it", "`hide = -/home/u/.config/sluice/credentials`"];
    check_both((&rule, "$HOME", "$HOME/work"), "6:13", said);
    check_both((&rule, "$HOME/.config/sluice", "$HOME/.config/git"), "6:13", said);
    check_both((&rule, "$HOME", "$HOME\n  hide = -$HOME/.config/sluice/credentials"), "6:13", said);
    check_good(&rule.replace(secret, "").replace("BAD", "$HOME"));
}

#[test]
fn a_profile_that_no_rule_has() {
    let parts = &["no rule has the profile `p`", "write `confine = p`"];
    check_both(("profile p:\n  net = none\n\nx\n  BAD\n", "net = none", "confine = p"), "1:9", parts);
    let extended = "profile p:\n  net = none\nprofile q:\n  BAD\nx\n  confine = q\n";
    check_both((extended, "net = none", "extends = p"), "1:9", parts);
    check_good("defaults:\n  confine = p\n\nprofile p:\n  net = none\n\nx\n");
}

#[test]
fn the_home_is_written() {
    let rule = "x\n  cwd = BAD\n  confine = workspace\n";
    check_both((rule, "$HOME", "$HOME/work"), "2:9", &["/home/u is written, with all of the home in it"]);
    check_both((rule, "/home", "/homes"), "2:9", &["/home is written"]);
    check_both(("x\n  write = /a BAD\n", "/", "/b"), "2:14", &["/ is written"]);
    check_both(("x\n  write = /a BAD\n", "$HOME", "$HOME/b"), "2:14", &["/home/u is written"]);
    check_good("x\n  cwd = $HOME\n  read = .\n");
}

#[test]
fn a_program_that_gains_rights() {
    let setuid = &["`sudo` is a setuid program", "write `confine = none`"];
    check_both(("BAD x\n  net = none\n", "sudo", "env"), "1:1", setuid);
    check_both(("/usr/bin/sudo x\n  BAD\n", "tmp = private", "confine = none"), "1:1", setuid);
    let manager = "`run0` asks the service manager by a unix socket";
    check_both(("run0 x\n  unix = BAD\n", "none", "any"), "1:1", &[manager]);
}

#[test]
fn values_that_the_command_does_not_see() {
    let rule = "cat #f\n  f = in /data\n  BAD\n";
    let parts = &["values lie in /data", "add `read = /data`"];
    for good in ["read = /data", "read = /", "write = /data/in", "exec = /data/", "net = none"] {
        check_both((rule, "read = /usr", good), "2:7", parts);
    }
    check_both((rule, "hide = /data", "hide = /data/secret"), "2:7", parts);
    check_both((rule, "confine = system", "confine = none"), "2:7", parts);
    let temporary = "cat #f\n  f = in /tmp/in\n  tmp = BAD\n";
    check_both((temporary, "private", "shared"), "2:7", &["values lie in /tmp/in"]);
}
