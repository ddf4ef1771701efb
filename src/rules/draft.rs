//! A rule line's words, each on its own: literals with their variables expanded, and slots, whose constraints are
//! written below the line and are not known yet.

use std::collections::HashSet;

use crate::limits::{ARG_BYTES_MAX, ARGC_MAX};

use super::diagnostic::{Fault, Report, Span};
use super::rule::Takes;
use super::stanza::canonical;
use super::variables::Variables;
use super::vocabulary::is_attribute;
use super::word::Word;

/// A word of a rule line before its constraint is known.
pub(super) enum Draft {
    Literal(String),
    Slot { name: String, takes: Takes, span: Span },
}

/// The words in order; `None` for one that is an error.
pub(super) fn drafts(words: &[Word], vars: &Variables<'_>, report: &mut Report) -> Vec<Option<Draft>> {
    if let Some(word) = words.get(ARGC_MAX) {
        let message = format!("more than {ARGC_MAX} words, which no request can hold");
        report.add(Fault::new(word.span, message));
    }
    let mut seen = HashSet::new();
    let draft = |(at, word)| {
        let last = at + 1 == words.len();
        let draft = match slot_name(word) {
            None => literal(word, vars),
            Some((name, _)) if !seen.insert(name.clone()) => {
                Err(Fault::new(word.span, format!("two slots are named `{name}`"))
                    .help("give each its own name"))
            }
            Some(_) if at == 0 => Err(Fault::new(word.span, "the program cannot be a slot")
                .help("write out what may run, one rule for each")),
            Some((name, takes)) => slot(word, name, takes, last),
        };
        report.take(draft)
    };
    words.iter().enumerate().map(draft).collect()
}

fn literal(word: &Word, vars: &Variables<'_>) -> Result<Draft, Fault> {
    let literal = vars.expand(word)?;
    if literal.len() > ARG_BYTES_MAX {
        return Err(Fault::new(word.span, format!("a word of more than {ARG_BYTES_MAX} bytes")));
    }
    Ok(Draft::Literal(literal))
}

fn slot(word: &Word, name: String, takes: Takes, last: bool) -> Result<Draft, Fault> {
    if takes == Takes::Several && !last {
        return Err(Fault::new(word.span, format!("`#{name}...` can only be the last word")));
    }
    if is_attribute(&name) {
        let fault = Fault::new(word.span, format!("a slot cannot be named `{name}`, which is an attribute"));
        return Err(fault.help(format!("name it `{name}_`, here and below")));
    }
    Ok(Draft::Slot { name, takes, span: word.span })
}

/// The slot that a word is. One that is quoted or escaped anywhere is a literal, and so is all that is not a name.
pub(super) fn slot_name(word: &Word) -> Option<(String, Takes)> {
    if word.quoted || word.glyphs.first()?.ch != '#' {
        return None;
    }
    let text = word.text();
    let (name, takes) = match text[1..].strip_suffix("...") {
        Some(name) => (name, Takes::Several),
        None => (&text[1..], Takes::One),
    };
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let letter = name.starts_with(|ch: char| ch.is_ascii_alphabetic() || ch == '_');
    let is_name = !name.is_empty() && (digits || letter && name.bytes().all(good));
    is_name.then(|| (canonical(name).into(), takes))
}
