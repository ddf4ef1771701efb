//! Rules that no call reaches, because an earlier one takes all that they would.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::REST_VALUES_MAX;

use super::index::{Index, Place};
use super::machine::Effort;
use super::rule::{Accepts, Dash, Expected, Rule, Slot};

/// Each rule that is never reached, with the first that hides it whole.
pub(super) fn shadowed(rules: &[Arc<Rule>], index: &Index) -> Vec<(Place, Place)> {
    let mut written: HashMap<String, Place> = HashMap::new();
    let hidden = |place: Place| {
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

fn takes(rule: &Rule, wide: &Expected, other: &Rule, narrow: &Expected) -> bool {
    match (wide, narrow) {
        (Expected::Literal(wide), Expected::Literal(narrow)) => wide == narrow,
        (Expected::Literal(_), Expected::Slot(_)) => false,
        (Expected::Slot(slot), Expected::Literal(word)) => slot_takes(slot, word),
        (Expected::Slot(wide), Expected::Slot(narrow)) => {
            let values = match (&wide.accepts, &narrow.accepts) {
                (Accepts::Anything, _) => true,
                (Accepts::Matching(wide), Accepts::Matching(narrow)) => wide.source() == narrow.source(),
                (Accepts::Under(wide, _), Accepts::Under(narrow, _)) => {
                    rule.settings.cwd == other.settings.cwd && narrow.starts_with(wide)
                }
                (Accepts::Matching(_) | Accepts::Under(..), _) => false,
            };
            values && (wide.dash == Dash::Allowed || narrow.dash == Dash::Refused)
        }
    }
}

/// Whether a slot takes this word without a look at the disk.
fn slot_takes(slot: &Slot, word: &str) -> bool {
    let is_option = slot.dash == Dash::Refused && word.starts_with('-');
    !is_option
        && match &slot.accepts {
            Accepts::Anything => true,
            Accepts::Matching(pattern) => pattern.matches(word, &mut Effort::alone()) == Ok(true),
            Accepts::Under(..) => false,
        }
}
