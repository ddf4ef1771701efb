//! What the figures are held against. A budget speaks of an idle machine, so one that is exceeded is marked; `scopes`
//! fails on it too.

use std::fmt;

use serde::Serialize;

/// One figure beside its budget.
#[derive(Clone, Debug, Serialize)]
pub struct Budget {
    what: &'static str,
    measured: f64,
    budget: f64,
    keeps: Keeps,
}

/// Which side of a budget is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeps {
    /// The figure is to be at most the budget.
    AtMost,
    /// The figure is to be at least the budget.
    AtLeast,
}

impl Budget {
    /// A figure that is to be at most `budget`.
    pub fn at_most(what: &'static str, measured: f64, budget: f64) -> Self {
        Self { what, measured, budget, keeps: Keeps::AtMost }
    }

    /// A figure that is to be at least `budget`.
    pub fn at_least(what: &'static str, measured: f64, budget: f64) -> Self {
        Self { what, measured, budget, keeps: Keeps::AtLeast }
    }

    /// Whether the figure is on the good side.
    pub fn holds(&self) -> bool {
        match self.keeps {
            Keeps::AtMost => self.measured <= self.budget,
            Keeps::AtLeast => self.measured >= self.budget,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.keeps {
            Keeps::AtMost => "at most",
            Keeps::AtLeast => "at least",
        };
        let verdict = if self.holds() { "held" } else { "NOT HELD" };
        write!(f, "  {:<52} {:>8.2}, {side} {:<6} {verdict}", self.what, self.measured, self.budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_has_a_good_side() {
        assert!(Budget::at_most("a ratio", 1.25, 1.25).holds());
        assert!(!Budget::at_least("a rate", 0.69, 0.7).holds());
    }
}
