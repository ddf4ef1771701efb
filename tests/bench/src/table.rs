//! What a run has to say, each part for itself: figures beside their floors and budgets, the ways that one
//! would pick instead, and another broker beside this one. A part can be made in another process, and comes
//! from there as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::sample::Spread;

/// One figure. With a floor, the budget is for the ratio of the two, else for the figure itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// Of the floor's figure and of ours.
    pub unit: String,
    /// What it is held against.
    pub floor: Option<Floor>,
    /// This project's figure.
    pub ours: Spread,
    /// None where the line is for information.
    pub budget: Option<Budget>,
    /// Whether that is held; a line without a budget has nothing to hold.
    pub held: Option<bool>,
}

/// What can be had at best, from the same run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Floor {
    /// What does the same with as little around it as there can be.
    pub name: String,
    /// Its figure.
    pub figure: Spread,
    /// Ours over it, taken within each round.
    pub ratio: Spread,
}

/// A program that one would start instead.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Way {
    /// Its command line, before the command's.
    pub what: String,
    /// Median latency.
    pub p50_ms: Spread,
    /// 99th percentile.
    pub p99_ms: Spread,
    /// Starts a second, one after the other.
    pub rate: Spread,
    /// Its p50 over that of the command itself.
    pub ratio: Spread,
}

/// Two brokers' figures of one thing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beside {
    /// What was measured.
    pub what: String,
    /// Of both figures.
    pub unit: String,
    /// This project's.
    pub ours: Spread,
    /// The other broker's.
    pub theirs: Spread,
}

/// What one part of a run measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Part {
    /// Figures with their budgets.
    pub lines: Vec<Line>,
    /// Programs that run the same command.
    pub ways: Vec<Way>,
    /// What could not be measured here and why, and what failed.
    pub notes: Vec<String>,
    /// The other broker, when there is one.
    pub beside: Vec<Beside>,
}

impl Line {
    /// A figure for itself.
    pub fn new(what: impl Into<String>, unit: &str, ours: Spread) -> Self {
        Self { what: what.into(), unit: unit.into(), floor: None, ours, budget: None, held: None }
    }

    /// With what it is held against.
    pub fn over(self, name: &str, figure: Spread, ratio: Spread) -> Self {
        Self { floor: Some(Floor { name: name.into(), figure, ratio }), ..self }
    }

    /// With its budget.
    pub fn within(self, budget: Budget) -> Self {
        let figure = self.floor.as_ref().map_or(self.ours, |floor| floor.ratio);
        Self { budget: Some(budget), held: Some(budget.holds(figure.median)), ..self }
    }

    /// Whether nothing is wrong with it.
    pub fn is_good(&self) -> bool {
        self.held != Some(false)
    }
}

impl Part {
    /// This and another one.
    pub fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self.ways.extend(other.ways);
        self.notes.extend(other.notes);
        self.beside.extend(other.beside);
        self
    }

    /// Whether every budget is held.
    pub fn is_good(&self) -> bool {
        self.lines.iter().all(Line::is_good)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lines(f, &self.lines)?;
        ways(f, &self.ways)?;
        beside(f, &self.beside)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

/// The lines below their heading: first those with a budget, and how many hold.
pub fn lines(f: &mut fmt::Formatter<'_>, lines: &[Line]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    let heading = ["floor", "", "ours", "", "ratio", "budget"].map(str::to_owned);
    row(f, "", heading, "")?;
    let (held, others): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.budget.is_some());
    held.iter().try_for_each(|line| write!(f, "{line}"))?;
    let good = held.iter().filter(|line| line.is_good()).count();
    if !held.is_empty() {
        writeln!(f, "{good} of {} budgets held", held.len())?;
    }
    if !held.is_empty() && !others.is_empty() {
        writeln!(f, "\nwithout a budget")?;
    }
    others.into_iter().try_for_each(|line| write!(f, "{line}"))
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, floor, ours, budget, held } = self;
        let of_floor = |pick: fn(&Floor) -> String| floor.as_ref().map_or_else(String::new, pick);
        let cells = [
            of_floor(|floor| floor.name.clone()),
            of_floor(|floor| short(floor.figure.median)),
            short(ours.median),
            unit.clone(),
            of_floor(|floor| format!("{:.2}", floor.ratio)),
            budget.map_or_else(String::new, |budget| budget.to_string()),
        ];
        let verdict = match held {
            Some(true) => "held",
            Some(false) => "NOT HELD",
            None => "",
        };
        row(f, what, cells, verdict)
    }
}

fn row(f: &mut fmt::Formatter<'_>, what: &str, cells: [String; 6], verdict: &str) -> fmt::Result {
    let [name, floor, ours, unit, ratio, budget] = cells;
    let line =
        format!("{what:<40} {name:<13} {floor:>6} {ours:>6} {unit:<7} {ratio:<18} {budget:<7}  {verdict}");
    writeln!(f, "{}", line.trim_end())
}

fn ways(f: &mut fmt::Formatter<'_>, ways: &[Way]) -> fmt::Result {
    if ways.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nprograms that run /bin/true")?;
    way(f, "", ["p50 ms", "p99 ms", "runs/s", "p50 over /bin/true"].map(str::to_owned))?;
    ways.iter().try_for_each(|one| {
        let [p50, p99] = [one.p50_ms, one.p99_ms].map(|spread| format!("{spread:.2}"));
        way(f, &one.what, [p50, p99, format!("{:.0}", one.rate), format!("{:.2}", one.ratio)])
    })
}

fn way(f: &mut fmt::Formatter<'_>, what: &str, cells: [String; 4]) -> fmt::Result {
    let [p50, p99, rate, ratio] = cells;
    let line = format!("{what:<31} {p50:<19} {p99:<20} {rate:<18} {ratio}");
    writeln!(f, "{}", line.trim_end())
}

fn beside(f: &mut fmt::Formatter<'_>, all: &[Beside]) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{:<40} {:>20}  {:>20}", "side by side", "sluice", "sluicify 0.4.1")?;
    all.iter().try_for_each(|one| {
        let [ours, theirs] = [one.ours, one.theirs]
            .map(|spread| format!("{} ({}-{})", short(spread.median), short(spread.min), short(spread.max)));
        writeln!(f, "{:<40} {ours:>20}  {theirs:>20} {}", one.what, one.unit)
    })
}

/// Three digits that say something, and whole numbers whole.
fn short(figure: f64) -> String {
    match figure.abs() {
        _ if figure.fract() == 0.0 => format!("{figure:.0}"),
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        1.0.. => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURE: Spread = Spread { median: 2.0, min: 1.0, max: 3.0 };

    #[test]
    fn a_budget_is_for_the_ratio_where_there_is_one() {
        let ratio = Spread { median: 1.5, ..FIGURE };
        assert!(!Line::new("a figure", "ms", FIGURE).within(Budget::at_most(1.6)).is_good());
        let line = Line::new("a ratio", "ms", FIGURE).over("floor", FIGURE, ratio);
        assert!(line.clone().is_good() && line.within(Budget::at_most(1.6)).is_good());
    }

    #[test]
    fn a_part_comes_back_from_its_json() {
        let line = Line::new("a ratio", "ms", FIGURE).over("floor", FIGURE, FIGURE);
        let part = Part { lines: vec![line.within(Budget::at_least(3.0))], ..Part::default() };
        let text = serde_json::to_string(&part).expect("a part is plain data");
        let back: Part = serde_json::from_str(&text).expect("it was a part");
        assert_eq!((back.to_string(), back.is_good()), (part.to_string(), false));
    }
}
