//! Tests of the errors of values and includes, as a person sees them.

use super::load_files;

fn check_files(files: &[(&str, &str)], want: &str) {
    let shown = load_files(files).expect_err("the rules are wrong");
    assert_eq!(shown, want, "\n{shown}");
}

fn check(text: &str, want: &str) {
    check_files(&[("top.rules", text)], want);
}

#[test]
fn a_flaw_of_a_regex_has_its_place() {
    check(
        "\
echo #n
  n = a)|(b
",
        "\
/r/top.rules:2:8: error: not a regex: unopened group
  |   n = a)|(b
  |        ^
  help: for the sign itself, write `\\)`
",
    );
    check(
        "\
echo #n
  n = x\\;[b
",
        "\
/r/top.rules:2:10: error: not a regex: unclosed character class
  |   n = x\\;[b
  |          ^
  help: close it with `]`; for the sign itself, write `\\[`
",
    );
    check(
        "\
echo #n
  n = (?:x{1000}){1000}{100}
",
        "\
/r/top.rules:2:7: error: this regex compiles to more than 1048576 bytes
  |   n = (?:x{1000}){1000}{100}
  |       ^^^^^^^^^^^^^^^^^^^^^^
",
    );
}

#[test]
fn a_directory_of_proc_is_none_for_paths() {
    check(
        "\
cat #p
  p = in /proc/self/cwd
",
        "\
/r/top.rules:2:10: error: what is in there is another thing to each process
  |   p = in /proc/self/cwd
  |          ^^^^^^^^^^^^^^
  help: name a directory that is on disk; no path of proc(5) is accepted
",
    );
}

#[test]
fn values_say_what_they_should_be() {
    check(
        "\
echo #p
  p = in work
  stdin = nul
  env = A,,B
  setenv = A=1 'B C=2' D
  umask = 9
  exec_path = /bin::x
  max_calls = 0
  cwd = x
",
        "\
/r/top.rules:2:10: error: this path is not absolute
  |   p = in work
  |          ^^^^
  help: write `in /DIR` or `in $HOME/DIR`; put a regex that begins with `in ` in single quotes
/r/top.rules:3:11: error: `nul` is not one of `caller`, `null`
  |   stdin = nul
  |           ^^^
  help: write `null`
/r/top.rules:4:11: error: a name is missing here
  |   env = A,,B
  |           ^
/r/top.rules:5:16: error: `B C` is not a variable's name
  |   setenv = A=1 'B C=2' D
  |                ^^^^^^^
  help: names are letters, digits and `_`, and begin with no digit
/r/top.rules:6:11: error: `9` is not a umask
  |   umask = 9
  |           ^
  help: write three octal digits: `077`
/r/top.rules:7:20: error: this path is not absolute
  |   exec_path = /bin::x
  |                    ^
  help: begin it with `/` or `$HOME/`
/r/top.rules:8:15: error: `max_calls` is a number from 1 to 4096
  |   max_calls = 0
  |               ^
/r/top.rules:9:9: error: this path is not absolute
  |   cwd = x
  |         ^
  help: begin it with `/` or `$HOME/`
",
    );
}

#[test]
fn the_manifest_has_a_path_of_its_own() {
    check(
        "\
defaults:
  logfile = /x/#$call/#$foo
  audit = strikt
",
        "\
/r/top.rules:2:16: error: `#$call` is not known when the manifest is opened
  |   logfile = /x/#$call/#$foo
  |                ^^^^^^
  help: use #$ts, #$ts_ms, #$uid or #$socket: the manifest is one file for all calls
/r/top.rules:3:11: error: `strikt` is not one of `strict`, `best-effort`
  |   audit = strikt
  |           ^^^^^^
  help: write `strict`
",
    );
    check(
        "\
defaults:
  logfile = x
",
        "\
/r/top.rules:2:13: error: this path is not absolute
  |   logfile = x
  |             ^
  help: begin it with `/` or `$HOME/`
",
    );
}

#[test]
fn a_promise_is_checked_at_its_place() {
    check(
        "\
echo #n #p
  n = [0-9]+
  p = in /w
  accepts = echo 5 /w/a/../b
  accepts = echo x /w/a
  accepts = echo 5 /w/../a ; no
  refuses = echo 7 /w/a
  refuses = echo 7
",
        "\
/r/top.rules:5:13: error: the rule does not accept this: <n> matches [0-9]+, and `x` does not
  |   accepts = echo x /w/a
  |             ^^^^^^^^^^^
/r/top.rules:6:13: error: the rule does not accept this: <p> is a path in /w, and `/w/../a` is not
  |   accepts = echo 5 /w/../a ; no
  |             ^^^^^^^^^^^^^^
/r/top.rules:7:13: error: the rule accepts this, and must not
  |   refuses = echo 7 /w/a
  |             ^^^^^^^^^^^
",
    );
}

#[test]
fn what_is_shown_drives_no_terminal() {
    check(
        "\
echo\u{1b}[31m\t#n
\tn = \u{202e}(
",
        "\
/r/top.rules:2:7: error: not a regex: unclosed group
  |  n = \\u{202e}(
  |              ^
  help: close it with `)`; for the sign itself, write `\\(`
",
    );
}

#[test]
fn includes_fail_where_they_are_written() {
    let files = [
        (
            "top.rules",
            "\
include a
include /r/none
  x = y
",
        ),
        (
            "a",
            "\
defaults:
  env = A
include ./top.rules
",
        ),
    ];
    check_files(
        &files,
        "\
/r/top.rules:2:9: error: /r/none cannot be read: no such file
  | include /r/none
  |         ^^^^^^^
/r/top.rules:3:3: error: an indented line belongs to the stanza above, and there is none
  |   x = y
  |   ^^^^^
  help: write it under `defaults:`, a rule or a profile, or without the blanks before it
/r/a:1:1: error: only the top file may have `defaults:`
  | defaults:
  | ^^^^^^^^^
/r/a:3:9: error: /r/top.rules includes itself
  | include ./top.rules
  |         ^^^^^^^^^^^
",
    );
}

#[test]
fn what_systemd_tells_the_broker_is_not_inherited() {
    check(
        "\
echo a
  env = HOME, NOTIFY_SOCKET
",
        "\
/r/top.rules:2:15: error: `NOTIFY_SOCKET` is between systemd and the broker
  |   env = HOME, NOTIFY_SOCKET
  |               ^^^^^^^^^^^^^
  help: no command gets it; leave it out
",
    );
}

#[test]
fn what_only_a_manager_does_needs_one_to_ask() {
    check(
        "\
defaults:
  Slice = batch.slice
  scope = delegate
echo a
  TasksMax      = 5
  RuntimeMaxSec = 5s
  OOMPolicy     = stop
echo b
  OOMPolicy     = kill
",
        "\
/r/top.rules:2:3: error: only a service manager can do this, and `scope = delegate` asks none
  |   Slice = batch.slice
  |   ^^^^^
/r/top.rules:6:3: error: only a service manager can do this, and `scope = delegate` asks none
  |   RuntimeMaxSec = 5s
  |   ^^^^^^^^^^^^^
  help: use `timeout`
/r/top.rules:7:3: error: only a service manager can do this, and `scope = delegate` asks none
  |   OOMPolicy     = stop
  |   ^^^^^^^^^
  help: write `kill` or `continue`
",
    );
}

#[test]
fn a_credential_says_what_is_wrong_with_it() {
    check(
        "\
defaults:
  credential = a as A

gh
  credential = gh-token
  credential = gh-token as file
  credential = ../x as X
  credential = GH_TOKEN=ghp_1 as X
  credential = 'a b' as X
  credential = a as $X
",
        "\
/r/top.rules:2:3: error: `credential` speaks of one rule
  |   credential = a as A
  |   ^^^^^^^^^^
  help: move it to a rule
/r/top.rules:5:16: error: `credential` takes `NAME as VARIABLE` or `NAME as file VARIABLE`
  |   credential = gh-token
  |                ^^^^^^^^
  help: write `credential = gh-token as GH_TOKEN`, or `gh-token as file GH_TOKEN_FILE`
/r/top.rules:6:16: error: `credential` takes `NAME as VARIABLE` or `NAME as file VARIABLE`
  |   credential = gh-token as file
  |                ^^^^^^^^^^^^^^^^
  help: write `credential = gh-token as GH_TOKEN`, or `gh-token as file GH_TOKEN_FILE`
/r/top.rules:7:16: error: ../x is not the name of a credential
  |   credential = ../x as X
  |                ^^^^
  help: it is one file's name: systemd's LoadCredential=NAME:PATH, or a file in ~/.config/sluice/credentials
/r/top.rules:8:16: error: a secret does not stand in rules, which callers and records may show
  |   credential = GH_TOKEN=ghp_1 as X
  |                ^^^^^^^^^^^^^^
  help: write it into a file, and here `NAME as VARIABLE`, NAME being the file's name
/r/top.rules:9:16: error: 'a b' is not the name of a credential
  |   credential = 'a b' as X
  |                ^^^^^
  help: use letters, digits, and signs of ASCII without `:`
/r/top.rules:10:21: error: `$X` is not a variable's name
  |   credential = a as $X
  |                     ^^
  help: names are letters, digits and `_`, and begin with no digit
",
    );
}

#[test]
fn a_variable_that_holds_a_secret_has_no_other_meaning() {
    check(
        "\
defaults:
  setenv = E=1

gh
  setenv = B=1
  env = C
  credential = a as LD_PRELOAD
  credential = a as file NOTIFY_SOCKET
  credential = a as B
  credential = a as C
  credential = a as D
  credential = b as file D
  credential = a as E
",
        "\
/r/top.rules:7:21: error: programs obey `LD_PRELOAD`, so it can hold no secret
  |   credential = a as LD_PRELOAD
  |                     ^^^^^^^^^^
  help: name the variable from which the program reads its secret: `GH_TOKEN`
/r/top.rules:8:26: error: systemd has its own meaning for `NOTIFY_SOCKET`, so it can hold no secret
  |   credential = a as file NOTIFY_SOCKET
  |                          ^^^^^^^^^^^^^
  help: name the variable from which the program reads its secret: `GH_TOKEN`
/r/top.rules:9:21: error: `B` is set by `setenv` too
  |   credential = a as B
  |                     ^
  help: keep one of the two, or name another variable
/r/top.rules:10:21: error: `C` is set by `env` too
  |   credential = a as C
  |                     ^
  help: keep one of the two, or name another variable
/r/top.rules:12:26: error: `D` is set by another `credential` too
  |   credential = b as file D
  |                          ^
  help: keep one of the two, or name another variable
/r/top.rules:13:21: error: `E` is set by `setenv` too
  |   credential = a as E
  |                     ^
  help: keep one of the two, or name another variable
",
    );
}
