//! The listing for callers: each rule as a command line, with its comments and the values that its slots
//! accept. Never an attribute.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::limits::{REST_VALUES_MAX, VALUE_BYTES_MAX};
use crate::text::visible;

use super::rule::{DashPolicy, Rule, Slot, SlotConstraint, SlotCount};

/// The rules in file order, a blank line between them.
pub(super) fn listing(rules: &[Arc<Rule>]) -> String {
    let mut text = String::new();
    for rule in rules {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&rule.text);
        text.push('\n');
        let comments = rule.comments().map(|comment| visible(comment).into_owned());
        for line in comments.chain(rule.slots().map(Slot::description)) {
            writeln!(text, "  {line}").expect("a string takes every write");
        }
    }
    text
}

impl Slot {
    /// The values that the slot accepts, as the listing describes them.
    pub fn description(&self) -> String {
        let (name, bounds) = (self.shown(), self.bounds());
        let dash = if self.dash == DashPolicy::Allowed { ", and may start with -" } else { "" };
        match &self.accepts {
            SlotConstraint::Anything => format!("{name} is any value{bounds}"),
            SlotConstraint::Matching(pattern) => {
                format!("{name} matches {}{dash}{bounds}", visible(pattern.source()))
            }
            SlotConstraint::Under(dir, _) => {
                format!("{name} is a path in {}{bounds}", visible(&dir.to_string_lossy()))
            }
        }
    }

    /// The limits on the values' length, unless the regex already limits it, and on their number.
    fn bounds(&self) -> String {
        let longest = match &self.accepts {
            SlotConstraint::Matching(pattern) => pattern.longest(),
            SlotConstraint::Anything | SlotConstraint::Under(..) => None,
        };
        let is_long = longest.is_none_or(|longest| longest > VALUE_BYTES_MAX);
        match (self.takes, is_long) {
            (SlotCount::One, false) => String::new(),
            (SlotCount::One, true) => format!(", at most {VALUE_BYTES_MAX} bytes"),
            (SlotCount::Several, false) => format!(", at most {REST_VALUES_MAX} values"),
            (SlotCount::Several, true) => {
                format!(", at most {REST_VALUES_MAX} values of {VALUE_BYTES_MAX} bytes")
            }
        }
    }
}
