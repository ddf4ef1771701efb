//! The programs whose words stay out of the records of refused requests. The set is made when the rules are
//! loaded, so that a refusal costs the same with a thousand rules.

use std::collections::HashSet;
use std::sync::Arc;

use super::rule::Rule;
use super::settings::LogPolicy;

/// The programs whose command lines may hold a secret.
#[derive(Debug)]
pub(super) enum SecretPrograms {
    /// All programs, because every rule keeps words out of its records.
    Everybodys,
    /// The programs of the rules that keep words out, as callers name them; mostly none.
    Of(HashSet<Box<str>>),
}

impl SecretPrograms {
    /// The programs of these rules.
    pub(super) fn new(rules: &[Arc<Rule>]) -> Self {
        let hides = |rule: &&Arc<Rule>| rule.settings.log == LogPolicy::ExitOnly;
        if rules.iter().all(|rule| hides(&rule)) {
            return Self::Everybodys;
        }
        Self::Of(rules.iter().filter(hides).filter_map(|rule| rule.program.name()).map(Box::from).collect())
    }

    /// Whether a request for this program may be meant for a rule that keeps words out of its records.
    pub(super) fn covers(&self, program: &str) -> bool {
        match self {
            Self::Everybodys => true,
            Self::Of(programs) => programs.contains(program),
        }
    }
}
