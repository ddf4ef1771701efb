//! Matches one rule against one command line; if it does not match, tells the word and the reason.

use std::path::Path;

use crate::limits::{REST_VALUES_MAX, SHOWN_WORD_CHARS_MAX, VALUE_BYTES_MAX};
use crate::text::visible;

use super::files::normalized;
use super::miss::MissReason;
use super::regex_machine::{BudgetExhausted, StepBudget};
use super::rule::{DashPolicy, ExpectedWord, PathForm, Rule, Slot, SlotConstraint};

/// Finds where a path lies on disk, for `in DIR` slots.
pub trait PathResolver {
    /// The path that `value` resolves to, from `cwd` and with symlinks followed, if that is at or under
    /// `dir`. Its last component need not exist.
    fn locate(&self, cwd: &Path, value: &str, dir: &Path) -> Option<LocatedPath>;
}

/// A path on disk at or under a slot's directory, as it was resolved when it was looked for.
#[derive(Clone, Debug)]
pub struct LocatedPath {
    /// The absolute path, without links, `.` and `..`.
    pub path: Box<str>,
}

/// The resolved path of one word of a command line.
#[derive(Clone, Debug)]
pub struct PathArgument {
    /// The word's number, from the program as 0.
    pub at: usize,
    /// The resolved path.
    pub located: LocatedPath,
    /// Whether the command gets the path or a descriptor.
    pub handed: PathForm,
}

/// Resolves paths by their text alone, for checks at load, which do not look at the disk.
#[derive(Clone, Copy, Debug)]
pub struct LexicalPaths;

impl PathResolver for LexicalPaths {
    fn locate(&self, cwd: &Path, value: &str, dir: &Path) -> Option<LocatedPath> {
        let path = normalized(&cwd.join(value));
        let inside = !value.is_empty() && path.starts_with(normalized(dir));
        inside.then(|| LocatedPath { path: path.to_string_lossy().into() })
    }
}

/// Why a rule does not match.
#[derive(Debug)]
pub(super) struct RuleMismatch<'r> {
    /// The word, counted from the program as 0.
    pub(super) at: usize,
    kind: MismatchKind<'r>,
}

#[derive(Debug)]
enum MismatchKind<'r> {
    Literal(&'r str),
    Missing(&'r ExpectedWord),
    Extra,
    TooMany(&'r Slot),
    TooLong(&'r Slot),
    TooCostly(&'r Slot),
    Mismatch(&'r Slot, &'r str),
    Dash(&'r Slot),
    Outside(&'r Slot, &'r Path),
}

/// The resolved paths of a command line that the rule matches; else the mismatch. The disk is asked last, and
/// only when nothing else is wrong.
pub(super) fn fit<'r>(
    rule: &'r Rule,
    argv: &[&str],
    paths: &dyn PathResolver,
    effort: &mut StepBudget<'_>,
) -> Result<Vec<PathArgument>, RuleMismatch<'r>> {
    let values = || slots(rule, argv);
    let misfit = |at| move |kind| RuleMismatch { at, kind };
    shape(rule, argv)?;
    values().try_for_each(|(at, slot, value)| length(slot, value).map_err(misfit(at)))?;
    values().try_for_each(|(at, slot, value)| content(slot, value, effort).map_err(misfit(at)))?;
    values().try_for_each(|(at, slot, value)| dash(slot, value).map_err(misfit(at)))?;
    let mut places = Vec::new();
    for (at, slot, value) in values() {
        let SlotConstraint::Under(dir, handed) = &slot.accepts else { continue };
        effort
            .locate(value.len())
            .map_err(|BudgetExhausted| RuleMismatch { at, kind: MismatchKind::TooCostly(slot) })?;
        match paths.locate(&rule.settings.cwd, value, dir) {
            Some(located) => places.push(PathArgument { at, located, handed: *handed }),
            None => return Err(RuleMismatch { at, kind: MismatchKind::Outside(slot, dir) }),
        }
    }
    Ok(places)
}

/// The slots with their values, for a command line whose literals and number of words fit.
pub(super) fn slots<'r, 'a>(
    rule: &'r Rule,
    argv: &'a [&'a str],
) -> impl Iterator<Item = (usize, &'r Slot, &'a str)> {
    let expected = |at: usize| rule.words.get(at).or(rule.words.last()).and_then(ExpectedWord::slot);
    argv.iter().enumerate().filter_map(move |(at, value)| Some((at, expected(at)?, *value)))
}

fn shape<'r>(rule: &'r Rule, argv: &[&str]) -> Result<(), RuleMismatch<'r>> {
    for (at, expected) in rule.words.iter().enumerate() {
        let kind = match (expected, argv.get(at)) {
            (_, None) => MismatchKind::Missing(expected),
            (ExpectedWord::Literal(literal), Some(word)) if **literal != **word => {
                MismatchKind::Literal(literal)
            }
            (ExpectedWord::Literal(_) | ExpectedWord::Slot(_), Some(_)) => continue,
        };
        return Err(RuleMismatch { at, kind });
    }
    let fixed = rule.words.len() - 1;
    let (most, kind) = match rule.rest() {
        None => (fixed + 1, MismatchKind::Extra),
        Some(slot) => (fixed + REST_VALUES_MAX, MismatchKind::TooMany(slot)),
    };
    if argv.len() > most { Err(RuleMismatch { at: most, kind }) } else { Ok(()) }
}

fn length<'r>(slot: &'r Slot, value: &str) -> Result<(), MismatchKind<'r>> {
    if value.len() > VALUE_BYTES_MAX { Err(MismatchKind::TooLong(slot)) } else { Ok(()) }
}

fn content<'r>(slot: &'r Slot, value: &str, effort: &mut StepBudget<'_>) -> Result<(), MismatchKind<'r>> {
    let SlotConstraint::Matching(pattern) = &slot.accepts else { return Ok(()) };
    match pattern.matches(value, effort) {
        Ok(true) => Ok(()),
        Ok(false) => Err(MismatchKind::Mismatch(slot, pattern.source())),
        Err(BudgetExhausted) => Err(MismatchKind::TooCostly(slot)),
    }
}

fn dash<'r>(slot: &'r Slot, value: &str) -> Result<(), MismatchKind<'r>> {
    let is_refused = slot.dash == DashPolicy::Refused && value.starts_with('-');
    if is_refused { Err(MismatchKind::Dash(slot)) } else { Ok(()) }
}

impl RuleMismatch<'_> {
    /// The kind of miss, as records name it.
    pub(super) fn reason(&self) -> MissReason {
        match self.kind {
            MismatchKind::Dash(_) => MissReason::OptionLike,
            MismatchKind::Outside(..) => MissReason::Outside,
            MismatchKind::TooLong(_) => MissReason::TooLong,
            MismatchKind::TooMany(_) => MissReason::TooMany,
            MismatchKind::TooCostly(_) => MissReason::TooCostly,
            MismatchKind::Literal(_)
            | MismatchKind::Missing(_)
            | MismatchKind::Extra
            | MismatchKind::Mismatch(..) => MissReason::NoRule,
        }
    }

    /// One clause for a person, from the listing and the request only.
    pub(super) fn explain(&self, argv: &[&str]) -> String {
        let (at, word) = (self.at, argv.get(self.at).map_or(String::new(), |word| shortened(word)));
        match self.kind {
            MismatchKind::Literal(literal) => {
                let differ = argv.get(at).and_then(|word| difference(word, literal)).unwrap_or_default();
                format!("argument {at} is {word}, not {}{differ}", shortened(literal))
            }
            MismatchKind::Missing(expected) => format!("{} is missing as argument {at}", expected.shown()),
            MismatchKind::Extra => format!("it ends before argument {at}, {word}"),
            MismatchKind::TooMany(slot) => {
                let values = argv.len() - self.at + REST_VALUES_MAX;
                format!("{} takes at most {REST_VALUES_MAX} values, and these are {values}", slot.shown())
            }
            MismatchKind::TooLong(slot) => {
                let bytes = argv.get(at).map_or(0, |word| word.len());
                format!(
                    "{} takes at most {VALUE_BYTES_MAX} bytes, and argument {at} has {bytes}",
                    slot.shown()
                )
            }
            MismatchKind::TooCostly(slot) => {
                format!(
                    "finding out whether {} accepts argument {at} takes too long; send fewer or shorter values",
                    slot.shown()
                )
            }
            MismatchKind::Mismatch(slot, source) => {
                format!("{} matches {}, and {word} does not", slot.shown(), visible(source))
            }
            MismatchKind::Dash(slot) => {
                format!(
                    "{} refuses {word}, which starts with `-` (`allow_dash` does not name it)",
                    slot.shown()
                )
            }
            MismatchKind::Outside(slot, dir) => {
                let dir = dir.to_string_lossy();
                let is_relative = argv.get(at).is_some_and(|word| !word.starts_with('/'));
                let start = if is_relative {
                    ": a relative path starts at the rule's `cwd`, not at yours"
                } else {
                    ""
                };
                format!("{} is a path in {}, and {word} is not{start}", slot.shown(), visible(&dir))
            }
        }
    }
}

/// The first difference between two words that may look alike, such as `\u{e9}` and `e\u{301}`; `None` if
/// both characters there are ASCII.
fn difference(word: &str, literal: &str) -> Option<String> {
    let shared = word.chars().zip(literal.chars()).take_while(|(one, other)| one == other).count();
    let (one, other) = (word.chars().nth(shared), literal.chars().nth(shared));
    let is_plain = |ch: Option<char>| ch.is_none_or(|ch| ch.is_ascii());
    if is_plain(one) && is_plain(other) {
        return None;
    }
    let spelled = |ch: Option<char>| ch.map_or("its end".into(), |ch| format!("U+{:04X}", u32::from(ch)));
    Some(format!(" (character {} is {}, not {})", shared + 1, spelled(one), spelled(other)))
}

/// A word as an explanation shows it: in quotes, nothing hidden, and not too long.
pub(super) fn shortened(word: &str) -> String {
    match word.char_indices().nth(SHOWN_WORD_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", visible(&word[..end])),
        None => format!("`{}`", visible(word)),
    }
}
