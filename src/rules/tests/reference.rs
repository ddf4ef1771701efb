//! Compares the index with a matcher that is written from the manual's sentences and uses no index.

use std::path::Path;

use proptest::prelude::*;

use crate::limits::{REST_VALUES_MAX, VALUE_BYTES_MAX};

use super::super::*;
use super::{claimed, load_text};

/// Matches one rule against one command line as the manual says, sentence by sentence. `Ok` matches.
fn by_the_manual(rule: &Rule, argv: &[&str]) -> Result<(), MissReason> {
    let words = rule.words();
    let several =
        words.last().and_then(ExpectedWord::slot).is_some_and(|slot| slot.takes() == SlotCount::Several);
    // The number of words is exact, but for `#name...`, which takes one value or more, at most 64.
    let counts =
        if several { words.len()..=words.len() - 1 + REST_VALUES_MAX } else { words.len()..=words.len() };
    if !counts.contains(&argv.len()) {
        return Err(MissReason::NoRule);
    }
    let mut reasons = Vec::new();
    for (at, value) in argv.iter().enumerate() {
        match &words[at.min(words.len() - 1)] {
            // Literals, the program among them, are compared byte for byte.
            ExpectedWord::Literal(literal) if literal.as_bytes() == value.as_bytes() => {}
            ExpectedWord::Literal(_) => reasons.push(MissReason::NoRule),
            ExpectedWord::Slot(slot) => reasons.extend(refusal(slot, &rule.settings.cwd, value)),
        }
    }
    // A rule that needs more than one change is as far away as the largest of them.
    match (reasons.contains(&MissReason::NoRule), reasons.contains(&MissReason::OptionLike)) {
        (true, _) => Err(MissReason::NoRule),
        (false, true) => Err(MissReason::OptionLike),
        (false, false) => reasons.first().map_or(Ok(()), |reason| Err(*reason)),
    }
}

fn refusal(slot: &Slot, cwd: &Path, value: &str) -> Option<MissReason> {
    // A value is at most 4096 bytes.
    if value.len() > VALUE_BYTES_MAX {
        return Some(MissReason::TooLong);
    }
    // A regex is matched against the whole value. The generated ones have one meaning, spelled out here.
    if !slot.regex().is_none_or(|regex| matches(regex, value)) {
        return Some(MissReason::NoRule);
    }
    // A value that starts with `-` is refused unless the slot is in `allow_dash` (or takes any value).
    if slot.dash() == DashPolicy::Refused && value.starts_with('-') {
        return Some(MissReason::OptionLike);
    }
    let outside = slot.directory().is_some_and(|dir| LexicalPaths.locate(cwd, value, dir).is_none());
    outside.then_some(MissReason::Outside)
}

fn matches(regex: &str, value: &str) -> bool {
    match regex {
        "a|b" => value == "a" || value == "b",
        "-?[ab]+" => {
            let letters = value.strip_prefix('-').unwrap_or(value);
            !letters.is_empty() && letters.chars().all(|ch| ch == 'a' || ch == 'b')
        }
        other => panic!("no meaning for {other}"),
    }
}

fn expected(policy: &Policy, argv: &[&str]) -> Result<u32, MissReason> {
    let mut nearest = MissReason::NoRule;
    for rule in policy.rules() {
        match by_the_manual(rule, argv) {
            Ok(()) => return Ok(rule.line.get()),
            Err(reason) => nearest = nearest.min(reason),
        }
    }
    Err(nearest)
}

const VALUES: [&str; 8] = ["a", "b", "-a", "ab", "-", "", "/x/a", "../x"];

/// A stanza of few words, so that generated rules overlap.
fn stanza() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        3 => prop::sample::select(&["a", "b", "-a", "/x/a"][..]).prop_map(|word| (word.to_owned(), None)),
        4 => (0..5usize).prop_map(|kind| (String::new(), Some(kind))),
    ];
    let program = prop::sample::select(&["a", "b", "/x/a"][..]);
    (program, prop::collection::vec(word, 0..4), any::<bool>())
        .prop_map(|(program, words, several)| {
            let (mut line, mut attributes) = (program.to_owned(), String::from("\n"));
            let last = words.len();
            for (at, (literal, slot)) in words.into_iter().enumerate() {
                let Some(kind) = slot else {
                    line.push_str(&format!(" {literal}"));
                    continue;
                };
                let dots = if several && at + 1 == last { "..." } else { "" };
                line.push_str(&format!(" #s{at}{dots}"));
                attributes.push_str(&match kind {
                    0 => format!("  s{at} = a|b\n"),
                    1 => format!("  s{at} = -?[ab]+\n"),
                    2 => format!("  s{at} = in /x\n"),
                    _ => format!("  s{at} = -?[ab]+\n  allow_dash = s{at}\n"),
                });
            }
            line + &attributes
        })
        .prop_map(merge_lists)
}

/// A key stands once in a stanza: the `allow_dash` lines become one, and one slot in three takes any value.
fn merge_lists(stanza: String) -> String {
    let names: Vec<_> = stanza.lines().filter_map(|line| line.strip_prefix("  allow_dash = ")).collect();
    let others = stanza.lines().filter(|line| !line.starts_with("  allow_dash"));
    let any = names.first().filter(|_| names.len() % 3 == 1).copied();
    let mut text: String = others
        .filter(|line| !any.is_some_and(|any| line.starts_with(&format!("  {any} = "))))
        .map(|line| format!("{line}\n"))
        .collect();
    match any {
        Some(any) => text.push_str(&format!("  allow_any = {any}\n")),
        None if names.is_empty() => {}
        None => text.push_str(&format!("  allow_dash = {}\n", names.join(","))),
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_the_manual_says(
        stanzas in prop::collection::vec(stanza(), 1..12),
        calls in prop::collection::vec(
            (prop::sample::select(&["a", "b", "/x/a", "c"][..]),
             prop::collection::vec(prop::sample::select(&VALUES[..]), 0..5)),
            20,
        ),
    ) {
        let policy = load_text(&stanzas.concat()).expect("generated rules are good");
        for (program, values) in calls {
            let argv: Vec<_> = std::iter::once(program).chain(values).collect();
            let decided = policy.decide(&claimed(&argv), &LexicalPaths);
            let decided = decided.map(|matched| matched.rule.line.get()).map_err(|miss| miss.reason);
            prop_assert_eq!(decided, expected(&policy, &argv), "{:?} among\n{}", argv, stanzas.concat());
        }
    }
}
