//! `sluice check`: what is wrong with rules files, or what they allow, and everything that widens it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::broker::LoadError;
use crate::rules::escape::visible;
use crate::rules::{Dash, Diagnostic, ExecPath, Expected, Policy, Program, Rule, Slot, Takes, Template};

use super::NO;
use super::answer::{Form, Load, Place, write_json};
use super::names::RulesAsked;

/// Checks each file; the answer is no when one of them does not load.
pub(super) fn run(
    rules: &[RulesAsked],
    form: Form,
    load: Load<'_>,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    let mut answer = ExitCode::SUCCESS;
    for asked in rules {
        let (file, loaded) = (asked.file(), load(asked));
        if loaded.is_err() {
            answer = ExitCode::from(NO);
        }
        match (form, &loaded) {
            (Form::Text, Ok(policy)) => write_policy(out, file, policy)?,
            (Form::Text, Err(error)) => writeln!(out, "{}", error.to_string().trim_end())?,
            (Form::Json, loaded) => write_json(out, &Checked::new(file, loaded))?,
        }
    }
    Ok(answer)
}

fn write_policy(out: &mut dyn Write, file: &Path, policy: &Policy) -> io::Result<()> {
    for rule in policy.rules() {
        writeln!(out, "{}:{}: {}", visible(&rule.file.to_string_lossy()), rule.line, rule.text)?;
        writeln!(out, "  runs {}", visible(&runs(rule)))?;
        for slot in rule.slots() {
            writeln!(out, "  {}", slot.description())?;
        }
        for (stream, template) in captures(rule) {
            writeln!(out, "  captures {stream} in {}", visible(&template.to_string()))?;
        }
        for (slot, key) in widenings(rule) {
            writeln!(out, "  widened: {} ({key})", slot.shown())?;
        }
    }
    let widened: usize = policy.rules().iter().map(|rule| widenings(rule).count()).sum();
    let name = file.to_string_lossy();
    writeln!(out, "{}: good; rules: {}, widened slots: {widened}", visible(&name), policy.rules().len())
}

/// The program and where it comes from.
fn runs(rule: &Rule) -> String {
    match (&rule.program, &rule.settings.exec_path) {
        (Program::Absolute(path), _) => path.display().to_string(),
        (Program::Bare(name), ExecPath::Inherit) => format!("{name}, the first in the broker's PATH"),
        (Program::Bare(name), ExecPath::List(directories)) => {
            let directories: Vec<_> =
                directories.iter().map(|directory| directory.to_string_lossy()).collect();
            format!("{name}, the first in {}", directories.join(":"))
        }
    }
}

/// The streams that are captured, and where.
fn captures(rule: &Rule) -> impl Iterator<Item = (&'static str, &Template)> {
    let streams = ["stdin", "stdout", "stderr"].into_iter().zip(&rule.settings.captures);
    streams.filter_map(|(stream, template)| Some((stream, template.as_deref()?)))
}

/// The slots that take more than a slot does by itself, and the key that says so.
fn widenings(rule: &Rule) -> impl Iterator<Item = (&Slot, &'static str)> {
    rule.slots().filter(|slot| slot.dash() == Dash::Allowed).map(|slot| {
        let key = if slot.regex().is_some() { "allow_dash" } else { "allow_any" };
        (slot, key)
    })
}

#[derive(Serialize)]
struct Checked<'a> {
    file: &'a Path,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<CheckedRule<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<CheckedError<'a>>,
}

#[derive(Serialize)]
struct CheckedRule<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    runs: String,
    words: Vec<CheckedWord<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    captures: BTreeMap<&'static str, String>,
    widenings: Vec<Widening<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum CheckedWord<'a> {
    Literal {
        literal: &'a str,
    },
    Slot {
        slot: &'a str,
        several: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        matches: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        directory: Option<&'a Path>,
    },
}

#[derive(Serialize)]
struct Widening<'a> {
    slot: &'a str,
    by: &'static str,
}

#[derive(Serialize)]
struct CheckedError<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

impl<'a> Checked<'a> {
    fn new(file: &'a Path, loaded: &'a Result<Policy, LoadError>) -> Self {
        let (policy, rules, errors) = match loaded {
            Ok(policy) => (
                Some(policy.hash()),
                policy.rules().iter().map(|rule| CheckedRule::new(rule)).collect(),
                Vec::new(),
            ),
            Err(LoadError::Rules(all)) => (None, Vec::new(), all.iter().map(CheckedError::new).collect()),
            Err(error) => (None, Vec::new(), vec![CheckedError::without_place(error)]),
        };
        Self { file, ok: loaded.is_ok(), policy, rules, errors }
    }
}

impl<'a> CheckedRule<'a> {
    fn new(rule: &'a Rule) -> Self {
        let words = rule.words().iter().map(|word| match word {
            Expected::Literal(literal) => CheckedWord::Literal { literal },
            Expected::Slot(slot) => CheckedWord::Slot {
                slot: slot.name(),
                several: slot.takes() == Takes::Several,
                matches: slot.regex(),
                directory: slot.directory(),
            },
        });
        let widenings = widenings(rule).map(|(slot, by)| Widening { slot: slot.name(), by });
        Self {
            place: Place::of(rule),
            runs: runs(rule),
            words: words.collect(),
            captures: captures(rule).map(|(stream, template)| (stream, template.to_string())).collect(),
            widenings: widenings.collect(),
        }
    }
}

impl<'a> CheckedError<'a> {
    fn new(error: &'a Diagnostic) -> Self {
        Self {
            file: Some(error.file()),
            line: Some(error.line()),
            column: Some(error.column()),
            message: error.message().into(),
            help: error.help(),
        }
    }

    fn without_place(error: &LoadError) -> Self {
        Self {
            file: None,
            line: None,
            column: None,
            message: error.to_string().trim_end().into(),
            help: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::{Source, Vars, load};

    use super::*;

    struct Text(&'static str);

    impl Source for Text {
        fn read(&self, _: &Path) -> io::Result<String> {
            Ok(self.0.into())
        }
    }

    const RULES: &str = "git log #n #any\n  n = -?[0-9]\n  allow_dash = n\n  allow_any = any\n/bin/rm #f...\n  f = in /w\n  stdoutfile = /c/#$call.out\n";

    fn check(form: Form, rules: &'static str, want: &str) {
        let asked = [RulesAsked::File("/r/a.rules".into())];
        let loading =
            |asked: &RulesAsked| load(asked.file(), &Text(rules), &Vars::default()).map_err(LoadError::Rules);
        let mut out = Vec::new();
        let answer = run(&asked, form, &loading, &mut out).expect("memory takes every write");
        assert_eq!(String::from_utf8(out).expect("the answer is text"), want);
        let good = !want.contains("error");
        assert_eq!(answer, if good { ExitCode::SUCCESS } else { ExitCode::from(NO) });
    }

    #[test]
    fn a_good_file_is_told_rule_by_rule() {
        let want = "\
/r/a.rules:1: git log <n> <any>
  runs git, the first in /bin:/usr/bin:/sbin:/usr/sbin
  <n> matches -?[0-9], and may start with -
  <any> is any value, at most 4096 bytes
  widened: <n> (allow_dash)
  widened: <any> (allow_any)
/r/a.rules:5: /bin/rm <f>...
  runs /bin/rm
  <f>... is a path in /w, at most 64 values of 4096 bytes
  captures stdout in /c/#$call.out
/r/a.rules: good; rules: 2, widened slots: 2
";
        check(Form::Text, RULES, want);
    }

    #[test]
    fn an_error_is_shown_and_the_answer_is_no() {
        let want = "\
/r/a.rules:1:6: error: nothing says what the slot `n` accepts
  | echo #n
  |      ^^
  help: add `n = REGEX` or `n = in DIR` below, or `allow_any = n`
";
        check(Form::Text, "echo #n\n", want);
    }

    #[test]
    fn json_says_the_same() {
        let want = r##"{"file":"/r/a.rules","ok":false,"errors":[{"file":"/r/a.rules","line":1,"column":1,"message":"$\u202a is"}]}"##;
        let error = CheckedError {
            message: "$\u{202a} is".into(),
            ..CheckedError::without_place(&LoadError::NoManifest)
        };
        let file = Path::new("/r/a.rules");
        let error = CheckedError { file: Some(file), line: Some(1), column: Some(1), ..error };
        let checked = Checked { file, ok: false, policy: None, rules: Vec::new(), errors: vec![error] };
        let mut out = Vec::new();
        write_json(&mut out, &checked).expect("memory takes every write");
        assert_eq!(String::from_utf8(out).expect("ASCII").trim_end(), want);
        let policy = load(file, &Text("true\n"), &Vars::default()).expect("the rules are good");
        let want = format!(
            r#"{{"file":"/r/a.rules","ok":true,"policy":"{}","rules":[{{"file":"/r/a.rules","line":1,"text":"true","runs":"true, the first in /bin:/usr/bin:/sbin:/usr/sbin","words":[{{"literal":"true"}}],"widenings":[]}}]}}"#,
            policy.hash()
        );
        check(Form::Json, "true\n", &format!("{want}\n"));
    }
}
