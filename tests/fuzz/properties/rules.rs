//! Rules files: whatever the bytes, loading ends with a policy or with errors that are safe to show; and a
//! policy, written out and loaded again, is the same policy: it lists the same and decides the same.

use std::io;
use std::path::Path;

use sluice::ids::ClaimedWord;
use sluice::limits::{ARGC_MAX, DIAGNOSTICS_MAX, RULES_LINE_BYTES_MAX};
use sluice::rules::{ExpectedWord, LexicalPaths, Policy, Rule, RulesSource, SlotCount, VariableValues, load};

#[path = "printed.rs"]
mod printed;
#[path = "quoting.rs"]
mod quoting;

use quoting::Quoting;

/// Where the loaded file stands: one that includes `self.rules` includes itself.
const TOP: &str = "/etc/sluice/self.rules";
/// Ends the top file; what follows is the text of every other file.
const SEPARATOR: char = '\u{c}';
/// Values that are tried in every slot.
const VALUES: [&str; 8] = ["", "a", "7", "-a", "main", "caf\u{e9}", "a b\n", "/srv/work/../x"];
/// Rules of one policy whose command lines are tried.
const RULES_TRIED: usize = 16;

/// Panics when the property does not hold for `data`.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    words_stay(text);
    match loaded(&Texts::of(text)) {
        Ok(policy) => {
            Quoting::ALL.iter().for_each(|quoting| same_when_printed(&policy, *quoting));
        }
        Err(errors) => {
            assert!((1..=DIAGNOSTICS_MAX + 1).contains(&errors.len()));
            errors.iter().for_each(|error| shown(error, '\n'));
        }
    }
}

/// Any words, written as literals of a rule in every way, are those words.
fn words_stay(text: &str) {
    let words: Vec<_> = text.split(['\0', ' ']).take(ARGC_MAX - 1).collect();
    for quoting in Quoting::ALL {
        let mut line = String::from("x");
        words.iter().for_each(|word| line.extend([" ", &quoting.word(word)]));
        line.extend([quoting.comment(), "\n"]);
        if line.len() > RULES_LINE_BYTES_MAX {
            continue;
        }
        let policy = match loaded(&Texts { top: &line, other: None }) {
            Ok(policy) => policy,
            Err(errors) => panic!("{words:?}, written as {quoting:?}: {errors:?}\n{line}"),
        };
        let [rule] = policy.rules() else { panic!("one rule\n{line}") };
        assert_eq!(literals(rule), [&["x"], &words[..]].concat(), "{quoting:?}\n{line}");
    }
}

fn literals(rule: &Rule) -> Vec<&str> {
    rule.words().iter().map(literal).collect()
}

fn literal(expected: &ExpectedWord) -> &str {
    match expected {
        ExpectedWord::Literal(literal) => literal,
        ExpectedWord::Slot(slot) => panic!("a slot {slot:?}"),
    }
}

fn same_when_printed(policy: &Policy, quoting: Quoting) {
    let text = printed::text(policy, quoting);
    let again = match loaded(&Texts { top: &text, other: None }) {
        Ok(again) => again,
        Err(errors) => panic!("what was printed does not load: {errors:?}\n{text}"),
    };
    assert_eq!(policy.rules().len(), again.rules().len(), "\n{text}");
    assert_eq!(policy.listing(), again.listing(), "\n{text}");
    assert_eq!((policy.max_calls(), policy.audit()), (again.max_calls(), again.audit()), "\n{text}");
    assert_eq!((policy.scope(), policy.journal()), (again.scope(), again.journal()), "\n{text}");
    assert_eq!(policy.sync(), again.sync(), "\n{text}");
    assert_eq!(policy.caller_writes(), again.caller_writes(), "\n{text}");
    shown(policy.listing(), '\n');
    for (rule, other) in policy.rules().iter().zip(again.rules()) {
        assert_eq!(format!("{:?}", rule.settings), format!("{:?}", other.settings), "\n{text}");
        assert_eq!(rule.program, other.program, "\n{text}");
        assert_eq!(format!("{:?}", rule.words()), format!("{:?}", other.words()), "\n{text}");
        assert!(rule.comments().eq(other.comments()), "\n{text}");
    }
    for words in policy.rules().iter().take(RULES_TRIED).flat_map(|rule| command_lines(rule)) {
        assert_eq!(verdict(policy, &words), verdict(&again, &words), "{words:?}\n{text}");
    }
}

/// Which rule takes these words, or why none does.
fn verdict(policy: &Policy, words: &[String]) -> Result<usize, (&'static str, String)> {
    let argv: Vec<_> = words.iter().filter_map(|word| ClaimedWord::new(word.as_str())).collect();
    match policy.decide(&argv, &LexicalPaths) {
        Ok(matched) => {
            assert!(matched.argv.iter().map(|word| word.as_str()).eq(argv.iter().map(ClaimedWord::as_str)));
            let same = |rule: &std::sync::Arc<Rule>| std::sync::Arc::ptr_eq(rule, &matched.rule);
            Ok(policy.rules().iter().position(same).expect("a match is one of the rules"))
        }
        Err(miss) => {
            shown(&miss.explanation, ' ');
            Err((miss.reason.as_str(), miss.explanation))
        }
    }
}

/// Command lines with the rule's literals and each of the values in its slots; one word short and one too
/// many.
fn command_lines(rule: &Rule) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = VALUES.iter().map(|value| filled(rule, value)).collect();
    lines.push(filled(rule, "a").into_iter().skip(1).collect());
    lines.push([filled(rule, "a"), vec!["a".into()]].concat());
    lines
}

fn filled(rule: &Rule, value: &str) -> Vec<String> {
    let word = |expected: &ExpectedWord| match expected {
        ExpectedWord::Literal(literal) => vec![literal.to_string()],
        ExpectedWord::Slot(slot) => {
            let inside = slot.directory().map(|dir| dir.join(value).to_string_lossy().into_owned());
            let count = if slot.takes() == SlotCount::Several { 2 } else { 1 };
            vec![inside.unwrap_or_else(|| value.into()); count]
        }
    };
    rule.words().iter().flat_map(word).collect()
}

/// That a text cannot act on a terminal.
fn shown(text: impl ToString, allowed: char) {
    let text = text.to_string();
    assert!(!text.contains(|ch: char| ch.is_control() && ch != allowed), "{text:?}");
}

fn loaded(texts: &Texts<'_>) -> Result<Policy, Vec<sluice::rules::Diagnostic>> {
    let vars = VariableValues { home: Some("/home/me".into()), runtime_dir: Some("/run/user/1".into()) };
    load(Path::new(TOP), texts, &vars)
}

/// The top file, and one text for all that it includes.
struct Texts<'a> {
    top: &'a str,
    other: Option<&'a str>,
}

impl<'a> Texts<'a> {
    /// Both from one input.
    fn of(input: &'a str) -> Self {
        let (top, other) = input.split_once(SEPARATOR).map_or((input, None), |(top, rest)| (top, Some(rest)));
        Self { top, other }
    }
}

impl RulesSource for Texts<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        let text = if path == Path::new(TOP) { Some(self.top) } else { self.other };
        text.map(str::to_owned).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
