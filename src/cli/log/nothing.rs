//! What `sluice log` says on stderr where it has nothing to show: what there is instead.

use std::collections::BTreeMap;
use std::path::Path;

use crate::audit::{Asked, Count, Filter, Head, History, Matcher, Recorded, RuleAsked, rotated};
use crate::ids::CallId;
use crate::limits::SHOWN_RULES_MAX;

use super::super::LogArgs;
use super::style::printable;

/// What is on record: the highest number, and the rules of which there are calls, each with a program.
#[derive(Debug, Default)]
struct Survey {
    last: Option<CallId>,
    rules: BTreeMap<String, String>,
}

impl Survey {
    fn of(manifest: &Path) -> Self {
        let mut survey = Self::default();
        let filter = || Filter::new(Asked::default());
        let files = rotated(manifest).unwrap_or_default();
        let history = History::find(&files, &filter(), Count::All);
        let read = history.read(&mut Matcher::new(filter()), &mut |head, _, line| {
            survey.add(&head, line);
            Ok(())
        });
        // What cannot be read was said.
        read.map(|_| survey).unwrap_or_default()
    }

    fn add(&mut self, head: &Head, line: &[u8]) {
        let Some(record) = Recorded::of(line).filter(|_| head.begins) else { return };
        self.last = self.last.max(record.last.or(record.call));
        let Some(rule) = record.rule else { return };
        let place = record.file.map_or_else(|| rule.to_string(), |file| format!("{file}:{rule}"));
        self.rules.entry(place).or_insert_with(|| record.argv.into_iter().next().unwrap_or_default());
    }

    fn rules(&self) -> String {
        let named = |(place, program): (&String, &String)| {
            if program.is_empty() { place.clone() } else { format!("{place} ({program})") }
        };
        let shown: Vec<_> = self.rules.iter().take(SHOWN_RULES_MAX).map(named).collect();
        let more = self.rules.len().saturating_sub(SHOWN_RULES_MAX);
        shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    }
}

/// That nothing is there, and what is.
pub(super) fn said(manifest: &Path, args: &LogArgs) -> String {
    let (path, survey) = (manifest.display(), Survey::of(manifest));
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
                RuleAsked::Line(line) => format!("of the rule on line {line}"),
                RuleAsked::Place(file, line) => format!("of the rule at {file}:{line}"),
                RuleAsked::Text(text) => format!("with {text:?} in its command"),
            };
            format!(
                "no call {what} is in {path}; there are calls of these rules, by their lines: {}",
                survey.rules()
            )
        }
        (None, None) => format!("no such call is in {path}; it has others, up to call {last}"),
    };
    printable(&said)
}
