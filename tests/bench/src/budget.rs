//! What a figure is held against. A budget speaks of an idle machine, and the benchmark fails on one that is
//! not held.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The good side of a limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Budget {
    keeps: Keeps,
    limit: f64,
}

/// Which side of a limit is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeps {
    /// The figure is to be at most the limit.
    AtMost,
    /// The figure is to be at least the limit.
    AtLeast,
}

impl Budget {
    /// A figure is to be at most `limit`.
    pub fn at_most(limit: f64) -> Self {
        Self { keeps: Keeps::AtMost, limit }
    }

    /// A figure is to be at least `limit`.
    pub fn at_least(limit: f64) -> Self {
        Self { keeps: Keeps::AtLeast, limit }
    }

    /// Whether the figure is on the good side. What is no number is on none.
    pub fn holds(&self, figure: f64) -> bool {
        match self.keeps {
            Keeps::AtMost => figure <= self.limit,
            Keeps::AtLeast => figure >= self.limit,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.keeps {
            Keeps::AtMost => "<=",
            Keeps::AtLeast => ">=",
        };
        f.pad(&format!("{sign} {}", self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_has_a_good_side() {
        assert!(Budget::at_most(1.25).holds(1.25));
        assert!(!Budget::at_least(0.7).holds(0.69));
        assert!(!Budget::at_most(1.25).holds(f64::NAN));
    }
}
