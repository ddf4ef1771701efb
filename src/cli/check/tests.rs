//! Tests of what a check prints, of rules in memory and on a machine that has everything.

use crate::rules::{ExaminedRules, LintContext, RulesSource, VariableValues, examine};

use std::collections::HashMap;

use super::*;

struct Text(&'static str);

impl RulesSource for Text {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.into())
    }
}

/// A machine that has every program and file that is asked for.
struct Everything;

impl LintContext for Everything {
    fn program(&self, _: &Rule) -> Result<PathBuf, MissingProgram> {
        Ok("/bin/x".into())
    }

    fn missing_interpreter(&self, _: &Path) -> Option<PathBuf> {
        None
    }

    fn file_fault(&self, _: &Path) -> Option<String> {
        None
    }

    fn is_program(&self, _: &str) -> bool {
        true
    }

    fn is_directory(&self, _: &Path) -> bool {
        true
    }

    fn is_there(&self, _: &Path) -> bool {
        true
    }

    fn gains_privileges(&self, _: &Path) -> bool {
        false
    }
}

fn check(form: OutputForm, rigour: WarningLevel, rules: &'static str, want: &[&str], good: bool) {
    let asked = [RulesArgument::File("/r/a.rules".into())];
    let look = |asked: &RulesArgument| {
        let ExaminedRules { policy, warnings } =
            examine(asked.file(), &Text(rules), &VariableValues::default(), &Everything);
        let policy = policy.map_err(LoadError::Rules);
        InspectedRules {
            policy,
            warnings,
            distrusted: Vec::new(),
            manifest: Some("/m.jsonl".into()),
            confined: HashMap::new(),
        }
    };
    let mut out = Vec::new();
    let answer = write_checks(&asked, (form, rigour, CheckDetail::All), &look, &mut out)
        .expect("memory takes every write");
    let said = String::from_utf8(out).expect("the answer is text");
    let mut rest = said.as_str();
    for part in want {
        let (_, behind) = rest.split_once(part).unwrap_or_else(|| panic!("{part:?} is not in {said}"));
        rest = behind;
    }
    assert_eq!(answer, if good { ExitCode::SUCCESS } else { ExitCode::from(NO) });
}

const RULES: &str = "git log #n #any\n  n = -?[0-9]\n  allow_dash = n\n  allow_any = any\n\
    /bin/nothing #f...\n  f = in /w\n  stdoutfile = /c/#$call.out\n  timeout = 2s\n";

#[test]
fn a_good_file_is_told_rule_by_rule() {
    let want = [
        "/r/a.rules:1: git log <n> <any>\n  runs ",
        "  <n> matches -?[0-9], and may start with -\n  <any> is any value, at most 4096 bytes\n",
        "  widened: <n> (allow_dash)\n  widened: <any> (allow_any)\n  with timeout = none, cwd = /, umask = 022",
        "/r/a.rules:5: /bin/nothing <f>...\n  runs /bin/nothing, which is not there\n",
        "  captures stdout in /c/#$call.out\n  with timeout = 2s",
        "the socket has max_calls = 64, audit = strict, scope = auto, journal = on, sync = no, fifo = no, logfile = /m.jsonl\n",
        "/r/a.rules: good; rules: 2, widened slots: 2, warnings: 0\n",
    ];
    check(OutputForm::Text, WarningLevel::DenyWarnings, RULES, &want, true);
}

const CONFINED: &str = "defaults:\n  caller_writes = '/a b' /w\n\nx\n  confine = p\n  cwd = /w\n\
    y\n  write = none\n  unix = /s\n  nofile = 9\n\nz\n\nprofile p:\n  extends = git\n  read = '/c d' -/e\n  \
    net = tcp:443,22\n  fsize = 2G\n";

#[test]
fn the_confinement_of_each_rule_is_told() {
    let want = [
        "  confined by p, with net = tcp:22,443, unix = none, syscalls = default, tmp = private, \
         on_missing = refuse, fsize = 2G\n    read = /proc -/etc",
        " '/c d' -/e\n",
        "    protect = -/w/.git/config -/w",
        "y\n",
        "  confined, with net = any, syscalls = any, tmp = shared, on_missing = refuse, nofile = 9\n    \
         write = none\n    unix = /s\n",
        "z\n",
        "  unconfined\n",
        "caller_writes = '/a b' /w\n",
    ];
    check(OutputForm::Text, WarningLevel::DenyWarnings, CONFINED, &want, true);
    let want = [
        "\"caller_writes\":\"'/a b' /w\"",
        "\"confine\":[\"p\"]",
        "\"net\":[\"tcp:22,443\"]",
        "\"'/c d'\",\"-/e\"]",
        "\"unix\":[\"/s\"]",
        "\"write\":[\"none\"]",
        "\"confine\":[\"none\"]",
    ];
    check(OutputForm::Json, WarningLevel::DenyWarnings, CONFINED, &want, true);
}

#[test]
fn an_error_is_shown_and_the_answer_is_no() {
    let want = [
        "/r/a.rules:1:6: error: nothing says what the slot `n` accepts\n  | echo #n\n  |      ^^\n  help: add",
    ];
    check(OutputForm::Text, WarningLevel::Usual, "echo #n\n", &want, false);
    check(
        OutputForm::Json,
        WarningLevel::Usual,
        "echo #n\n",
        &["\"ok\":false", "\"errors\":[{\"file\":\"/r/a.rules\",\"line\":1"],
        false,
    );
}

#[test]
fn a_warning_is_a_no_where_it_is_asked_to_be() {
    let want = [
        "/r/a.rules:1:4: warning: `*` is text",
        "/r/a.rules: good; rules: 1, widened slots: 0, warnings: 1\n",
    ];
    check(OutputForm::Text, WarningLevel::Usual, "ls *.txt\n", &want, true);
    check(OutputForm::Text, WarningLevel::DenyWarnings, "ls *.txt\n", &want, false);
}

#[test]
fn json_says_the_same() {
    let want = [
        "{\"file\":\"/r/a.rules\",\"ok\":true,\"policy\":\"",
        "\"socket\":{\"audit\":\"strict\"",
        "\"text\":\"ls '*.txt'\"",
        "\"words\":[{\"literal\":\"ls\"},{\"literal\":\"*.txt\"}]",
        "\"settings\":{\"background\":[\"kill\"]",
        "\"warnings\":[{",
    ];
    check(OutputForm::Json, WarningLevel::Usual, "ls *.txt\n", &want, true);
}
