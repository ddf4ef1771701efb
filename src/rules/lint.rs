//! Warnings of rules that load, but most likely do not mean what their author meant. `sluice check` shows
//! them; they change nothing about a policy.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::fault::{FaultReport, RulesFault, SourceSpan};
use super::files::RulesFiles;
use super::index::RuleIndex;
use super::lint_callers::caller_tree;
use super::lint_confined::{ConfinedStanza, ConfinementLint};
use super::lint_context::{LintContext, MissingProgram};
use super::odd_value::{COMMENT, comment, odd_regex};
use super::parse::{Attribute, ParsedRules, Stanza};
use super::rule::{ExpectedWord, ProgramWord, Rule, Slot, SlotConstraint};
use super::stanza::{CUT, canonical};
use super::stated_confinement::StatedConfinement;
use super::suspicious::{odd, odd_program};
use super::template::PathTemplate;
use super::unreachable::shadowed;
use super::values;
use super::variables::LoadVariables;
use super::vocabulary::{self, AttributeKey};
use super::word::QuotedWord;

/// The results of the steps of one load.
pub(super) struct LintInput<'a, 'v> {
    pub(super) files: &'a RulesFiles,
    pub(super) tree: &'a ParsedRules<'a>,
    pub(super) vars: &'a LoadVariables<'v>,
    /// The rules without errors, in order.
    pub(super) rules: &'a [Arc<Rule>],
    pub(super) index: &'a RuleIndex,
    /// What was stated of each rule's confinement.
    pub(super) confining: &'a [Option<Rc<StatedConfinement>>],
    /// The directories that callers write.
    pub(super) callers: &'a [PathBuf],
}

/// Adds a warning to the report for all that is odd.
pub(super) fn lint(read: &LintInput<'_, '_>, around: &dyn LintContext, report: &mut FaultReport) {
    let has_secrets = read.rules.iter().any(|rule| !rule.settings.credentials.is_empty());
    let mut linter = Linter { read, around, report, confinements: ConfinementLint::default(), has_secrets };
    let profiles = read.tree.profiles.iter().flat_map(|profile| &profile.attributes);
    read.tree.defaults.iter().chain(profiles).for_each(|attribute| linter.attribute(attribute));
    let mut rules = read.rules.iter().enumerate().peekable();
    let mut spans = HashMap::new();
    for stanza in &read.tree.rules {
        linter.stanza(stanza);
        let span = stanza.words[0].span;
        if let Some((place, rule)) = rules.next_if(|(_, rule)| linter.stands_at(rule, span)) {
            spans.insert(
                place,
                SourceSpan { end: stanza.words.last().map_or(span.end, |word| word.span.end), ..span },
            );
            linter.rule(stanza, rule);
            linter.confinement(stanza, place);
        }
    }
    linter.unused_profiles();
    for (place, by) in shadowed(read.rules, read.index) {
        if let Some(span) = spans.get(&place) {
            linter.unreachable(*span, &read.rules[place], &read.rules[by]);
        }
    }
}

struct Linter<'a, 'v> {
    read: &'a LintInput<'a, 'v>,
    around: &'a dyn LintContext,
    report: &'a mut FaultReport,
    confinements: ConfinementLint,
    has_secrets: bool,
}

impl Linter<'_, '_> {
    fn stands_at(&self, rule: &Rule, span: SourceSpan) -> bool {
        Arc::ptr_eq(&rule.file, self.read.files.path(span.file))
            && usize::try_from(rule.line.get()).is_ok_and(|line| line == span.line + 1)
    }

    fn stanza(&mut self, stanza: &Stanza<'_>) {
        let odd_first = odd_program(&stanza.words[0]);
        let first = odd_first.or_else(|| odd(&stanza.words[0]));
        first
            .into_iter()
            .chain(stanza.words[1..].iter().filter_map(odd))
            .for_each(|fault| self.report.add(fault));
        if let Some(span) = stanza.comment {
            self.comment(span);
        }
        stanza.attributes.iter().for_each(|attribute| self.attribute(attribute));
    }

    /// Warns of a comment behind a rule that looks like a second command, which a shell would run after the
    /// `;`.
    fn comment(&mut self, span: SourceSpan) {
        let line = self.read.files.line(span.file, span.line).unwrap_or_default();
        let text = line.get(span.start + 1..).unwrap_or_default().trim_ascii();
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let Some(first) = words.first() else { return };
        let is_name = first
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_./+".contains(&byte));
        let has_signs = words[1..]
            .iter()
            .any(|word| word.starts_with('-') && word.len() > 1 || ["|", "&&", "||", ">"].contains(word));
        let is_short = words.len() <= 2;
        if is_name && (is_short || has_signs) && self.around.is_program(first) {
            let fault = RulesFault::new(span, format!("`{first}` is not run: a `;` begins a comment"));
            self.report.add(fault.help("for two commands, write two rules, or one script: /bin/sh -c '…; …'; put a comment on a line of its own, above"));
        }
    }

    fn attribute(&mut self, attribute: &Attribute<'_>) {
        match vocabulary::find(attribute.key).map(|(key, _)| key) {
            Some(
                AttributeKey::Accepts
                | AttributeKey::Refuses
                | AttributeKey::Setenv
                | AttributeKey::CallerWrites
                | AttributeKey::Confining(_),
            ) => {
                let words = attribute.value.words().map(|words| words.words).unwrap_or_default();
                words.iter().filter_map(odd).for_each(|fault| self.report.add(fault));
                if attribute.key == "caller_writes" {
                    words.iter().for_each(|word| self.directory(word, "callers write nothing there"));
                }
                return;
            }
            Some(AttributeKey::Cwd) => {
                attribute.value.value().into_iter().flatten().for_each(|value| {
                    self.directory(&value, "a call that finds none is refused");
                });
            }
            Some(AttributeKey::Capture(_)) => self.capture(attribute),
            Some(AttributeKey::Env) => self.env(attribute),
            _ => {}
        }
        let Ok(Some(value)) = attribute.value.value() else { return };
        if let Some(cut) = value.cut {
            self.report.add(
                RulesFault::new(SourceSpan { start: cut, end: cut + 1, ..value.span }, "the value ends here")
                    .help(CUT),
            );
        }
        if let Some(span) = comment(&value) {
            self.report
                .add(RulesFault::new(span, "this is a part of the value, and no comment").help(COMMENT));
        }
    }

    /// Warns of `PATH` in a list of names: a command's `PATH` comes from `exec_path`.
    fn env(&mut self, attribute: &Attribute<'_>) {
        let Ok(Some(value)) = attribute.value.value() else { return };
        for word in value.split(',').iter().filter(|word| word.text() == "PATH") {
            let fault =
                RulesFault::new(word.span, "`PATH` here has no effect: a command's PATH is its `exec_path`");
            self.report.add(fault.help("leave it out; for the broker's own, write `exec_path = inherit`"));
        }
    }

    fn directory(&mut self, value: &QuotedWord, because: &str) {
        let Ok(path) = values::path(value, self.read.vars) else { return };
        if !self.around.is_directory(&path) {
            let fault = RulesFault::new(value.span, format!("there is no directory {}", path.display()));
            self.report.add(fault.help(format!("make it, or name another one: {because}")));
        }
    }

    /// Warns of a place for captures in which no file can be made.
    fn capture(&mut self, attribute: &Attribute<'_>) {
        let Ok(Some(value)) = attribute.value.value() else { return };
        let Ok(template) = PathTemplate::capture(&value, self.read.vars) else { return };
        if let Some(why) = self.around.file_fault(&template.known_part()) {
            let fault = RulesFault::new(value.span, why);
            self.report.add(fault.help(
                "name a directory that the broker's user alone can write: a call that finds none is refused",
            ));
        }
    }

    fn rule(&mut self, stanza: &Stanza<'_>, rule: &Rule) {
        let span = stanza.words[0].span;
        match self.around.program(rule) {
            Err(MissingProgram::Absent) => self.report.add(no_program(stanza, rule)),
            Err(MissingProgram::Refused(why)) => {
                self.report.add(RulesFault::new(span, format!("calls of this program are refused: {why}")));
            }
            Ok(program) => {
                if let Some(interpreter) = self.around.missing_interpreter(&program) {
                    let (program, interpreter) = (program.display(), interpreter.display());
                    let message = format!("{program} begins with `#!{interpreter}`, which is not there");
                    let fault = RulesFault::new(span, message);
                    self.report
                        .add(fault.help("install it, or name another one: a call of it cannot be started"));
                }
            }
        }
        for slot in rule.words.iter().filter_map(ExpectedWord::slot) {
            let attribute =
                stanza.attributes.iter().find(|attribute| canonical(attribute.key) == slot.name());
            if let Some(attribute) = attribute {
                self.slot(slot, attribute);
            }
        }
    }

    fn confinement(&mut self, stanza: &Stanza<'_>, place: usize) {
        let rule = &self.read.rules[place];
        let confinement = rule.settings.confinement.as_deref();
        if let Some((stated, confinement)) = self.read.confining[place].as_ref().zip(confinement) {
            let home = self.read.vars.home();
            let has_secrets = self.has_secrets;
            let of = ConfinedStanza { stanza, rule, stated, confinement, home, has_secrets };
            self.confinements.rule(of, self.around, self.report);
        }
        let fault = caller_tree(stanza, rule, self.read.callers, self.around);
        fault.into_iter().for_each(|fault| self.report.add(fault));
    }

    fn slot(&mut self, slot: &Slot, attribute: &Attribute<'_>) {
        match &slot.accepts {
            SlotConstraint::Under(directory, _) if !self.around.is_directory(directory) => {
                let message = format!("there is no directory {}", directory.display());
                let fault = RulesFault::new(attribute.value.span(), message);
                self.report
                    .add(fault.help("make it, or name another one: a path that leads into none is refused"));
            }
            SlotConstraint::Matching(pattern) => {
                let value = attribute.value.regex().ok().flatten();
                let fault = value.and_then(|value| odd_regex(&value, slot, pattern));
                fault.into_iter().for_each(|fault| self.report.add(fault));
            }
            SlotConstraint::Under(..) | SlotConstraint::Anything => {}
        }
    }

    /// Warns of profiles of the top file that nothing names: a rule that was meant to have one is unconfined.
    /// An included file may have profiles for several files.
    fn unused_profiles(&mut self) {
        let tree = self.read.tree;
        let rules = tree.rules.iter().flat_map(|rule| &rule.attributes);
        let profiles = tree.profiles.iter().flat_map(|profile| &profile.attributes);
        let all = tree.defaults.iter().chain(rules).chain(profiles);
        let naming = all.filter(|attribute| ["confine", "extends"].contains(&attribute.key));
        let names: HashSet<_> =
            naming.filter_map(|attribute| attribute.value.value().ok()?.map(|name| name.text())).collect();
        let in_top = tree.profiles.iter().filter(|profile| profile.span.file == 0);
        for profile in in_top.filter(|profile| !names.contains(&profile.name)) {
            let name = &profile.name;
            let fault = RulesFault::new(profile.span, format!("no rule has the profile `{name}`"));
            self.report.add(fault.help(format!("write `confine = {name}` in a rule, or in `defaults:`")));
        }
    }

    fn unreachable(&mut self, span: SourceSpan, rule: &Rule, by: &Rule) {
        let place = if Arc::ptr_eq(&rule.file, &by.file) {
            format!("line {}", by.line)
        } else {
            format!("{}:{}", by.file.display(), by.line)
        };
        let message =
            format!("no call reaches this rule: the rule on {place}, `{}`, takes all that it would", by.text);
        self.report.add(RulesFault::new(span, message).help("remove it, or put it above that rule"));
    }
}

fn no_program(stanza: &Stanza<'_>, rule: &Rule) -> RulesFault {
    let fault = |message: String| RulesFault::new(stanza.words[0].span, message);
    match &rule.program {
        ProgramWord::Absolute(path) => fault(format!("there is no program {}", path.display()))
            .help("a call of it is refused until there is one, executable by the broker's user"),
        ProgramWord::Bare(name) => fault(format!("there is no program `{name}` in `exec_path`"))
            .help("write its absolute path, or its directory into `exec_path`; what only a shell has (`cd`, `source`) is no program"),
    }
}
