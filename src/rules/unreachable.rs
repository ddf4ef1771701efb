//! Finds rules that no call reaches, because an earlier rule matches every command line that they match.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::REST_VALUES_MAX;

use super::index::{RuleIndex, RuleNumber};
use super::regex_machine::StepBudget;
use super::rule::{DashPolicy, ExpectedWord, Rule, Slot, SlotConstraint};

/// Each rule that is never reached, with the first rule that hides it.
pub(super) fn shadowed(rules: &[Arc<Rule>], index: &RuleIndex) -> Vec<(RuleNumber, RuleNumber)> {
    let mut written: HashMap<String, RuleNumber> = HashMap::new();
    let hidden = |place: RuleNumber| {
        let first = *written.entry(spelled(&rules[place])).or_insert(place);
        if first < place {
            return Some((place, first));
        }
        let earlier = index.wider(&rules[place].words).into_iter().filter(|by| *by < place);
        let mut earlier: Vec<_> = earlier.collect();
        earlier.sort_unstable();
        earlier.into_iter().find(|&by| covers(&rules[by], &rules[place])).map(|by| (place, by))
    };
    (0..rules.len()).filter_map(hidden).collect()
}

/// A text of all parts of a rule that decide what it matches.
fn spelled(rule: &Rule) -> String {
    let slots = rule.slots().map(|slot| format!("\n{}", slot.description()));
    std::iter::once(format!("{}\n{}", rule.text, rule.settings.cwd.display())).chain(slots).collect()
}

/// Whether `rule` matches every command line that `other` matches, as far as that can be found out: `false`
/// if in doubt.
fn covers(rule: &Rule, other: &Rule) -> bool {
    let count = |rule: &Rule| (rule.words.len(), rule.rest().is_some());
    let (words, several) = count(rule);
    let (others, others_several) = count(other);
    // If `rule` ends in a slot for several values, `other` may have as many words as `rule`, or up to
    // `REST_VALUES_MAX - 1` more.
    let counts = if several {
        (words..words + REST_VALUES_MAX).contains(&others)
    } else {
        others == words && !others_several
    };
    let same_rest = !others_several || others == words;
    let expected = |at: usize| rule.words.get(at).or(rule.words.last());
    counts
        && same_rest
        && other
            .words
            .iter()
            .enumerate()
            .all(|(at, word)| expected(at).is_some_and(|wide| takes(rule, wide, other, word)))
}

fn takes(rule: &Rule, wide: &ExpectedWord, other: &Rule, narrow: &ExpectedWord) -> bool {
    match (wide, narrow) {
        (ExpectedWord::Literal(wide), ExpectedWord::Literal(narrow)) => wide == narrow,
        (ExpectedWord::Literal(_), ExpectedWord::Slot(_)) => false,
        (ExpectedWord::Slot(slot), ExpectedWord::Literal(word)) => slot_takes(slot, word),
        (ExpectedWord::Slot(wide), ExpectedWord::Slot(narrow)) => {
            let values = match (&wide.accepts, &narrow.accepts) {
                (SlotConstraint::Anything, _) => true,
                (SlotConstraint::Matching(wide), SlotConstraint::Matching(narrow)) => {
                    wide.source() == narrow.source()
                }
                (SlotConstraint::Under(wide, _), SlotConstraint::Under(narrow, _)) => {
                    rule.settings.cwd == other.settings.cwd && narrow.starts_with(wide)
                }
                (SlotConstraint::Matching(_) | SlotConstraint::Under(..), _) => false,
            };
            values && (wide.dash == DashPolicy::Allowed || narrow.dash == DashPolicy::Refused)
        }
    }
}

/// Whether a slot accepts this word whatever is on the disk.
fn slot_takes(slot: &Slot, word: &str) -> bool {
    let is_option = slot.dash == DashPolicy::Refused && word.starts_with('-');
    !is_option
        && match &slot.accepts {
            SlotConstraint::Anything => true,
            SlotConstraint::Matching(pattern) => pattern.matches(word, &mut StepBudget::alone()) == Ok(true),
            SlotConstraint::Under(..) => false,
        }
}
