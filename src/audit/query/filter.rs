//! The filter of a query: whether a line begins a call that is asked for.

use memchr::memmem::{self, Finder};

use crate::ids::{CallId, RuleLine};
use crate::text::command_line;

use crate::audit::read::{RecordFacts, RecordHead};
use crate::audit::record::kind::RecordKind;

/// A query: the conditions for the calls that are asked for.
#[derive(Clone, Debug, Default)]
pub struct CallQuery {
    /// Calls from this time on, in milliseconds since 1970.
    pub since: Option<u64>,
    /// Calls up to and including this time.
    pub until: Option<u64>,
    /// Refusals only.
    pub rejects: bool,
    /// Calls of this rule.
    pub rule: Option<RuleQuery>,
    /// The call with this number.
    pub call: Option<CallId>,
}

/// The way in which a rule is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleQuery {
    /// The rule on this line of the rules file.
    Line(RuleLine),
    /// The rule at this place in an included file.
    Place(String, RuleLine),
    /// Calls whose command line holds this text.
    Text(String),
}

/// A query, prepared to be compared with many lines.
#[derive(Debug)]
pub struct LineFilter {
    asked: CallQuery,
    /// Bytes that every matching line contains.
    needle: Option<Finder<'static>>,
}

impl LineFilter {
    /// A filter for this query.
    pub fn new(asked: CallQuery) -> Self {
        let needle =
            asked.rule.as_ref().and_then(needle).map(|needle| Finder::new(needle.as_bytes()).into_owned());
        Self { asked, needle }
    }

    /// The number of the call that is asked for, if it is asked for by its number.
    pub fn call(&self) -> Option<CallId> {
        self.asked.call
    }

    /// The time before which no call is asked for.
    pub(super) fn since(&self) -> Option<u64> {
        self.asked.since
    }

    /// Whether a line is the first of a call that is asked for.
    pub(super) fn takes(&self, head: &RecordHead, line: &[u8]) -> bool {
        head.begins && self.may_take(head, line) && (self.is_shown_by(head) || self.takes_record(line))
    }

    /// Whether the line can match, by its head and a search for bytes; no record is parsed for that.
    fn may_take(&self, head: &RecordHead, line: &[u8]) -> bool {
        let CallQuery { since, until, rejects, .. } = &self.asked;
        since.is_none_or(|since| since <= head.ts)
            && until.is_none_or(|until| head.ts <= until)
            && (!rejects || head.kind == RecordKind::Reject)
            && self.asked.call.is_none_or(|call| head.call == call || may_count(head, call, line))
            && self.needle.as_ref().is_none_or(|needle| needle.find(line).is_some())
    }

    /// Whether the head alone decides on the query.
    fn is_shown_by(&self, head: &RecordHead) -> bool {
        self.asked.rule.is_none() && self.asked.call.is_none_or(|call| call == head.call)
    }

    fn takes_record(&self, line: &[u8]) -> bool {
        let record = RecordFacts::of(line);
        let is_call = |call| record.call <= Some(call) && record.last.or(record.call) >= Some(call);
        self.asked.call.is_none_or(is_call)
            && self.asked.rule.as_ref().is_none_or(|rule| match rule {
                RuleQuery::Line(line) => record.rule == Some(line.get().into()) && record.file.is_none(),
                RuleQuery::Place(file, line) => {
                    record.rule == Some(line.get().into()) && record.file.as_deref() == Some(file)
                }
                RuleQuery::Text(text) => command_line(&record.argv).contains(text.as_str()),
            })
    }
}

/// Whether a record of refusals may count several refusals, that of `call` among them.
fn may_count(head: &RecordHead, call: CallId, line: &[u8]) -> bool {
    head.kind == RecordKind::Reject && head.call < call && memmem::find(line, b",\"last\":").is_some()
}

/// Bytes that a line of this rule contains: the longest run of characters that JSON does not escape.
fn needle(rule: &RuleQuery) -> Option<String> {
    match rule {
        RuleQuery::Line(line) | RuleQuery::Place(_, line) => Some(format!(",\"rule\":{line},")),
        RuleQuery::Text(text) => {
            let is_plain = |ch: char| ch.is_ascii_alphanumeric() || "_@%+=:,./-".contains(ch);
            let longest = text.split(|ch| !is_plain(ch)).max_by_key(|run| run.len())?;
            (!longest.is_empty()).then(|| longest.to_owned())
        }
    }
}
