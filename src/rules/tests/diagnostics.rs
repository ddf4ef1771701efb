//! Tests of the errors of lines and stanzas, as a person sees them.

use super::load_text;

fn check(text: &str, want: &str) {
    let shown = load_text(text).expect_err("the rules are wrong");
    assert_eq!(shown, want, "\n{shown}");
}

#[test]
fn an_attribute_is_known_and_in_its_place() {
    check(
        "\
defaults:
  timout = 3s
  accepts = x
  scope = maybe
echo #n
  logfile = /x
  #n = y
  n = z
",
        "\
/r/top.rules:2:3: error: `timout` is not an attribute
  |   timout = 3s
  |   ^^^^^^
  help: write `timeout`
/r/top.rules:3:3: error: `accepts` speaks of one rule
  |   accepts = x
  |   ^^^^^^^
  help: move it to a rule
/r/top.rules:4:11: error: `maybe` is not one of `auto`, `require`, `delegate`, `off`
  |   scope = maybe
  |           ^^^^^
/r/top.rules:6:3: error: `logfile` speaks of the whole socket
  |   logfile = /x
  |   ^^^^^^^
  help: move it to `defaults:`
/r/top.rules:7:3: error: `#n` is neither an attribute nor a slot of this rule
  |   #n = y
  |   ^^
  help: write `n`
",
    );
}

#[test]
fn a_key_stands_once_and_every_value_is_read() {
    check(
        "\
foo #a
  a = x
  a = y
  timeout = 
  timeout = 18446744073709551615h
  setenv = A=1
  setenv = A=2
",
        "\
/r/top.rules:3:3: error: `a` is set on line 2 already
  |   a = y
  |   ^
  help: keep one of the two
/r/top.rules:4:12: error: `timeout` has no value
  |   timeout = 
  |            ^
  help: for an empty one, write ''; for a `;`, write `\\;`
/r/top.rules:5:3: error: `timeout` is set on line 4 already
  |   timeout = 18446744073709551615h
  |   ^^^^^^^
  help: keep one of the two
/r/top.rules:5:13: error: this timeout is too long
  |   timeout = 18446744073709551615h
  |             ^^^^^^^^^^^^^^^^^^^^^
  help: the longest is 87840h; leave the line out for none
",
    );
}

#[test]
fn an_indented_line_is_an_attribute_of_a_stanza() {
    check(
        "  x = y
foo
  x y
  = z
timeout = 5s
",
        "\
/r/top.rules:1:3: error: an indented line belongs to the stanza above, and there is none
  |   x = y
  |   ^^^^^
  help: write it under `defaults:`, a rule or a profile, or without the blanks before it
/r/top.rules:3:3: error: an indented line is `key = value`, and this has no `=`
  |   x y
  |   ^^^
  help: a rule or a stanza starts at the beginning of its line
/r/top.rules:4:3: error: no key before the `=`
  |   = z
  |   ^^^
/r/top.rules:5:1: error: `timeout` is an attribute, and stands here as a program
  | timeout = 5s
  | ^^^^^^^
  help: indent the line; for a program of this name, quote the `=`
",
    );
}

#[test]
fn stanzas_are_told_from_programs() {
    check(
        "\
profile x
  read = /
default:
defaults: x
defaults:
  env = A
defaults:
  env = B
include
",
        "\
/r/top.rules:1:1: error: `profile x` has no colon, and would be a rule for a program named `profile`
  | profile x
  | ^^^^^^^^^
  help: write `profile x:`; for the program, write 'profile'
/r/top.rules:3:1: error: `default:` is not a stanza
  | default:
  | ^^^^^^^^
  help: write `defaults:`
/r/top.rules:4:11: error: nothing may follow `defaults:` on its line
  | defaults: x
  |           ^
  help: attributes stand below it, indented; a comment begins with `;`
/r/top.rules:7:1: error: `defaults:` stands on line 5 already
  | defaults:
  | ^^^^^^^^^
  help: put everything under one
/r/top.rules:9:1: error: `include` takes one path
  | include
  | ^^^^^^^
  help: write `include PATH`; a program of this name is written 'include'
",
    );
}
