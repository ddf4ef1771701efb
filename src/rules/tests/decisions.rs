//! Tests of the rule that a command line gets, and of the explanation of a miss.

use crate::limits::{REST_VALUES_MAX, VALUE_BYTES_MAX};

use super::super::*;
use super::{claimed, load_files, load_text};

/// The verdict as a line: `LINE name=value…`, or `reason: explanation`.
fn verdict(policy: &Policy, argv: &[&str]) -> String {
    match policy.decide(&claimed(argv), &LexicalPaths) {
        Ok(matched) => {
            let slots =
                matched.slots().into_iter().map(|(name, values)| format!(" {name}={}", values.join(",")));
            format!("{}{}", matched.rule.line, slots.collect::<String>())
        }
        Err(miss) => format!("{}: {}", miss.reason.as_str(), miss.explanation),
    }
}

fn check(rules: &str, argv: &[&str], want: &str) {
    let policy = load_text(rules).expect("the rules are good");
    assert_eq!(verdict(&policy, argv), want, "{argv:?}");
}

const GIT: &str = "\
git log
git log -n #n
  n = [1-9][0-9]?
git show #ref #path...
  ref = -?[a-z]+
  path = in /w
/bin/echo #word
  allow_any = word
";

#[test]
fn the_first_rule_that_matches_wins() {
    check(GIT, &["git", "log"], "1");
    check(GIT, &["git", "log", "-n", "7"], "2 n=7");
    check(GIT, &["git", "show", "main", "/w/a", "/w/b"], "4 ref=main path=/w/a,/w/b");
    check("echo a\necho #x\n  x = a\n", &["echo", "a"], "1");
    check("echo #x\n  x = b\necho #y\n  y = a\n", &["echo", "a"], "3 y=a");
    check(GIT, &["/bin/echo", "-n"], "7 word=-n");
}

#[test]
fn a_miss_names_the_nearest_rule_and_the_word() {
    check(
        GIT,
        &["git", "log", "-n", "x"],
        "no_rule: nearest is `git log -n <n>`: <n> matches [1-9][0-9]?, and `x` does not",
    );
    check(GIT, &["git", "log", "-n"], "no_rule: nearest is `git log -n <n>`: <n> is missing as argument 3");
    check(GIT, &["git", "log", "--all"], "no_rule: nearest is `git log`: it ends before argument 2, `--all`");
    check(GIT, &["git", "push"], "no_rule: nearest is `git log`: argument 1 is `push`, not `log`");
    check(
        GIT,
        &["git", "show", "-x", "/w/a"],
        "option_like: nearest is `git show <ref> <path>...`: <ref> refuses `-x`, which starts with `-` (`allow_dash` does not name it)",
    );
    check(
        GIT,
        &["git", "show", "x", "/w/../a"],
        "outside: nearest is `git show <ref> <path>...`: <path>... is a path in /w, and `/w/../a` is not",
    );
    check(GIT, &["rm", "-rf", "/"], "no_rule: no rule runs `rm`");
    check(GIT, &["\u{1b}[2J"], "no_rule: no rule runs `\\u{1b}[2J`");
    check(
        GIT,
        &["echo", "x"],
        "no_rule: no rule runs `echo`; the nearest, `/bin/echo <word>`, has to be called by exactly that name",
    );
    check(GIT, &[], "no_rule: no rule runs ``");
}

#[test]
fn a_dash_is_worth_more_than_a_path_and_a_path_more_than_the_rest() {
    let rules = "x #p\n  p = in /w\nx #d\n  d = -?a\nx #n\n  n = [0-9]\n";
    check(
        rules,
        &["x", "-a"],
        "option_like: nearest is `x <p>`: <p> refuses `-a`, which starts with `-` (`allow_dash` does not name it)",
    );
    check(rules, &["x", "a"], "3 d=a");
    check(
        rules,
        &["x", "b"],
        "outside: nearest is `x <p>`: <p> is a path in /w, and `b` is not: a relative path starts at the rule's `cwd`, not at yours",
    );
}

#[test]
fn alternation_takes_whole_values_only() {
    let rules = "git switch #b\n  b = main|develop\n";
    check(rules, &["git", "switch", "develop"], "1 b=develop");
    for part in ["mainx", "xdevelop", "main\n", ""] {
        assert!(verdict(&load_text(rules).expect("good"), &["git", "switch", part]).starts_with("no_rule"));
    }
}

#[test]
fn a_value_is_at_most_4096_bytes() {
    let (fits, long) = ("x".repeat(VALUE_BYTES_MAX), "x".repeat(VALUE_BYTES_MAX + 1));
    for rules in ["echo #a\n  a = x*\n", "echo #a\n  allow_any = a\n"] {
        check(rules, &["echo", &fits], &format!("1 a={fits}"));
        check(
            rules,
            &["echo", &long],
            "too_long: nearest is `echo <a>`: <a> takes at most 4096 bytes, and argument 1 has 4097",
        );
    }
}

#[test]
fn a_slot_for_several_values_takes_1_to_64() {
    let rules = "rm #f...\n  f = [a-z]\n";
    check(rules, &["rm"], "no_rule: nearest is `rm <f>...`: <f>... is missing as argument 1");
    let mut argv = vec!["rm"];
    argv.extend(["a"; REST_VALUES_MAX]);
    assert!(verdict(&load_text(rules).expect("good"), &argv).starts_with("1 f=a,a"));
    argv.push("a");
    check(rules, &argv, "too_many: nearest is `rm <f>...`: <f>... takes at most 64 values, and these are 65");
    check(
        rules,
        &["rm", "a", "-b"],
        "no_rule: nearest is `rm <f>...`: <f>... matches [a-z], and `-b` does not",
    );
}

#[test]
fn included_rules_stand_where_their_line_stands() {
    let top = "echo a\ninclude sub/b.rules\necho #x\n  x = .*\n";
    let files =
        [("top.rules", top), ("sub/b.rules", "include ../c.rules\necho b\n"), ("c.rules", "echo c\n")];
    let policy = load_files(&files).expect("the rules are good");
    let places: Vec<_> =
        policy.rules().iter().map(|rule| format!("{}:{}", rule.file.display(), rule.line)).collect();
    assert_eq!(places, ["/r/top.rules:1", "/r/c.rules:1", "/r/sub/b.rules:2", "/r/top.rules:3"]);
    assert_eq!(verdict(&policy, &["echo", "c"]), "1");
    assert_eq!(policy.files().len(), 3);
}

#[test]
fn a_quoted_slot_is_a_literal() {
    check("gh issue view '#12'\n", &["gh", "issue", "view", "#12"], "1");
    check("echo \\#a # #a/b\n", &["echo", "#a", "#", "#a/b"], "1");
    check("echo #01\n  1 = x\n", &["echo", "x"], "1 1=x");
}

#[test]
fn rules_in_the_style_of_earlier_files_decide_the_same() {
    let rules = "\
defaults:
  timeout = 30s
  env     = HOME,PATH

; --- backups ---

; Only below one tree: no dot in the class.
sudo -u backup rsync -a #1 #to
  1  = ^/srv/in/[a-z0-9_-]+(/[a-z0-9_-]+)*/?$
  to = '^/srv/out/[a-z;]+$'     ; a quoted `;` is data
  timeout = 300s

sort #opt #file
  opt  = ^-[rn]$
  file = ^[a-z]+\\.txt$
  allow_dash = #opt

/bin/sh -c 'set -e; date'
";
    check(
        rules,
        &["sudo", "-u", "backup", "rsync", "-a", "/srv/in/a/b", "/srv/out/a;b"],
        "8 1=/srv/in/a/b to=/srv/out/a;b",
    );
    check(rules, &["sort", "-r", "a.txt"], "13 opt=-r file=a.txt");
    check(rules, &["/bin/sh", "-c", "set -e; date"], "18");
    let policy = load_text(rules).expect("the rules are good");
    for dots in ["/srv/in/a/../b", "/srv/in/", "x/srv/in/a"] {
        assert!(
            policy
                .decide(&claimed(&["sudo", "-u", "backup", "rsync", "-a", dots, "/srv/out/a"]), &LexicalPaths)
                .is_err()
        );
    }
}

#[test]
fn too_many_values_are_told_of_the_rule_that_takes_several() {
    let rules = "rm -r x\nrm #f...\n  allow_any = f\n";
    let argv: Vec<_> = std::iter::once("rm").chain(std::iter::repeat_n("a", 66)).collect();
    check(rules, &argv, "too_many: nearest is `rm <f>...`: <f>... takes at most 64 values, and these are 66");
}

#[test]
fn a_decision_has_an_end() {
    let value = "a".repeat(4096);
    let rules = "echo #x\n  x = (?:[a-z]{0,99}){0,90}\n\necho #y\n  y = a+\n";
    // The second rule accepts the value, but whether the first would is not known.
    let want = "too_costly: nearest is `echo <x>`: finding out whether <x> accepts argument 1 takes too long; \
                send fewer or shorter values";
    check(rules, &["echo", &value], want);
    check(rules, &["echo", "aaaa"], "1 x=aaaa");
}

#[test]
fn the_steps_of_all_rules_and_values_count_together() {
    let rule = |at: usize| format!("echo #x{at}...\n  x{at} = (?:[a-z]{{0,20}}){{0,20}}\n\n");
    let rules: String = (0..40).map(rule).collect();
    let policy = load_text(&rules).expect("the rules are good");
    let value = "a".repeat(70);
    let refused = |values| -> Vec<&str> {
        let values = std::iter::repeat_n(value.as_str(), values);
        std::iter::once("echo").chain(values).chain(["1"]).collect()
    };
    assert!(verdict(&policy, &refused(0)).starts_with("no_rule"));
    assert!(verdict(&policy, &refused(9)).starts_with("too_costly"));
    let policy = load_text(&rule(0)).expect("the rule is good");
    assert!(verdict(&policy, &refused(9)).starts_with("no_rule"));
    assert!(verdict(&policy, &refused(63)).starts_with("too_costly"));
}

#[test]
fn what_looks_alike_is_told_apart() {
    let rules = "echo caf\u{e9}\n";
    let want = "no_rule: nearest is `echo 'caf\u{e9}'`: argument 1 is `cafe\u{301}`, not `caf\u{e9}` (character 4 is U+0065, not U+00E9)";
    check(rules, &["echo", "cafe\u{301}"], want);
    check("echo a\n", &["echo", "b"], "no_rule: nearest is `echo a`: argument 1 is `b`, not `a`");
}
