//! Whose words stay out of the records of refused requests. Known once the rules are, so that a refusal costs
//! the same among a thousand rules.

use std::collections::HashSet;
use std::sync::Arc;

use super::rule::Rule;
use super::settings::LogPolicy;

/// The programs that a refused request may name a secret to.
#[derive(Debug)]
pub(super) enum SecretPrograms {
    /// Every rule keeps words out of its records.
    Everybodys,
    /// Those of the rules that do, as callers name them; mostly none.
    Of(HashSet<Box<str>>),
}

impl SecretPrograms {
    /// That of these rules.
    pub(super) fn new(rules: &[Arc<Rule>]) -> Self {
        let hides = |rule: &&Arc<Rule>| rule.settings.log == LogPolicy::ExitOnly;
        if rules.iter().all(|rule| hides(&rule)) {
            return Self::Everybodys;
        }
        Self::Of(rules.iter().filter(hides).filter_map(|rule| rule.program.name()).map(Box::from).collect())
    }

    /// Whether words for this program may be meant for a rule that keeps them out.
    pub(super) fn covers(&self, program: &str) -> bool {
        match self {
            Self::Everybodys => true,
            Self::Of(programs) => programs.contains(program),
        }
    }
}
