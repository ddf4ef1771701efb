//! `sluice match`: the rule that a command line matches and the values of its slots, or the reason why there
//! is none.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::broker::Disk;
use crate::ids::ClaimedWord;
use crate::limits::ARGC_MAX;
use crate::rules::{MatchedRule, PathResolver, Policy, PolicyMiss};
use crate::text::quoted;

use super::exit::{NO, answer_whole, fail};
use super::output::{OutputForm, RulePlace, write_json};
use super::rules_argument::RulesArgument;

/// Decides on a command line by the rules that `word` names.
pub(super) fn run(word: &OsStr, argv: &[OsString], form: OutputForm) -> ExitCode {
    match asked(word, argv) {
        Ok((_, policy, words)) => answer(&policy, &words, form),
        Err(why) => fail(&why),
    }
}

/// The rules that `word` names, their policy, and the words of a request for a command line. The error is the
/// message for a person.
pub(super) fn asked(
    word: &OsStr,
    argv: &[OsString],
) -> Result<(RulesArgument, Policy, Vec<ClaimedWord>), String> {
    let rules = RulesArgument::find(word).map_err(|why| format!("sluice: {why}"))?;
    let policy = rules.inspect().policy.map_err(|error| error.to_string())?;
    let words: Option<Vec<_>> = argv.iter().map(|word| word.to_str().and_then(ClaimedWord::new)).collect();
    let words = words.filter(|words| words.len() <= ARGC_MAX);
    let too_much = || "sluice: no request can hold these words: too many, too long, or not UTF-8".to_owned();
    Ok((rules, policy, words.ok_or_else(too_much)?))
}

/// Answers which rule a command line matches.
pub(super) fn answer(policy: &Policy, argv: &[ClaimedWord], form: OutputForm) -> ExitCode {
    answer_whole(|out| write_decision(policy, argv, form, &Disk, out))
}

/// Decides as the broker would; the answer is no when no rule matches.
fn write_decision(
    policy: &Policy,
    argv: &[ClaimedWord],
    form: OutputForm,
    paths: &dyn PathResolver,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    let decided = policy.decide(argv, paths);
    match (form, &decided) {
        (OutputForm::Text, Ok(matched)) => write_match(out, matched)?,
        (OutputForm::Text, Err(miss)) => write_miss(out, miss)?,
        (OutputForm::Json, Ok(matched)) => write_json(out, &FoundRule::new(matched))?,
        (OutputForm::Json, Err(miss)) => write_json(out, &NoRuleFound::new(miss))?,
    }
    Ok(if decided.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn write_match(out: &mut dyn Write, matched: &MatchedRule) -> io::Result<()> {
    writeln!(out, "{}", RulePlace::of(&matched.rule))?;
    for (name, values) in matched.slots() {
        let values: Vec<_> = values.into_iter().map(quoted).collect();
        writeln!(out, "  {name} = {}", values.join(" "))?;
    }
    Ok(())
}

fn write_miss(out: &mut dyn Write, miss: &PolicyMiss) -> io::Result<()> {
    writeln!(out, "no match ({}): {}", miss.reason.as_str(), miss.explanation)?;
    miss.nearest.as_ref().map_or(Ok(()), |rule| writeln!(out, "  {}", RulePlace::of(rule)))
}

#[derive(Serialize)]
struct FoundRule<'a> {
    matched: bool,
    rule: RulePlace<'a>,
    slots: Vec<FilledSlot<'a>>,
}

#[derive(Serialize)]
struct FilledSlot<'a> {
    name: &'a str,
    values: Vec<&'a str>,
}

#[derive(Serialize)]
struct NoRuleFound<'a> {
    matched: bool,
    reason: &'static str,
    explanation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<RulePlace<'a>>,
}

impl<'a> FoundRule<'a> {
    fn new(matched: &'a MatchedRule) -> Self {
        let slots = matched.slots().into_iter().map(|(name, values)| FilledSlot { name, values });
        Self { matched: true, rule: RulePlace::of(&matched.rule), slots: slots.collect() }
    }
}

impl<'a> NoRuleFound<'a> {
    fn new(miss: &'a PolicyMiss) -> Self {
        Self {
            matched: false,
            reason: miss.reason.as_str(),
            explanation: &miss.explanation,
            nearest: miss.nearest.as_deref().map(RulePlace::of),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::rules::{LexicalPaths, RulesSource, VariableValues, load};

    use super::*;

    struct Text(&'static str);

    impl RulesSource for Text {
        fn read(&self, _: &Path) -> io::Result<String> {
            Ok(self.0.into())
        }
    }

    const RULES: &str = "git log #n #f...\n  n = [0-9]\n  allow_any = f\n";

    fn check(form: OutputForm, argv: &[&str], want: &str) {
        let policy = load(Path::new("/r/a.rules"), &Text(RULES), &VariableValues::default())
            .expect("the rules are good");
        let argv: Vec<_> = argv.iter().filter_map(|word| ClaimedWord::new(*word)).collect();
        let mut out = Vec::new();
        let answer =
            write_decision(&policy, &argv, form, &LexicalPaths, &mut out).expect("memory takes every write");
        assert_eq!(String::from_utf8(out).expect("the answer is text"), want);
        let no = want.contains("no match") || want.contains("false");
        assert_eq!(answer, if no { ExitCode::from(NO) } else { ExitCode::SUCCESS });
    }

    #[test]
    fn a_match_names_the_rule_and_its_values() {
        let argv = ["git", "log", "7", "-x", "a b\u{1b}"];
        let text = "/r/a.rules:1: git log <n> <f>...\n  n = 7\n  f = -x $'a b\\x1b'\n";
        check(OutputForm::Text, &argv, text);
        let json = r#"{"matched":true,"rule":{"file":"/r/a.rules","line":1,"text":"git log <n> <f>..."},"slots":[{"name":"n","values":["7"]},{"name":"f","values":["-x","a b\u001b"]}]}"#;
        check(OutputForm::Json, &argv, &format!("{json}\n"));
    }

    #[test]
    fn a_miss_says_why_and_what_is_nearest() {
        let text = "no match (no_rule): nearest is `git log <n> <f>...`: <n> matches [0-9], and `x` does not\n  \
            /r/a.rules:1: git log <n> <f>...\n";
        check(OutputForm::Text, &["git", "log", "x", "y"], text);
        let json = r#"{"matched":false,"reason":"no_rule","explanation":"no rule runs `rm`"}"#;
        check(OutputForm::Json, &["rm"], &format!("{json}\n"));
    }
}
