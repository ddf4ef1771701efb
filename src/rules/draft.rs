//! Checks the words of a rule line one by one: literals, with their variables expanded, and slots, whose
//! constraints stand below the line and are not known yet.

use std::collections::HashSet;

use crate::limits::{ARG_BYTES_MAX, ARGC_MAX};

use super::fault::{FaultReport, RulesFault, SourceSpan};
use super::rule::SlotCount;
use super::stanza::canonical;
use super::variables::LoadVariables;
use super::vocabulary::is_attribute;
use super::word::QuotedWord;

/// A word of a rule line before its constraint is known.
pub(super) enum DraftWord {
    Literal(String),
    Slot { name: String, takes: SlotCount, span: SourceSpan },
}

/// The words in order; `None` for a word with an error, which goes to the report.
pub(super) fn drafts(
    words: &[QuotedWord],
    vars: &LoadVariables<'_>,
    report: &mut FaultReport,
) -> Vec<Option<DraftWord>> {
    if let Some(word) = words.get(ARGC_MAX) {
        let message = format!("more than {ARGC_MAX} words, which no request can hold");
        report.add(RulesFault::new(word.span, message));
    }
    let mut seen = HashSet::new();
    let draft = |(at, word)| {
        let last = at + 1 == words.len();
        let draft = match slot_name(word) {
            None => literal(word, vars),
            Some((name, _)) if !seen.insert(name.clone()) => {
                Err(RulesFault::new(word.span, format!("two slots are named `{name}`"))
                    .help("give each its own name"))
            }
            Some(_) if at == 0 => Err(RulesFault::new(word.span, "the program cannot be a slot")
                .help("write out what may run, one rule for each")),
            Some((name, takes)) => slot(word, name, takes, last),
        };
        report.take(draft)
    };
    words.iter().enumerate().map(draft).collect()
}

fn literal(word: &QuotedWord, vars: &LoadVariables<'_>) -> Result<DraftWord, RulesFault> {
    let literal = vars.expand(word)?;
    if literal.len() > ARG_BYTES_MAX {
        return Err(RulesFault::new(word.span, format!("a word of more than {ARG_BYTES_MAX} bytes")));
    }
    Ok(DraftWord::Literal(literal))
}

fn slot(word: &QuotedWord, name: String, takes: SlotCount, last: bool) -> Result<DraftWord, RulesFault> {
    if takes == SlotCount::Several && !last {
        return Err(RulesFault::new(word.span, format!("`#{name}...` can only be the last word")));
    }
    if is_attribute(&name) {
        let fault =
            RulesFault::new(word.span, format!("a slot cannot be named `{name}`, which is an attribute"));
        return Err(fault.help(format!("name it `{name}_`, here and below")));
    }
    Ok(DraftWord::Slot { name, takes, span: word.span })
}

/// The name of the slot, and the number of its values, if the word is a slot. A word with a quoted or escaped
/// part is a literal, and so is a `#` that no name follows.
pub(super) fn slot_name(word: &QuotedWord) -> Option<(String, SlotCount)> {
    if word.quoted || word.glyphs.first()?.ch != '#' {
        return None;
    }
    let text = word.text();
    let (name, takes) = match text[1..].strip_suffix("...") {
        Some(name) => (name, SlotCount::Several),
        None => (&text[1..], SlotCount::One),
    };
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let letter = name.starts_with(|ch: char| ch.is_ascii_alphabetic() || ch == '_');
    let is_name = !name.is_empty() && (digits || letter && name.bytes().all(good));
    is_name.then(|| (canonical(name).into(), takes))
}
