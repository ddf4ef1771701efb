//! Slot regexes. At load, a regex is parsed on its own, anchored to both ends of the value, and compiled
//! once, as a proof that it stays within its limits. The program that `regex_machine.rs` runs is compiled
//! when the regex is first used, so that ten thousand rules cost little memory until then.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_syntax::ast::ErrorKind;
use regex_syntax::hir::{Hir, Look};

use crate::limits::{REGEX_BYTES_MAX, REGEX_NEST_MAX, REGEX_SOURCE_BYTES_MAX, REGEX_TOTAL_BYTES_MAX};

use super::regex_machine::{BudgetExhausted, StepBudget, can_match, matches};

/// A regex that compiles within its limits. It matches whole values only.
pub(super) struct SlotPattern {
    source: Box<str>,
    shortest: Option<usize>,
    longest: Option<usize>,
    nfa: OnceLock<NFA>,
}

impl SlotPattern {
    /// The regex as it is written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The bytes of the longest value that it matches, if there is one.
    pub(super) fn longest(&self) -> Option<usize> {
        self.longest
    }

    /// The bytes of the shortest value that it matches; `None` where none does.
    pub(super) fn shortest(&self) -> Option<usize> {
        self.shortest
    }

    /// Whether a value can match whose first byte `begins` accepts; `begins(None)` stands for the empty
    /// value.
    pub(super) fn can_match(&self, begins: impl Fn(Option<u8>) -> bool) -> bool {
        can_match(self.nfa(), begins)
    }

    fn nfa(&self) -> &NFA {
        let nfa = || compiled(&self.source).expect("it compiled within its bounds at load").0;
        self.nfa.get_or_init(nfa)
    }

    /// Whether the whole value matches. Errors: that would take more steps than the decision has left.
    pub(super) fn matches(&self, value: &str, effort: &mut StepBudget<'_>) -> Result<bool, BudgetExhausted> {
        matches(self.nfa(), value, effort)
    }
}

impl fmt::Debug for SlotPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

/// Why a regex is refused.
#[derive(Clone, Debug)]
pub(super) struct PatternError {
    /// The part of the source that is wrong, if it is only a part: the first byte, and the byte behind the
    /// last.
    pub(super) place: Option<(usize, usize)>,
    pub(super) message: String,
    /// The fix, where one is known.
    pub(super) help: Option<&'static str>,
}

/// The regexes of one load; equal sources share one pattern.
#[derive(Debug, Default)]
pub(super) struct PatternCache {
    known: HashMap<Box<str>, Arc<SlotPattern>>,
    spent_bytes: usize,
}

impl PatternCache {
    /// The pattern of this source.
    pub(super) fn get(&mut self, source: &str) -> Result<Arc<SlotPattern>, PatternError> {
        if let Some(known) = self.known.get(source) {
            return Ok(Arc::clone(known));
        }
        if self.spent_bytes > REGEX_TOTAL_BYTES_MAX {
            return Err(whole(format!(
                "all regexes together compile to more than {REGEX_TOTAL_BYTES_MAX} bytes"
            )));
        }
        let compiled = compiled(source);
        self.spent_bytes += compiled.as_ref().map_or(REGEX_BYTES_MAX, |(nfa, _)| nfa.memory_usage());
        let (_, (shortest, longest)) = compiled?;
        let pattern = SlotPattern { source: source.into(), shortest, longest, nfa: OnceLock::new() };
        let pattern = Arc::new(pattern);
        self.known.insert(source.into(), Arc::clone(&pattern));
        Ok(pattern)
    }
}

fn whole(message: String) -> PatternError {
    PatternError { place: None, message, help: None }
}

/// The lengths of the shortest and the longest value that a regex matches, in bytes.
type ValueBytes = (Option<usize>, Option<usize>);

/// Anchors a regex to both ends of the value, and compiles it.
fn compiled(source: &str) -> Result<(NFA, ValueBytes), PatternError> {
    if source.len() > REGEX_SOURCE_BYTES_MAX {
        return Err(whole(format!("this regex is longer than {REGEX_SOURCE_BYTES_MAX} bytes")));
    }
    let hir = anchored(source).map_err(|error| flaw(&error))?;
    let config = NFA::config().which_captures(WhichCaptures::None).nfa_size_limit(Some(REGEX_BYTES_MAX));
    let nfa = thompson::Compiler::new().configure(config).build_from_hir(&hir);
    let nfa = nfa.map_err(|_| whole(format!("this regex compiles to more than {REGEX_BYTES_MAX} bytes")))?;
    Ok((nfa, (hir.properties().minimum_len(), hir.properties().maximum_len())))
}

/// Anchors a regex to both ends of the value. The anchors are added to the parsed regex, not to its text, so
/// that no regex can be written to get around them.
fn anchored(source: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    let hir = regex_syntax::ParserBuilder::new().nest_limit(REGEX_NEST_MAX).build().parse(source)?;
    Ok(Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]))
}

fn flaw(error: &regex_syntax::Error) -> PatternError {
    let mut help = None;
    let (message, span) = match error {
        regex_syntax::Error::Parse(error) => {
            help = HINTS.iter().find(|(kind, _)| kind == error.kind()).map(|(_, help)| *help);
            (error.kind().to_string(), error.span())
        }
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span()),
        other => return whole(other.to_string()),
    };
    let place = Some((span.start.offset, span.end.offset));
    PatternError { place, message: format!("not a regex: {message}"), help }
}

/// The fixes for regexes that cannot be parsed.
const HINTS: &[(ErrorKind, &str)] = &[
    (ErrorKind::UnsupportedLookAround, NO_LOOK_AROUND),
    (ErrorKind::ClassUnclosed, r"close it with `]`; for the sign itself, write `\[`"),
    (
        ErrorKind::ClassRangeInvalid,
        r"a range goes from the lower to the higher: `a-z`; for a `-` itself, put it last",
    ),
    (ErrorKind::GroupUnclosed, r"close it with `)`; for the sign itself, write `\(`"),
    (ErrorKind::GroupUnopened, r"for the sign itself, write `\)`"),
    (
        ErrorKind::RepetitionMissing,
        "it repeats what stands before it: write `.*` for any text, `[^/]*` for the name of a file, `a|b` for one of two",
    ),
    (ErrorKind::RepetitionCountUnclosed, BRACES),
    (ErrorKind::RepetitionCountInvalid, r"the smaller number stands first: `{1,9}`"),
    (ErrorKind::RepetitionCountDecimalEmpty, BRACES),
    (ErrorKind::DecimalEmpty, BRACES),
    (ErrorKind::DecimalInvalid, BRACES),
    (ErrorKind::EscapeUnexpectedEof, r"for a backslash itself, write `\\`"),
    (ErrorKind::EscapeUnrecognized, r"for the character itself, leave the `\` out"),
    (ErrorKind::UnsupportedBackreference, "write out what may stand there"),
];

const BRACES: &str = r"for one of several words, write `a|b`; for the sign itself, `\{`";

/// The fix for "any but this" with look-around, which is not supported.
const NO_LOOK_AROUND: &str = "write what is accepted, not what is not: `feature/[a-z0-9-]+|fix/[a-z0-9-]+` instead of \
    `(?!main).*`; a line `refuses = …` then holds that `main` is none of it";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, value: &str, want: bool) {
        let pattern = PatternCache::default().get(source).expect("a good regex");
        assert_eq!(pattern.matches(value, &mut StepBudget::alone()), Ok(want), "{source} {value}");
    }

    fn check_flaw(source: &str, place: Option<(usize, usize)>, message: &str) {
        let flaw = PatternCache::default().get(source).expect_err("a bad regex");
        assert_eq!((flaw.place, flaw.message.as_str()), (place, message));
    }

    #[test]
    fn only_a_whole_value_matches() {
        check("a|b", "a", true);
        check("a|b", "axyz", false);
        check("a|b", "xb", false);
        check("^a$", "a", true);
        check("^a$", "a\n", false);
        check("(?m)^a$", "a\nb", false);
        check("(?x) a # the end", "a", true);
        check("(?x) a # the end", "ab", false);
        check("", "", true);
    }

    #[test]
    fn alternation_cannot_leave_its_anchors() {
        check_flaw("a)|(b", Some((1, 2)), "not a regex: unopened group");
    }

    #[test]
    fn what_compiles_to_gigabytes_is_refused() {
        check_flaw("(?:x{1000}){1000}{1000}", None, "this regex compiles to more than 1048576 bytes");
        check_flaw(&"(".repeat(9000), None, "this regex is longer than 8192 bytes");
    }

    #[test]
    fn the_same_source_is_compiled_once() {
        let mut patterns = PatternCache::default();
        let first = patterns.get("[a-z]").expect("a good regex");
        assert!(Arc::ptr_eq(&first, &patterns.get("[a-z]").expect("a good regex")));
    }
}
