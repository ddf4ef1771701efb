//! The listing for programs: the same facts as in the listing for people, as JSON.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::limits::{REST_VALUES_MAX, VALUE_BYTES_MAX};

use super::rule::{DashPolicy, ExpectedWord, Rule, Slot, SlotCount};

/// The rules in file order.
#[derive(Serialize)]
struct ListedRules<'r> {
    rules: Vec<ListedRule<'r>>,
}

/// One rule.
#[derive(Serialize)]
struct ListedRule<'r> {
    /// The command line, as the other listing shows it.
    command: &'r str,
    /// The comment lines above the rule.
    about: Vec<&'r str>,
    words: Vec<ListedWord<'r>>,
}

/// A word: a string, or an object for a slot.
#[derive(Serialize)]
#[serde(untagged)]
enum ListedWord<'r> {
    Literal(&'r str),
    Slot(ListedSlot<'r>),
}

#[derive(Serialize)]
struct ListedSlot<'r> {
    slot: &'r str,
    /// The regex that a whole value has to match.
    #[serde(skip_serializing_if = "Option::is_none")]
    regex: Option<&'r str>,
    /// The directory in or below which a value has to be.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    directory: Option<Cow<'r, str>>,
    /// Whether a value may start with `-`.
    dash: bool,
    /// Whether the slot takes one value or more, as the last words.
    many: bool,
    max_bytes: usize,
    max_values: usize,
}

/// The listing of the rules, one line of JSON.
pub(super) fn listing_json(rules: &[Arc<Rule>]) -> String {
    let rules = rules.iter().map(|rule| listed(rule)).collect();
    let mut text = serde_json::to_string(&ListedRules { rules }).expect("strings and numbers become JSON");
    text.push('\n');
    text
}

fn listed(rule: &Rule) -> ListedRule<'_> {
    ListedRule {
        command: &rule.text,
        about: rule.comments().collect(),
        words: rule.words().iter().map(word).collect(),
    }
}

fn word(word: &ExpectedWord) -> ListedWord<'_> {
    match word {
        ExpectedWord::Literal(literal) => ListedWord::Literal(literal),
        ExpectedWord::Slot(slot) => ListedWord::Slot(listed_slot(slot)),
    }
}

fn listed_slot(slot: &Slot) -> ListedSlot<'_> {
    let is_many = slot.takes() == SlotCount::Several;
    ListedSlot {
        slot: slot.name(),
        regex: slot.regex(),
        directory: slot.directory().map(|directory| directory.to_string_lossy()),
        dash: slot.dash() == DashPolicy::Allowed || (slot.regex().is_none() && slot.directory().is_none()),
        many: is_many,
        max_bytes: VALUE_BYTES_MAX,
        max_values: if is_many { REST_VALUES_MAX } else { 1 },
    }
}
