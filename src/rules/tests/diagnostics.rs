//! Errors of lines, stanzas and words, shown as a person sees them.

use super::load_text;

fn check(text: &str, want: &str) {
    let shown = load_text(text).expect_err("the rules are wrong");
    assert_eq!(shown, want, "\n{shown}");
}

#[test]
fn an_attribute_is_known_supported_and_in_its_place() {
    check(
        "\
defaults:
  timout = 3s
  accepts = x
  scope = auto
echo #n
  logfile = /x
  #n = y
  n = z
  MemoryMax = 1G
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
/r/top.rules:4:3: error: `scope` is not supported by this version
  |   scope = auto
  |   ^^^^^
/r/top.rules:6:3: error: `logfile` speaks of the whole socket
  |   logfile = /x
  |   ^^^^^^^
  help: move it to `defaults:`
/r/top.rules:7:3: error: `#n` is neither an attribute nor a slot of this rule
  |   #n = y
  |   ^^
  help: write `n`
/r/top.rules:9:3: error: `MemoryMax` is not supported by this version
  |   MemoryMax = 1G
  |   ^^^^^^^^^
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
  help: write it under `defaults:` or a rule, or without the blanks before it
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
profile x:
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
/r/top.rules:1:1: error: `profile` is not supported by this version
  | profile x:
  | ^^^^^^^^^^
/r/top.rules:3:1: error: `default:` is not a stanza
  | default:
  | ^^^^^^^^
  help: the stanzas are `defaults:`, rules and `include PATH`; for a program, write 'default:'
/r/top.rules:4:11: error: nothing may follow `defaults:` on its line
  | defaults: x
  |           ^
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

#[test]
fn a_slot_is_one_word_with_one_name_and_a_constraint() {
    check(
        "\
echo #n #n #c
  n = a
",
        "\
/r/top.rules:1:9: error: two slots are named `n`
  | echo #n #n #c
  |         ^^
  help: give each its own name
/r/top.rules:1:12: error: nothing says what the slot `c` accepts
  | echo #n #n #c
  |            ^^
  help: add `c = REGEX` or `c = in DIR` below, or `allow_any = c`
",
    );
    check(
        "\
echo #a... #timeout
  a = x
  timeout = 5
",
        "\
/r/top.rules:1:6: error: `#a...` can only be the last word
  | echo #a... #timeout
  |      ^^^^^
/r/top.rules:1:12: error: a slot cannot be named `timeout`, which is an attribute
  | echo #a... #timeout
  |            ^^^^^^^^
  help: name it `timeout_`, here and below
",
    );
    check(
        "\
#n x
  n = a
",
        "\
/r/top.rules:1:1: error: the program cannot be a slot
  | #n x
  | ^^
  help: write out what may run, one rule for each
",
    );
}

#[test]
fn lists_of_slots_contradict_nothing() {
    check(
        "\
echo #aa #b #c
  aa = x
  b = in /x
  allow_any = aa, a
  allow_dash = aa, b, c
",
        "\
/r/top.rules:1:13: error: nothing says what the slot `c` accepts
  | echo #aa #b #c
  |             ^^
  help: add `c = REGEX` or `c = in DIR` below, or `allow_any = c`
/r/top.rules:2:3: error: `aa` is in `allow_any`, so nothing constrains it
  |   aa = x
  |   ^^
  help: remove this line, or the name from `allow_any`
/r/top.rules:4:19: error: this rule has no slot `a`
  |   allow_any = aa, a
  |                   ^
/r/top.rules:5:16: error: `aa` is in `allow_any` as well
  |   allow_dash = aa, b, c
  |                ^^
  help: `allow_any` alone lets a value start with `-`
/r/top.rules:5:20: error: `b` has no regex
  |   allow_dash = aa, b, c
  |                    ^
  help: only a regex says what a value that starts with `-` may be
/r/top.rules:5:23: error: `c` has no regex
  |   allow_dash = aa, b, c
  |                       ^
  help: only a regex says what a value that starts with `-` may be
",
    );
}

#[test]
fn a_program_is_a_bare_name_or_absolute() {
    check(
        "\
./x
a/b y
'' z
",
        "\
/r/top.rules:1:1: error: a program with a `/` in it has to be an absolute path
  | ./x
  | ^^^
  help: write the whole path, or the bare name and an `exec_path`
/r/top.rules:2:1: error: a program with a `/` in it has to be an absolute path
  | a/b y
  | ^^^
  help: write the whole path, or the bare name and an `exec_path`
/r/top.rules:3:1: error: the program is empty
  | '' z
  | ^^
",
    );
}

#[test]
fn quotes_and_backslashes_are_whole() {
    check(
        "\
echo 'a
echo \"a
echo \\
x #n
  n = 'a' b
",
        "\
/r/top.rules:1:6: error: this quote is not closed
  | echo 'a
  |      ^^
  help: end it with ' on the same line
/r/top.rules:2:6: error: this quote is not closed
  | echo \"a
  |      ^^
  help: end it with \" on the same line
/r/top.rules:3:6: error: nothing follows this backslash
  | echo \\
  |      ^
  help: write `\\\\` for a backslash; a rule stands on one line
/r/top.rules:5:11: error: a quoted value is one word, and this stands behind it
  |   n = 'a' b
  |           ^
  help: put the whole value into one pair of quotes
",
    );
}

#[test]
fn other_variables_are_for_single_quotes() {
    check(
        "\
echo \"$USER\" ${HOME $XDG_RUNTIME_DIR/x '$USER' a$
",
        "\
/r/top.rules:1:7: error: $USER is not a variable that rules may use
  | echo \"$USER\" ${HOME $XDG_RUNTIME_DIR/x '$USER' a$
  |       ^^^^^
  help: only $HOME and $XDG_RUNTIME_DIR expand; for a literal $USER, put it in single quotes
/r/top.rules:1:14: error: `${` begins no variable's name
  | echo \"$USER\" ${HOME $XDG_RUNTIME_DIR/x '$USER' a$
  |              ^^
  help: write ${HOME} or ${XDG_RUNTIME_DIR}; for a literal `${`, put it in single quotes
/r/top.rules:1:21: error: $XDG_RUNTIME_DIR is not set
  | echo \"$USER\" ${HOME $XDG_RUNTIME_DIR/x '$USER' a$
  |                     ^^^^^^^^^^^^^^^^
  help: only $HOME and $XDG_RUNTIME_DIR expand; for a literal $XDG_RUNTIME_DIR, put it in single quotes
",
    );
}

#[test]
fn a_file_is_whole() {
    check(
        "echo a",
        "\
/r/top.rules:1:1: error: the file does not end in a newline
  | echo a
  | ^^^^^^
  help: it may have been cut short; check its end and add the newline
",
    );
    check(
        "\
echo a\0b
",
        "\
/r/top.rules:1:7: error: a NUL byte
  | echo a\\u{0}b
  |       ^^^^^
",
    );
}
