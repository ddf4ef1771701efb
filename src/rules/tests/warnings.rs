//! Tests of warnings of rules that load.

use std::path::{Path, PathBuf};

use super::super::*;
use super::{Texts, load_text, vars};

/// A machine with a few programs and directories.
struct Machine;

impl LintContext for Machine {
    fn program(&self, rule: &Rule) -> Result<PathBuf, MissingProgram> {
        match rule.program.name().unwrap_or_default() {
            name if name.contains("missing") => Err(MissingProgram::Absent),
            "shared" => Err(MissingProgram::Refused("/opt can be written by others".into())),
            name => Ok(Path::new("/bin").join(name)),
        }
    }

    fn missing_interpreter(&self, program: &Path) -> Option<PathBuf> {
        program.ends_with("script").then(|| "/missing/python".into())
    }

    fn file_fault(&self, path: &Path) -> Option<String> {
        path.starts_with("/missing").then(|| format!("{} cannot be made", path.display()))
    }

    fn is_program(&self, name: &str) -> bool {
        ["make", "reboot", "test", "the"].contains(&name)
    }

    fn is_directory(&self, path: &Path) -> bool {
        !path.starts_with("/missing")
    }

    fn gains_privileges(&self, program: &Path) -> bool {
        program.ends_with("sudo")
    }

    fn is_there(&self, path: &Path) -> bool {
        !path.starts_with("/missing")
    }
}

fn warned(text: &str) -> Vec<String> {
    let examined = examine(Path::new("/r/top.rules"), &Texts::new(&[("top.rules", text)]), &vars(), &Machine);
    assert!(examined.policy.is_ok(), "{text}: {:?}", examined.policy);
    examined
        .warnings
        .iter()
        .map(|one| {
            format!("{}:{} {} ({})", one.line(), one.column(), one.message(), one.help().unwrap_or("-"))
        })
        .collect()
}

/// One warning, at this place, with these parts.
#[track_caller]
pub(super) fn check(text: &str, place: &str, parts: &[&str]) {
    let warned = warned(text);
    let [warning] = warned.as_slice() else { panic!("{text}: {warned:?}") };
    assert!(warning.starts_with(&format!("{place} ")), "{text}: {warning}");
    for part in parts {
        assert!(warning.contains(part), "{text}: {part:?} is not in {warning}");
    }
}

#[track_caller]
pub(super) fn check_good(text: &str) {
    assert_eq!(warned(text), [""; 0], "{text}");
}

#[test]
fn a_first_word_that_nobody_means() {
    check("# all of git\n", "1:1", &["`#` is a program", "a comment begins with `;`"]);
    check("// x\n", "1:1", &["a comment begins with `;`"]);
    check("-- x\n", "1:1", &["a comment begins with `;`"]);
    check("FOO=x cmd\n", "1:1", &["no shell sets a variable", "setenv = FOO=x"]);
    check("timeout=5 cmd\n", "1:1", &["indent the line"]);
    check("! grep x\n", "1:1", &["shell's language"]);
    check_good("'#' x\n'FOO=x' y\n");
}

#[test]
fn signs_of_a_shell() {
    check("git log | head\n", "1:9", &["`|` is text", "/bin/sh -c", "'|'"]);
    check("git log || true\n", "1:9", &["`||` is text"]);
    check("git pull && make\n", "1:10", &["`&&` is text"]);
    check("make 2>&1\n", "1:7", &["`>&` is text", "'2>&1'"]);
    check("sleep 5 &\n", "1:9", &["`&` is text"]);
    check("cat < f\n", "1:5", &["`<` is text"]);
    check("ls >f\n", "1:4", &["`>` is text"]);
    check("curl https://x/?a=1&b=2\n", "1:20", &["`&` is text", "'https://x/?a=1&b=2'"]);
    check("ls *.txt\n", "1:4", &["`*` is text", "in DIR"]);
    check("ls ?.txt\n", "1:4", &["`?` is text"]);
    check("ls [ab].txt\n", "1:4", &["`[` is text"]);
    check("ls ~/x\n", "1:4", &["`~` is text", "$HOME"]);
    check("x\n  setenv = A=~/x\n", "2:14", &["`~` is text"]);
    check("echo `date`\n", "1:6", &["is text"]);
    check("echo \"$(date)\"\n", "1:7", &["is text"]);
    check("echo $1\n", "1:6", &["is text"]);
    check("cp {a,b} c\n", "1:4", &["`{` is text"]);
    check("x y\n  refuses = x y | z\n", "2:17", &["`|` is text"]);
    check_good("sh -c 'a | b && c > d; ls *.txt ~/x `d` $(e) {f,g}'\n");
    check_good("curl https://x/?a=1\nfind . -name \\*.o -exec rm {} +\n[ -f x ]\ngit show HEAD~1 a~\n");
}

#[test]
fn signs_of_a_page() {
    check("git\u{a0}log\n", "1:4", &["U+00A0 is no plain blank"]);
    check("echo \u{201c}a\u{201d}\n", "1:6", &["U+201C is a typographic quote"]);
    check("git log \u{2013}n\n", "1:9", &["U+2013 is a typographic dash"]);
    check("git log \u{2014}oneline\n", "1:9", &["U+2014 is a typographic dash"]);
    check("echo a\u{200b}b\n", "1:7", &["not seen"]);
    check_good("echo '\u{a0}\u{201c}\u{2013}' caf\u{e9}\n");
}

#[test]
fn what_is_nearly_a_slot() {
    check("git push agent/#b\n", "1:10", &["is text, and no slot", "`#b`, with `b = agent/[a-z]+`"]);
    check("echo {x}\n", "1:6", &["is text, and no slot", "`#x`"]);
    check("echo <x>\n", "1:6", &["is text, and no slot", "`#x`"]);
    check("head #n?\n", "1:6", &["is text, and no slot", "`#n`"]);
    check("tool --file=#f\n", "1:6", &["`#f`"]);
    check("head #n?\n", "1:6", &["`#n`; where it may be missing, write two rules"]);
    check(
        "git log --author=#who\n",
        "1:9",
        &["`#who`, with `who = --author=[a-z]+` and `allow_dash = who` below"],
    );
    check("x v1.#a.#b\n", "1:3", &["`#a`, with `a = v1\\.[a-z]+\\.[a-z]+` below"]);
    check("x dir/#f...\n", "1:3", &["`#f...`, with `f = dir/[a-z]+` below"]);
    check_good("echo a#b '{x}' \"<x>\"\n");
}

#[test]
fn a_comment_that_looks_like_a_command() {
    check("git pull ; make\n", "1:10", &["`make` is not run", "two rules"]);
    check("git pull ; make test\n", "1:10", &["`make` is not run"]);
    check("git pull ; test -f x && reboot\n", "1:10", &["`test` is not run"]);
    check_good(
        "git pull ; the latest of all that came\ngit push ; Make this\ndf ; nothing\nls ; make sure that it is there\n",
    );
}

#[test]
fn a_value_that_a_comment_cut() {
    check("echo #n\n  n = a;b|c\n", "2:8", &["the value ends here", r"`\;`"]);
    check_good("echo #n\n  n = a ; b\n");
}

#[test]
fn a_comment_that_is_none() {
    let help = "a comment begins with `;`";
    check("git status  # show\n", "1:13", &["`#` is a word here", help]);
    check("git status // show\n", "1:12", &["`//` is a word here", help]);
    check("x y\n  refuses = x z # no\n", "2:17", &["`#` is a word here", help]);
    check("x #b\n  b = [a-z]+  # a branch\n", "2:15", &["a part of the value, and no comment", help]);
    check("x #b\n  b = [a-z]+ #branch\n", "2:14", &["a part of the value", help]);
    check("x #b\n  b = [a-z]+ // a branch\n", "2:14", &["a part of the value", help]);
    check("x #b\n  b = main # or dev\n", "2:12", &["a part of the value", help]);
    check("x\n  cwd = / # the root\n", "2:11", &["a part of the value", help]);
    check("defaults:\n  logfile = /l/#$uid # all\n\nx\n", "2:22", &["a part of the value", help]);
    check("x\n  stdoutfile = /l/#$call # all\n", "2:26", &["a part of the value", help]);
    check_good("git status '#' show\ncurl https://x/ a#y\n");
    check_good("x #b\n  b = '[a-z]+ # x'\nx a #b\n  b = (?x) [a-z]+  # a branch\nx b #b\n  b = a#b\n");
    check_good("x\n  stdoutfile = /l/a #$call\n");
}

/// A regex of a slot, with a warning at its value.
fn check_regex(regex: &str, parts: &[&str]) {
    check(&format!("x #b\n  b = {regex}\n"), "2:7", parts);
}

#[test]
fn regexes_in_the_form_of_another_tool() {
    check_regex("/^[a-z]+$/", &["the slashes", "write `[a-z]+`"]);
    check_regex("'/^[a-z]+$/'", &["the slashes", "write `[a-z]+`"]);
    check_regex("/[a-z]+/i", &["the slashes", "write `[a-z]+`"]);
    check_regex("feature/*", &["`*` repeats the `/`", "write `feature/[^/]*`"]);
    check_regex("src/**", &["`*` repeats the `/`", "write `src/.*`"]);
    check_regex("v*.txt", &["`*` repeats the `v`", r"write `v[^/]*\.txt`"]);
    check_regex("main, dev", &["`main, dev` matches only that text", "write `main|dev`"]);
    check_regex("main,dev", &["only that text", "write `main|dev`"]);
    check_regex("main dev", &["only that text", "write `main|dev`"]);
    check_regex("main or dev", &["only that text", "write `main|dev`"]);
    check_regex("(main, dev)", &["only that text", "write `main|dev`"]);
    check_regex("[main, dev]", &["matches one character", "write `main|dev`"]);
    check_regex("[main|dev]", &["matches one character", "write `main|dev`"]);
    check_regex("main | dev", &["the blanks beside `|`", "write `main|dev`"]);
    check_regex("$HOME/[a-z]+", &["nothing is put in the place of `$`", "in $HOME/DIR"]);
    check_regex("~/[a-z]+", &["nothing is put in the place of `~`", "in $HOME/DIR"]);
    let good = [
        "[a-z]+",
        "/srv/[a-z]+/",
        "/srv/[a-z]+/[a-z]+",
        "main|dev",
        "v1.*",
        ".*",
        "[a-z]*",
        "0|[1-9][0-9]*",
        "a{1,2}",
        "https?",
        "'main, dev'",
        "'feature/*'",
        "' a | b '",
        "[.,_]",
        "[a-z,]+",
        "[,|]",
        "[abc]",
        "main",
        "v1.2",
        r"a\ b",
        "(main|dev)",
        "/",
        "'/[a-z]+/'",
        "~",
        "[^/]*/[^/]*",
    ];
    good.iter().for_each(|regex| check_good(&format!("x #b\n  b = {regex}\n")));
}

#[test]
fn regexes_that_nothing_matches() {
    let anchors = &["no value matches this regex", "leave `^` and `$` out"];
    ["a^b", "x$y", "[a-z]+$foo", "(^a|b^)c^", "a$|^b$a", "$^a"].iter().for_each(|regex| {
        if *regex != "a$|^b$a" {
            check_regex(regex, anchors);
        }
    });
    check_regex(r"[^\s\S]", &["no value matches this regex"]);
    check_regex("[a-z]{4097}", &["no value is as long", "4096 bytes"]);
    let good = [
        "^a$",
        "^[a-z]+$",
        "a$|^b",
        "(^a|b)c",
        "^^a$$",
        r"\ba\b",
        "(?m)^a$",
        "^$",
        "",
        r"\$x",
        "a|b^",
        "[a-z]{4096}",
    ];
    good.iter().for_each(|regex| check_good(&format!("x #b\n  b = '{regex}'\n")));
}

#[test]
fn values_that_only_start_with_a_dash() {
    let want = &["only values that start with `-` match", "add a line `allow_dash = b`"];
    ["--author=[a-z]+", "-[a-z]", "(-a|--all)", "'-x'", "^--", "(-v)?", "[-]+"].iter().for_each(|regex| {
        check_regex(regex, want);
        check_good(&format!("x #b\n  b = {regex}\n  allow_dash = b\n"));
    });
    ["-?[a-z]+", "[-a-z]+", "a-b", "-a|b", ".*"]
        .iter()
        .for_each(|regex| check_good(&format!("x #b\n  b = {regex}\n")));
}

#[test]
fn what_is_not_there() {
    check("missing x\n", "1:1", &["there is no program `missing` in `exec_path`"]);
    check("/x/missing\n", "1:1", &["there is no program /x/missing"]);
    check("shared x\n", "1:1", &["calls of this program are refused: /opt can be written by others"]);
    check("script x\n", "1:1", &["/bin/script begins with `#!/missing/python`, which is not there"]);
    let capture = "/missing/c#$call cannot be made";
    check(
        "x\n  stdoutfile = /missing/c#$call/a.out\n",
        "2:16",
        &[capture, "that the broker's user alone can write"],
    );
    check("defaults:\n  stdinfile = /missing/c#$call\n\nx\n", "2:15", &[capture]);
    check("x\n  stderrfile = /missing/one\n", "2:16", &["/missing/one cannot be made"]);
    check("x\n  cwd = /missing/d\n", "2:9", &["there is no directory /missing/d"]);
    check("defaults:\n  cwd = /missing\n\nx\n", "2:9", &["there is no directory /missing"]);
    check("x #p\n  p = in /missing\n", "2:6", &["there is no directory /missing"]);
    check("x\n  read = /usr /missing/a\n", "2:15", &["there is no /missing/a", "put a `-` in front"]);
    check_good("x\n  read = /usr -/missing/a\n  hide = -/missing/b\n");
    let profile = "profile p:\n  unix = /missing/s\n\nx\n  confine = p\ny\n  confine = p\n";
    check(profile, "2:10", &["there is no /missing/s"]);
    check("x\n  cwd = /missing\n  confine = workspace\n", "2:9", &["there is no directory /missing"]);
    check("x\n  read = /a/*\n", "2:13", &["`*` is text"]);
}

#[test]
fn a_rule_that_no_call_reaches() {
    let hidden = &["no call reaches this rule", "line 1"];
    check("git log\ngit log\n", "2:1", hidden);
    check("git #x\n  allow_any = x\ngit log\n", "3:1", hidden);
    check("git #x\n  x = [a-z]+\ngit log\n", "3:1", hidden);
    check("git #x\n  x = [a-z]+\ngit #y\n  y = [a-z]+\n", "3:1", hidden);
    check("git #x...\n  allow_any = x\ngit a b #c\n  c = x\n", "3:1", hidden);
    check("git #x...\n  allow_any = x\ngit #y...\n  allow_any = y\n", "3:1", hidden);
    check("cat #x\n  x = in /a\ncat #y\n  y = in /a/b\n", "3:1", hidden);
    check_good("git log\ngit #x\n  allow_any = x\n");
    check_good("git #x\n  x = [a-z]+\ngit Log\ngit -x\ngit #y\n  y = [a-z0-9]+\n");
    check_good("git #x\n  x = -?[a-z]+\ngit #y\n  y = -?[a-z]+\n  allow_dash = y\n");
    // The second rule takes a literal and 64 values, which is more than the first rule's 64 values.
    check_good("git #x...\n  allow_any = x\ngit a #y...\n  allow_any = y\n");
    check_good("git a #x...\n  allow_any = x\ngit a\ngit #y...\n  allow_any = y\n");
}

#[test]
fn path_among_inherited_names_is_warned_of() {
    check("x\n  env = HOME,PATH,LANG\n", "2:14", &["has no effect", "exec_path"]);
}

#[test]
fn warnings_cost_little_among_many_rules() {
    let text: String = (0..5000).map(|at| format!("tool a{at} #n\n  n = {at}-[a-z]+\n")).collect();
    check_good(&text);
}

/// Checks that there is an error with this text in its help.
fn check_help(text: &str, help: &str) {
    let said = load_text(text).expect_err("it is an error");
    assert!(said.contains(help), "{text}: {help:?} is not in {said}");
}

#[test]
fn errors_say_what_one_needs() {
    check_help("defaults\n  timeout = 5s\n", "write `defaults:`");
    check_help("defaults :\n", "write `defaults:`");
    check_help("x\n  stdin: null\n", "write `stdin = null`");
    check_help("x\n  stdin null\n", "write `stdin = null`");
    check_help("x\n  env = HOME LANG\n", "write `HOME,LANG`");
    check_help("x\n  env = inherit\n", "with commas between them");
    check_help("x\n  env = all\n", "with commas between them");
    check_help("x\n  env = PATH\n", "exec_path = inherit");
    check_help("x #a #b\n  allow_any = a b\n", "separate names by commas: `a,b`");
    check_help("x #c\n  c = [a-z;]+\n", "a `;` began a comment here");
    check_help("x #c\n  c = (?!main).*\n", "write what is accepted");
    check_help("x #b\n  b = '[a-z]+' # one\n", "a comment begins with `;`");
    check_help("x\n  timeout = 60s # one minute\n", "a comment begins with `;`");
    check_help("x\n  env = HOME # home\n", "a comment begins with `;`");
    check_help("x\n  setenv = A=b # c\n", "a comment begins with `;`");
    check_help("x #n\n  n = a\n  allow_dash = n # c\n", "a comment begins with `;`");
    check_help("x #n\n  n = in here # c\n", "a comment begins with `;`");
    check_help("defaults: # all\n", "a comment begins with `;`");
    check_help("x #b\n  b = [a-z+\n", r"close it with `]`; for the sign itself, write `\[`");
    check_help("x #b\n  b = (a|b\n", "close it with `)`");
    check_help("x #b\n  b = *\n", "write `.*` for any text");
    check_help("x #b\n  b = *.txt\n", "`[^/]*` for the name of a file");
    check_help("x #b\n  b = a\\\n", r"for a backslash itself, write `\\`");
    check_help("x #b\n  b = {main,dev}\n", "`a|b` for one of two");
    check_help("x #b\n  b = [z-a]\n", "from the lower to the higher");
    check_help("x\n  env = $HOME\n", "names stand without `$`: `HOME`");
    check_help("x\n  env = LANG,${HOME}\n", "names stand without `$`: `HOME`");
    check_help("x\n  env = A=b\n", "write `setenv = A=b`");
    check_help("x\n  stdin = none\n", "write `null`");
    check_help("x\n  stdin = /dev/null\n", "write `null`");
    check_help("x\n  tty = off\n", "write `hide`");
    check_help("x\n  on_hangup = ignore\n", "write `keep`");
    check_help("x\n  log = none\n", "write `exit-only`");
    check_help("defaults:\n  journal = yes\n", "write `on`");
    check_help("defaults:\n  sync = on\n", "write `yes`");
    check_help("defaults:\n  scope = none\n", "write `off`");
    check_help("x\n  exec_path = $PATH\n", "write `exec_path = inherit`");
    check_help("x\n  exec_path = /opt/bin:$PATH\n", "write `exec_path = inherit`, alone");
    check_help("x\n  stdoutfile = /c/$call.out\n", "write `#$call`");
    check_help("defaults:\n  logfile = /l/${socket}.jsonl\n", "write `#$socket`");
    check_help("x agent/#b\n  b = [a-z]+\n", "a slot is a whole word: `#b`");
    check_help("x {b}\n  b = [a-z]+\n", "a slot is a whole word: `#b`");
}
