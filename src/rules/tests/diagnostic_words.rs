//! Tests of the errors of slots and words, as a person sees them.

use super::load_text;

fn check(text: &str, want: &str) {
    let shown = load_text(text).expect_err("the rules are wrong");
    assert_eq!(shown, want, "\n{shown}");
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
