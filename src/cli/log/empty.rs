//! The message of `sluice log` where it has nothing to show, with what is on record instead.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use memchr::memmem::find;

use crate::audit::{
    CallCount, CallHistory, CallMatcher, CallQuery, LineFilter, ParsedRecord, RecordHead, RecordKind,
    RuleQuery, rotated,
};
use crate::cli::args::LogArgs;
use crate::ids::{CallId, RuleLine};
use crate::limits::SHOWN_RULES_MAX;

use crate::text::printable;

/// A summary of the record: the highest number, and the rules that have calls, each with a program.
#[derive(Debug, Default)]
struct RecordSurvey {
    last: Option<CallId>,
    rules: BTreeMap<(Option<String>, RuleLine), String>,
    /// The rules of the main file among these, as records have them.
    known: HashSet<Vec<u8>>,
}

impl RecordSurvey {
    fn of(manifest: &Path) -> Self {
        let mut survey = Self::default();
        let filter = || LineFilter::new(CallQuery::default());
        let files = rotated(manifest).unwrap_or_default();
        let history = CallHistory::find(&files, &filter(), CallCount::All);
        let read = history.read(&mut CallMatcher::new(filter()), &mut |head, _, line| {
            survey.add(&head, line);
            Ok(())
        });
        // An error of reading was reported before.
        read.map(|_| survey).unwrap_or_default()
    }

    /// Takes in a record. Few records are parsed: most are of a rule that is known.
    fn add(&mut self, head: &RecordHead, line: &[u8]) {
        self.last = self.last.max(Some(head.call));
        let is_new = rule_of(line).is_some_and(|rule| !self.known.contains(rule));
        let is_counted = head.kind == RecordKind::Reject && find(line, b",\"last\":").is_some();
        if !head.begins || !(is_new || is_counted) {
            return;
        }
        let Some(record) = ParsedRecord::of(line) else { return };
        self.last = self.last.max(record.last);
        let Some(rule) = record.rule else { return };
        if record.file.is_none() {
            self.known.extend(rule_of(line).map(<[u8]>::to_vec));
        }
        self.rules
            .entry((record.file, rule))
            .or_insert_with(|| record.argv.into_iter().next().unwrap_or_default());
    }

    fn rules(&self) -> String {
        let named = |((file, rule), program): (&(Option<String>, RuleLine), &String)| {
            let place = file.as_ref().map_or_else(|| rule.to_string(), |file| format!("{file}:{rule}"));
            if program.is_empty() { place } else { format!("{place} ({program})") }
        };
        let shown: Vec<_> = self.rules.iter().take(SHOWN_RULES_MAX).map(named).collect();
        let more = self.rules.len().saturating_sub(SHOWN_RULES_MAX);
        shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    }
}

/// The rule of a record; empty where the record names the rule's file too.
fn rule_of(line: &[u8]) -> Option<&[u8]> {
    const RULE: &[u8] = b",\"rule\":";
    let rest = &line[find(line, RULE)? + RULE.len()..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    Some(if rest[end..].starts_with(b",\"file\":") { &[] } else { &rest[..end] })
}

/// The message that there is nothing to show, with what is on record.
pub(super) fn said(manifest: &Path, args: &LogArgs) -> String {
    let (path, survey) = (manifest.display(), RecordSurvey::of(manifest));
    let Some(last) = survey.last else { return format!("no call is on record in {path}") };
    let said = match (args.call, &args.rule) {
        (Some(call), _) if CallId::new(call) <= last => {
            format!(
                "call {call} is not in {path}, though later ones are: its file is not here, or it was not recorded"
            )
        }
        (Some(call), _) => format!("there is no call {call} in {path}: the last one is {last}"),
        (None, Some(rule)) => {
            let what = match rule {
                RuleQuery::Line(line) => format!("of the rule on line {line}"),
                RuleQuery::Place(file, line) => format!("of the rule at {file}:{line}"),
                RuleQuery::Text(text) => format!("with {text:?} in its command"),
            };
            format!(
                "no call {what} is in {path}; there are calls of these rules, by their lines: {}",
                survey.rules()
            )
        }
        (None, None) => format!("no such call is in {path}; it has others, up to call {last}"),
    };
    printable(&said).into_owned()
}
