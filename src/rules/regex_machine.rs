//! Matches a regex against a whole value, and counts the steps. The machine is an NFA simulation: it keeps
//! the set of states in which it could be, and moves all of them by one byte, so a value takes at most its
//! length times the size of the regex. [`StepBudget`] limits the steps of one decision. Instead of: the
//! engine of the `regex` crate, which is several times faster on long values, but whose steps cannot be
//! counted and vary from run to run.

use std::collections::HashSet;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;

use crate::limits::{DECISION_STEPS_LONG, DECISION_STEPS_MAX, LOCATE_STEPS, LOCATE_STEPS_PER_BYTE};
use crate::sys::Locked;

/// The turns of one socket's long decisions, of which one runs at a time.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turn: Locked<()>,
    are_over: AtomicBool,
}

impl Turns {
    /// Ends the long decision that runs, and those that wait.
    pub(super) fn end(&self) {
        self.are_over.store(true, Ordering::Relaxed);
    }
}

/// The steps that one decision may still take, and the memory that its matches share.
#[derive(Debug)]
pub(super) struct StepBudget<'t> {
    steps_left: u64,
    turns: Option<&'t Turns>,
    /// The turn, held once the decision has turned out to be a long one.
    turn: Option<MutexGuard<'t, ()>>,
    now: StateSet,
    next: StateSet,
    ahead: Vec<StateID>,
}

/// The error of a decision that has taken all its steps, or was ended by [`Turns::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BudgetExhausted;

impl<'t> StepBudget<'t> {
    /// The budget of one decision: `DECISION_STEPS_MAX` steps. After the first `DECISION_STEPS_LONG` of them
    /// the decision waits for its turn, so that long decisions of one socket keep at most one processor busy.
    pub(super) fn in_turn(turns: &'t Turns) -> Self {
        Self { turns: Some(turns), ..Self::alone() }
    }

    /// The budget of a match that takes no turn, because no caller waits for it.
    pub(super) fn alone() -> Self {
        Self {
            steps_left: DECISION_STEPS_MAX,
            turns: None,
            turn: None,
            now: StateSet::default(),
            next: StateSet::default(),
            ahead: Vec::new(),
        }
    }

    /// Takes the steps for resolving a path of so many bytes.
    pub(super) fn locate(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        self.spend(LOCATE_STEPS + LOCATE_STEPS_PER_BYTE * bytes as u64)
    }

    fn spend(&mut self, steps: u64) -> Result<(), BudgetExhausted> {
        self.steps_left = self.steps_left.checked_sub(steps).ok_or_else(|| {
            self.steps_left = 0;
            BudgetExhausted
        })?;
        if self.turn.is_none() && self.steps_left < DECISION_STEPS_MAX - DECISION_STEPS_LONG {
            self.turn = self.turns.map(|turns| turns.turn.lock());
        }
        let has_turn = self.turns.filter(|_| self.turn.is_some());
        if has_turn.is_some_and(|turns| turns.are_over.load(Ordering::Relaxed)) {
            self.steps_left = 0;
            return Err(BudgetExhausted);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        DECISION_STEPS_MAX - self.steps_left
    }
}

/// Whether the regex matches the value from its first byte to its last.
pub(super) fn matches(nfa: &NFA, value: &str, effort: &mut StepBudget<'_>) -> Result<bool, BudgetExhausted> {
    effort.now.clear(nfa.states().len());
    effort.next.clear(nfa.states().len());
    let mut run = MatchRun { nfa, value: value.as_bytes(), effort };
    let steps = run.follow(nfa.start_anchored(), 0);
    run.effort.spend(steps)?;
    for at in 0..value.len() {
        if run.effort.next.ids.is_empty() {
            return Ok(false);
        }
        let steps = run.step(at);
        run.effort.spend(steps)?;
    }
    Ok(effort.next.ids.iter().any(|&id| matches!(nfa.state(id), State::Match { .. })))
}

/// Whether the regex can match a value whose first byte `begins` accepts; `begins(None)` stands for the empty
/// value. Of the regex's assertions only the ends of the value are checked, so `false` is certain and `true`
/// is not.
pub(super) fn can_match(nfa: &NFA, begins: impl Fn(Option<u8>) -> bool) -> bool {
    let (mut seen, mut ahead) = (HashSet::new(), vec![(nfa.start_anchored(), false, false)]);
    while let Some((id, has_begun, has_ended)) = ahead.pop() {
        if !seen.insert((id, has_begun, has_ended)) {
            continue;
        }
        let goes =
            |first: u8, last: u8| !has_ended && (has_begun || (first..=last).any(|byte| begins(Some(byte))));
        match nfa.state(id) {
            State::Match { .. } if has_begun || begins(None) => return true,
            State::Match { .. } | State::Fail => {}
            State::ByteRange { trans } if goes(trans.start, trans.end) => {
                ahead.push((trans.next, true, false))
            }
            State::ByteRange { .. } => {}
            State::Sparse(ranges) => {
                let ranges = ranges.transitions.iter().filter(|range| goes(range.start, range.end));
                ahead.extend(ranges.map(|range| (range.next, true, false)));
            }
            State::Dense(table) => {
                let bytes = (0..=u8::MAX).filter(|&byte| goes(byte, byte));
                ahead.extend(bytes.filter_map(|byte| Some((table.matches_byte(byte)?, true, false))));
            }
            State::Look { look: Look::Start, .. } if has_begun => {}
            State::Look { look: Look::End, next } => ahead.push((*next, has_begun, true)),
            State::Look { next, .. } | State::Capture { next, .. } => {
                ahead.push((*next, has_begun, has_ended))
            }
            State::Union { alternates } => {
                ahead.extend(alternates.iter().map(|&next| (next, has_begun, has_ended)));
            }
            State::BinaryUnion { alt1, alt2 } => {
                ahead.extend([*alt1, *alt2].map(|next| (next, has_begun, has_ended)));
            }
        }
    }
    false
}

/// A match in progress. The states that were reached are in `effort.next`.
struct MatchRun<'a, 't> {
    nfa: &'a NFA,
    value: &'a [u8],
    effort: &'a mut StepBudget<'t>,
}

impl MatchRun<'_, '_> {
    /// Moves every state by the byte at `at`. Gives the number of steps taken.
    fn step(&mut self, at: usize) -> u64 {
        let StepBudget { now, next, .. } = &mut *self.effort;
        std::mem::swap(now, next);
        next.ids.clear();
        let (byte, mut steps) = (self.value[at], 0);
        for place in 0..self.effort.now.ids.len() {
            let reached = match self.nfa.state(self.effort.now.ids[place]) {
                State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
                State::Sparse(ranges) => {
                    steps += ranges.transitions.len() as u64 / 8;
                    ranges.matches_byte(byte)
                }
                State::Dense(table) => table.matches_byte(byte),
                State::Look { .. } | State::Union { .. } | State::BinaryUnion { .. } => None,
                State::Capture { .. } | State::Fail | State::Match { .. } => None,
            };
            steps += 1;
            if let Some(reached) = reached {
                steps += self.follow(reached, at + 1);
            }
        }
        steps
    }

    /// Adds a state, and all states that can be reached from it without a byte, before the byte at `at`.
    /// Gives the number of steps taken.
    fn follow(&mut self, from: StateID, at: usize) -> u64 {
        let StepBudget { next, ahead, .. } = &mut *self.effort;
        let mut steps = 0;
        ahead.push(from);
        while let Some(id) = ahead.pop() {
            steps += 1;
            if !next.insert(id) {
                continue;
            }
            match self.nfa.state(id) {
                State::Look { look, next: behind } => {
                    if self.nfa.look_matcher().matches(*look, self.value, at) {
                        ahead.push(*behind);
                    }
                }
                State::Union { alternates } => ahead.extend(alternates.iter()),
                State::BinaryUnion { alt1, alt2 } => ahead.extend([*alt1, *alt2]),
                State::Capture { next: behind, .. } => ahead.push(*behind),
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) => {}
                State::Fail | State::Match { .. } => {}
            }
        }
        steps
    }
}

/// A sparse set of a regex's states, in the order in which they were added. An entry of `index` counts only
/// if `ids` has the state at that place, so `index` need not be cleared.
#[derive(Debug, Default)]
struct StateSet {
    ids: Vec<StateID>,
    index: Vec<usize>,
}

impl StateSet {
    /// Empties it, for a regex of `places` states.
    fn clear(&mut self, places: usize) {
        self.ids.clear();
        if self.index.len() < places {
            self.index.resize(places, 0);
        }
    }

    /// Adds a state. Gives whether it was not in the set.
    fn insert(&mut self, id: StateID) -> bool {
        let known = self.index[id.as_usize()];
        if self.ids.get(known) == Some(&id) {
            return false;
        }
        self.index[id.as_usize()] = self.ids.len();
        self.ids.push(id);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_automata::meta;
    use regex_automata::nfa::thompson::Compiler;

    use crate::limits::VALUE_BYTES_MAX;

    use super::*;

    /// The regex, compiled without anchors.
    fn nfa(regex: &str) -> NFA {
        Compiler::new().build(regex).expect("a good regex")
    }

    fn check(regex: &str, value: &str, want: Result<bool, BudgetExhausted>, most: u64) {
        let mut effort = StepBudget::alone();
        assert_eq!(matches(&nfa(regex), value, &mut effort), want, "{regex}");
        assert!(effort.spent() <= most, "{regex}: {} steps", effort.spent());
    }

    #[test]
    fn what_rules_usually_say_costs_few_steps_a_byte() {
        let long = "a".repeat(VALUE_BYTES_MAX);
        check("^[1-9][0-9]?$", "42", Ok(true), 20);
        check("^[a-z0-9/._-]+$", &long, Ok(true), 12 * VALUE_BYTES_MAX as u64);
        check("^[a-z]{1,4096}$", &long, Ok(true), 7 * VALUE_BYTES_MAX as u64);
        check(r"^\w+$", &long, Ok(true), 100 * VALUE_BYTES_MAX as u64);
        check("^x", &long, Ok(false), 10);
    }

    #[test]
    fn what_could_take_seconds_ends_at_the_bound() {
        let long = "a".repeat(VALUE_BYTES_MAX);
        for regex in
            ["^(?:(?:[a-z]?){0,95}){0,90}$", "^(?:.?){0,1500}.*$", "^(?:.{0,90}){0,90}$", "^.*(?:.*){0,500}$"]
        {
            check(regex, &long, Err(BudgetExhausted), DECISION_STEPS_MAX);
        }
    }

    #[test]
    fn a_decision_that_is_exhausted_stays_so() {
        let mut effort = StepBudget::alone();
        assert_eq!(effort.spend(DECISION_STEPS_MAX), Ok(()));
        assert_eq!(effort.spend(1), Err(BudgetExhausted));
        assert_eq!(matches(&nfa("a"), "a", &mut effort), Err(BudgetExhausted));
        assert_eq!(effort.locate(0), Err(BudgetExhausted));
    }

    /// Regexes with every element of the syntax, over few letters, so that values often match.
    fn regex() -> impl Strategy<Value = String> {
        const ATOMS: &[&str] = &[
            "a", "b", "\u{e9}", ".", "[ab]", "[^a]", r"\w", r"\b", r"\B", "^", "$", r"\A", r"\z", "(?m:^)",
            "(?i:A)", r"\d", "",
        ];
        let leaf = prop::sample::select(ATOMS).prop_map(str::to_owned);
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..4)
                    .prop_map(|parts| format!("(?:{})", parts.join("|"))),
                (inner.clone(), prop::sample::select(&["*", "+", "?", "{2}", "{0,3}", "*?", "{1,2}?"][..]))
                    .prop_map(|(inner, times)| format!("(?:{inner}){times}")),
                inner.prop_map(|inner| format!("({inner})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

        #[test]
        fn it_says_what_the_regex_crate_says(regex in regex(), value in "[ab\u{e9}A0 \n]{0,8}") {
            let whole = format!(r"\A(?:{regex})\z");
            let theirs = meta::Regex::new(&whole).expect("a good regex").is_match(&*value);
            let ours = matches(&nfa(&whole), &value, &mut StepBudget::alone());
            prop_assert_eq!(ours, Ok(theirs), "{} {:?}", whole, value);
        }
    }
}
