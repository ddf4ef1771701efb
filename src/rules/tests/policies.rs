//! Tests of a loaded policy's settings, listing and hash; and that printing a policy and loading it again
//! changes nothing.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::{Texts, load_text, vars};

const EXAMPLE: &str = "\
; What a file says before its first stanza speaks of no rule.

defaults:
  timeout   = 2m          ; unless a rule says more
  env       = HOME, LANG

  max_calls = 8
  logfile   = $HOME/state/#$socket.jsonl
  setenv    = A=1 B='x y'
  audit     = best-effort
  journal   = require

; The latest commits,
; at most 99.
git --no-pager -C $HOME/review log -n #n
  n       = [1-9][0-9]?
  setenv  = A=2
  setenv  = C=$HOME/c
  cwd     = ${HOME}
  umask   = 077
  stdin   = null
  log     = exit-only
  accepts = git --no-pager -C $HOME/review log -n 5
  refuses = git --no-pager -C $HOME/review log -n 100

/bin/sh -c 'set -e; date; uptime' \"<x>\"   ; a quoted ';' is data
  exec_path  = inherit
  background = keep
  on_hangup  = keep
  max_calls  = 1

tar #opt #file... ; opens archives
  opt        = -[xt]
  file       = in $HOME/in
  allow_dash = opt
";

#[test]
fn the_listing_for_programs_has_the_same_facts() {
    let text = "; Show it.\ngit log -n #n #path...\n  n = [1-9]\n  path = in /tmp\n\nsay #what\n  allow_any = what\n";
    let listing = load_text(text).expect("good rules").listing_json();
    let bounds = r#""max_bytes":4096,"max_values""#;
    let want = format!(
        concat!(
            r#"{{"rules":[{{"command":"git log -n <n> <path>...","about":["Show it."],"words":["git","log","-n","#,
            r#"{{"slot":"n","regex":"[1-9]","dash":false,"many":false,{0}:1}},"#,
            r#"{{"slot":"path","in":"/tmp","dash":false,"many":true,{0}:64}}]}},"#,
            r#"{{"command":"say <what>","about":[],"words":["say","#,
            r#"{{"slot":"what","dash":true,"many":false,{0}:1}}]}}]}}"#,
            "\n"
        ),
        bounds
    );
    assert_eq!(listing, want);
}

#[test]
fn settings_are_effective_once_loaded() {
    let policy = load_text(EXAMPLE).expect("the example is good");
    let [git, sh, tar] = policy.rules() else { panic!("three rules") };
    assert_eq!((policy.max_calls(), policy.audit()), (8, AuditMode::BestEffort));
    assert_eq!(policy.journal(), JournalMode::Require);
    assert_eq!(git.settings.timeout, Some(Duration::from_secs(120)));
    assert_eq!(git.settings.env, ["HOME", "LANG"]);
    let pairs =
        [("B", "x y"), ("A", "2"), ("C", "/home/u/c")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(git.settings.setenv, pairs);
    assert_eq!((git.settings.umask, git.settings.cwd.to_str()), (0o077, Some("/home/u")));
    assert_eq!((git.settings.stdin, git.settings.log), (StdinMode::Null, LogPolicy::ExitOnly));
    assert_eq!((&sh.settings.exec_path, sh.settings.max_calls), (&ExecPath::Inherit, Some(1)));
    assert_eq!((sh.settings.background, sh.settings.on_hangup), (BackgroundMode::Keep, HangupAction::Keep));
    assert_eq!(
        (tar.settings.cwd.to_str(), tar.settings.umask, tar.settings.max_calls),
        (Some("/"), 0o022, None)
    );
    let values =
        TemplateValues { socket: Some(crate::ids::SocketName::new("agent")), ..TemplateValues::default() };
    let logfile = policy.logfile().map(|template| template.expand(&values));
    assert_eq!(logfile, Some("/home/u/state/agent.jsonl".into()));
}

#[test]
fn the_listing_shows_what_callers_may_know() {
    let policy = load_text(EXAMPLE).expect("the example is good");
    let want = "\
git --no-pager -C /home/u/review log -n <n>
  The latest commits,
  at most 99.
  <n> matches [1-9][0-9]?

/bin/sh -c 'set -e; date; uptime' '<x>'

tar <opt> <file>...
  <opt> matches -[xt], and may start with -
  <file>... is a path in /home/u/in, at most 64 values of 4096 bytes
";
    assert_eq!(policy.listing(), want);
    let hidden = load_text("; a\u{1b}[0m\necho #x\n  x = \u{202e}\n").expect("odd, but good").listing();
    assert_eq!(hidden, "echo <x>\n  a\\u{1b}[0m\n  <x> matches \\u{202e}\n");
    assert_eq!(load_text("\n; nothing\n").expect("no rule is no error").rules().len(), 0);
}

#[test]
fn the_hash_covers_files_and_the_variables_they_name() {
    let hash = |text: &str, home: &str| {
        let vars = VariableValues { home: Some(home.into()), ..vars() };
        load(std::path::Path::new("/r/a"), &Texts::new(&[("a", text)]), &vars)
            .expect("good")
            .hash()
            .to_owned()
    };
    assert_eq!(hash("echo a\n", "/a").len(), 64);
    assert_eq!(hash("echo a\n", "/a"), hash("echo a\n", "/b"));
    assert_ne!(hash("echo a\n", "/a"), hash("echo b\n", "/a"));
    assert_ne!(hash("echo $HOME\n", "/a"), hash("echo $HOME\n", "/b"));
}

/// A rule as text, from its own parts; settings and comments too.
fn print(rule: &Rule) -> String {
    let mut text: String = rule.comments().map(|comment| format!("; {comment}\n")).collect();
    let words = rule.words().iter().map(|word| match word {
        ExpectedWord::Literal(literal) => format!("'{}'", literal.replace('\'', r"'\''")),
        ExpectedWord::Slot(slot) => slot.shown().replace('<', "#").replace('>', ""),
    });
    text += &words.collect::<Vec<_>>().join(" ");
    let (mut any, mut dash) = (Vec::new(), Vec::new());
    for slot in rule.slots() {
        match (slot.regex(), slot.directory()) {
            (Some(regex), _) => text += &format!("\n  {} = '{}'", slot.name(), regex.replace('\'', r"'\''")),
            (_, Some(dir)) => text += &format!("\n  {} = in {}", slot.name(), dir.display()),
            (None, None) => any.push(slot.name()),
        }
        if slot.dash() == DashPolicy::Allowed && slot.regex().is_some() {
            dash.push(slot.name());
        }
    }
    for (key, names) in [("allow_any", any), ("allow_dash", dash)] {
        text += &if names.is_empty() { String::new() } else { format!("\n  {key} = {}", names.join(", ")) };
    }
    text + &format!("\n  umask = {:o}\n", rule.settings.umask)
}

fn stanza() -> impl Strategy<Value = String> {
    let literal = "[^\0\n']{0,12}".prop_map(|text| format!("'{text}'"));
    let slot = (0..4usize, "[a-z .;\"$\\\\]{1,8}");
    let words = prop::collection::vec((literal, prop::option::of(slot)), 1..5);
    ("[a-z]{1,8}", words, 0..0o777u32, "[a-z][^\0\n\r]{0,20}", any::<bool>()).prop_map(
        |(program, words, umask, comment, several)| {
            let (mut line, mut lines) = (format!("\n; {}\n'{program}'", comment.trim()), String::new());
            let (mut any, last) = (Vec::new(), words.len());
            for (at, (literal, slot)) in words.into_iter().enumerate() {
                let dots = if several && at + 1 == last { "..." } else { "" };
                line += &if slot.is_some() { format!(" #s{at}{dots}") } else { format!(" {literal}") };
                match slot {
                    Some((0, _)) => any.push(format!("s{at}")),
                    Some((1, _)) => lines += &format!("\n  s{at} = in /w/{at} ; there"),
                    Some((_, text)) => lines += &format!("\n  s{at} = '{}'", text.replace('\\', "\\\\")),
                    None => {}
                }
            }
            lines += &if any.is_empty() { String::new() } else { format!("\n allow_any={}", any.join(",")) };
            format!("{line}{lines}\n  umask = {umask:o}\n")
        },
    )
}

proptest! {
    #[test]
    fn printing_a_policy_and_loading_it_changes_nothing(stanzas in prop::collection::vec(stanza(), 1..6)) {
        let loaded = load_text(&stanzas.concat()).expect("generated rules are good");
        let printed: String = loaded.rules().iter().map(|rule| format!("{}\n", print(rule))).collect();
        let again = load_text(&printed).expect("printed rules are good");
        prop_assert_eq!(again.listing(), loaded.listing());
        let reprinted: String = again.rules().iter().map(|rule| format!("{}\n", print(rule))).collect();
        prop_assert_eq!(reprinted, printed);
    }

    #[test]
    fn no_text_makes_the_loader_fail_otherwise_than_by_saying_so(text in "([a-z#'\"$;=\\\\ \t\n.:{}]|echo #n\n  n = |defaults:\n|include |\n  ){0,40}") {
        if let Err(shown) = load_text(&text) {
            prop_assert!(shown.starts_with("/r/top.rules:"), "{}", shown);
        }
    }
}

#[test]
fn words_of_a_refused_request_are_hidden_where_they_may_be_meant_for_a_rule_that_hides_them() {
    let check = |rules: &str, program: &str, want: bool| {
        assert_eq!(load_text(rules).expect("good rules").hides(program), want, "{program} of {rules}");
    };
    let mixed = "a one\n\na two\n  log = exit-only\n\n/b\n\nc\n  log = argv-only\n";
    for (program, want) in
        [("a", true), ("/b", false), ("b", false), ("/a", false), ("c", false), ("", false)]
    {
        check(mixed, program, want);
    }
    for program in ["a", "elsewhere", ""] {
        check("defaults:\n  log = exit-only\n\na\n\n/b\n", program, true);
        check("a\n\n/b\n", program, false);
    }
}

#[test]
fn limits_hold_to_the_last_one() {
    let loads = |text: &str| load_text(text).is_ok();
    assert!(loads("x\n  timeout = 87840h\n") && !loads("x\n  timeout = 87841h\n"));
    assert!(loads("x\n  timeout = 1ms\n") && !loads("x\n  timeout = 0\n"));
    assert!(loads("x\n  max_calls = 4096\n") && !loads("x\n  max_calls = 4097\n"));
    assert!(loads("x\n  umask = 777\n") && !loads("x\n  umask = 1000\n"));
    let regex = |bytes: usize| format!("x #n\n  n = {}\n", "a".repeat(bytes));
    assert!(loads(&regex(8192)) && !loads(&regex(8193)));
    let resources = |scope: &str| format!("defaults:\n  scope = {scope}\n\nx\n  TasksMax = 5\n");
    assert!(loads(&resources("auto")) && !loads(&resources("off")));
    assert!(loads("defaults:\n  scope = off\n\nx\n"));
}
