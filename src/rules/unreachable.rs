//! Rules that no call reaches, because an earlier one takes all that they would.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::REST_VALUES_MAX;

use super::index::{RuleIndex, RuleNumber};
use super::regex_machine::StepBudget;
use super::rule::{DashPolicy, ExpectedWord, Rule, Slot, SlotConstraint};

/// Each rule that is never reached, with the first that hides it whole.
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

/// All of a rule that decides what it matches.
fn spelled(rule: &Rule) -> String {
    let slots = rule.slots().map(|slot| format!("\n{}", slot.description()));
    std::iter::once(format!("{}\n{}", rule.text, rule.settings.cwd.display())).chain(slots).collect()
}

/// Whether `rule` matches every command line that `other` does, as far as that can be told.
fn covers(rule: &Rule, other: &Rule) -> bool {
    let count = |rule: &Rule| (rule.words.len(), rule.rest().is_some());
    let (words, several) = count(rule);
    let (others, others_several) = count(other);
    // Of a slot for several values the other rule may end in one, or go on with so many words of its own.
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

/// Whether a slot takes this word without a look at the disk.
fn slot_takes(slot: &Slot, word: &str) -> bool {
    let is_option = slot.dash == DashPolicy::Refused && word.starts_with('-');
    !is_option
        && match &slot.accepts {
            SlotConstraint::Anything => true,
            SlotConstraint::Matching(pattern) => pattern.matches(word, &mut StepBudget::alone()) == Ok(true),
            SlotConstraint::Under(..) => false,
        }
}
