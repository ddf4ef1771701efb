//! What callers are shown: each rule as a command line, what it is for, and what its slots accept. Never an attribute.

use std::fmt::Write as _;
use std::sync::Arc;

use super::escape::visible;
use super::rule::{Accepts, Dash, Rule, Slot};

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
    /// What the slot accepts, as callers are shown it.
    pub fn description(&self) -> String {
        let (name, dash) =
            (self.shown(), if self.dash == Dash::Allowed { ", and may start with -" } else { "" });
        match &self.accepts {
            Accepts::Anything => format!("{name} is any value"),
            Accepts::Matching(pattern) => format!("{name} matches {}{dash}", visible(pattern.source())),
            Accepts::Under(dir) => format!("{name} is a path in {}", visible(&dir.to_string_lossy())),
        }
    }
}
