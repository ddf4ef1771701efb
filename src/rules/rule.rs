//! One rule: its words, the constraints of its slots, and the settings of its calls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ids::RuleLine;
use crate::text::quoted;

use super::pattern::SlotPattern;
use super::settings::RuleSettings;

/// One rule, with every setting effective.
#[derive(Debug)]
pub struct Rule {
    /// The line the rule stands on, in `file`.
    pub line: RuleLine,
    /// The file it stands in: the top file, or one it includes.
    pub file: Arc<Path>,
    /// The rule line as the listing shows it: slots as `<name>`. Also its identity over reloads.
    pub text: Arc<str>,
    /// The program that runs.
    pub program: ProgramWord,
    /// How it runs.
    pub settings: RuleSettings,
    /// The command line: a literal first, a slot for several values only last.
    pub(super) words: Box<[ExpectedWord]>,
    pub(super) comments: Box<[Box<str>]>,
}

impl Rule {
    /// The command line, program first.
    pub fn words(&self) -> &[ExpectedWord] {
        &self.words
    }

    /// The slots, in the order of the command line.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.words.iter().filter_map(ExpectedWord::slot)
    }

    /// The comment lines above the rule.
    pub fn comments(&self) -> impl Iterator<Item = &str> {
        self.comments.iter().map(|comment| &**comment)
    }

    /// The slot for several values, if the rule ends in one.
    pub(super) fn rest(&self) -> Option<&Slot> {
        self.words.last().and_then(ExpectedWord::slot).filter(|slot| slot.takes == SlotCount::Several)
    }
}

/// The first word of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramWord {
    /// A bare name, looked up in `exec_path` at call time.
    Bare(String),
    /// An absolute path.
    Absolute(PathBuf),
}

impl ProgramWord {
    /// The first word that a caller must write; `None` if the path is not UTF-8.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Bare(name) => Some(name),
            Self::Absolute(path) => path.to_str(),
        }
    }
}

/// One word of a rule.
#[derive(Clone, Debug)]
pub enum ExpectedWord {
    /// Exactly this.
    Literal(Box<str>),
    /// A value that the slot accepts.
    Slot(Slot),
}

impl ExpectedWord {
    /// The word as the listing shows it.
    pub fn shown(&self) -> String {
        match self {
            Self::Literal(word) => quoted(word).into_owned(),
            Self::Slot(slot) => slot.shown(),
        }
    }

    /// The slot, unless this is a literal.
    pub fn slot(&self) -> Option<&Slot> {
        match self {
            Self::Literal(_) => None,
            Self::Slot(slot) => Some(slot),
        }
    }
}

/// A place in a command line that the caller fills.
#[derive(Clone, Debug)]
pub struct Slot {
    pub(super) name: Box<str>,
    pub(super) takes: SlotCount,
    pub(super) accepts: SlotConstraint,
    pub(super) dash: DashPolicy,
}

impl Slot {
    /// The name, without `#` and `...`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the slot takes one value or several.
    pub fn takes(&self) -> SlotCount {
        self.takes
    }

    /// Whether a value may start with `-`.
    pub fn dash(&self) -> DashPolicy {
        self.dash
    }

    /// The regex that a value must match.
    pub fn regex(&self) -> Option<&str> {
        match &self.accepts {
            SlotConstraint::Matching(pattern) => Some(pattern.source()),
            SlotConstraint::Anything | SlotConstraint::Under(..) => None,
        }
    }

    /// The directory that a value must lie in or below.
    pub fn directory(&self) -> Option<&Path> {
        match &self.accepts {
            SlotConstraint::Under(directory, _) => Some(directory),
            SlotConstraint::Anything | SlotConstraint::Matching(_) => None,
        }
    }

    /// Whether the command gets a path in that directory as a path or as a descriptor.
    pub fn handed(&self) -> Option<PathForm> {
        match &self.accepts {
            SlotConstraint::Under(_, handed) => Some(*handed),
            SlotConstraint::Anything | SlotConstraint::Matching(_) => None,
        }
    }

    /// The slot as the listing shows it.
    pub fn shown(&self) -> String {
        match self.takes {
            SlotCount::One => format!("<{}>", self.name),
            SlotCount::Several => format!("<{}>...", self.name),
        }
    }
}

/// How many values a slot takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotCount {
    /// One.
    One,
    /// At least one, at most [`REST_VALUES_MAX`](crate::limits::REST_VALUES_MAX).
    Several,
}

/// Whether a value may start with `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DashPolicy {
    /// Such a value is refused.
    Refused,
    /// Such a value is accepted like any other.
    Allowed,
}

/// The form in which the command gets a path that a slot accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    /// The resolved path.
    Path,
    /// The path of a descriptor of the command's that is open there, `/proc/self/fd/N`.
    Descriptor,
}

/// The constraint of a slot's values.
#[derive(Clone, Debug)]
pub(super) enum SlotConstraint {
    Anything,
    Matching(Arc<SlotPattern>),
    Under(PathBuf, PathForm),
}
