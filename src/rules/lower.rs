//! Turns stanzas into rules: joins slots with their constraints, adds the defaults, and refuses
//! contradictions. The resulting [`Rule`] is complete.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::ids::RuleLine;
use crate::limits::{RULES_MAX, SOCKET_CALLS_DEFAULT};

use super::confining::{RuleConfiner, StanzaConfinement};
use super::credential;
use super::draft::{DraftWord, drafts, slot_name};
use super::fault::{FaultReport, RulesFault, SourceSpan};
use super::files::RulesFiles;
use super::matcher::{LexicalPaths, fit};
use super::odd_value::COMMENT;
use super::parse::{ParsedRules, Stanza};
use super::pattern::PatternCache;
use super::profiles::ProfileTable;
use super::regex_machine::StepBudget;
use super::resources::ResourceKey;
use super::rule::{DashPolicy, ExpectedWord, ProgramWord, Rule, Slot, SlotConstraint};
use super::settings::{AuditMode, JournalMode, RuleSettings, ScopeMode, StatedSettings, SyncMode};
use super::stanza::{
    AssertionKind, NamedSlot, RuleAssertion, StanzaContent, StanzaReader, StanzaScope, TextOrigin,
};
use super::stated_confinement::StatedConfinement;
use super::template::PathTemplate;
use super::variables::LoadVariables;
use super::vocabulary::nearest;
use super::word::QuotedWord;

/// The rules, and the settings of the whole socket.
#[derive(Debug)]
pub(super) struct LoweredRules {
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) max_calls: u32,
    pub(super) audit: AuditMode,
    pub(super) scope: ScopeMode,
    pub(super) journal: JournalMode,
    pub(super) sync: SyncMode,
    pub(super) fifo: bool,
    pub(super) logfile: Option<PathTemplate>,
    pub(super) caller_writes: Vec<PathBuf>,
    /// What was stated of each rule's confinement.
    pub(super) confining: Vec<Option<Rc<StatedConfinement>>>,
}

/// Lowers all stanzas; rules with errors are left out.
pub(super) fn lower(
    tree: &ParsedRules<'_>,
    files: &RulesFiles,
    vars: &LoadVariables<'_>,
    report: &mut FaultReport,
) -> LoweredRules {
    let mut reader =
        StanzaReader { vars, report, patterns: PatternCache::default(), origin: TextOrigin::File };
    let mut said = reader.read(&tree.defaults, StanzaScope::Defaults);
    let scope = said.scope.unwrap_or(ScopeMode::Auto);
    let profiles = ProfileTable::read(tree, &mut reader);
    let confiner = RuleConfiner::new(profiles, StanzaConfinement::take(&mut said.stated), &mut reader);
    let mut lowering = RuleLowering { files, reader, defaults: said.stated, scope, confiner };
    lowering.check_resources(&said.for_managers);
    let lowered = tree.rules.iter().take(RULES_MAX).filter_map(|stanza| lowering.rule(stanza));
    let (rules, confining) = lowered.map(|(rule, stated)| (Arc::new(rule), stated)).unzip();
    if let Some(stanza) = tree.rules.get(RULES_MAX) {
        lowering.reader.report.add(RulesFault::new(
            stanza.words[0].span,
            format!("more than {RULES_MAX} rules, includes counted"),
        ));
    }
    LoweredRules {
        rules,
        max_calls: lowering.defaults.max_calls.unwrap_or(SOCKET_CALLS_DEFAULT),
        audit: said.audit.unwrap_or(AuditMode::Strict),
        scope,
        journal: said.journal.unwrap_or(JournalMode::On),
        sync: said.sync.unwrap_or(SyncMode::Kernel),
        fifo: said.fifo.unwrap_or_default(),
        logfile: said.logfile,
        caller_writes: said.caller_writes,
        confining,
    }
}

/// The fixes for properties that only a manager can set.
const INSTEAD: [(ResourceKey, &str); 2] =
    [(ResourceKey::RuntimeMax, "use `timeout`"), (ResourceKey::OomPolicy, "write `kill` or `continue`")];

struct RuleLowering<'a, 'v> {
    files: &'a RulesFiles,
    reader: StanzaReader<'a, 'v>,
    defaults: StatedSettings,
    scope: ScopeMode,
    confiner: RuleConfiner,
}

impl RuleLowering<'_, '_> {
    fn rule(&mut self, stanza: &Stanza<'_>) -> Option<(Rule, Option<Rc<StatedConfinement>>)> {
        let drafts = drafts(&stanza.words, self.reader.vars, self.reader.report);
        let named: Vec<_> = stanza.words.iter().filter_map(slot_name).map(|(name, _)| name).collect();
        let slots: Vec<_> = named.iter().map(String::as_str).collect();
        let mut said = self.reader.read(&stanza.attributes, StanzaScope::Rule(&slots, &stanza.words));
        self.check_lists(&said, &slots);
        self.check_resources(&said.for_managers);
        let words: Vec<_> = drafts.into_iter().map(|draft| self.expected(draft?, &mut said)).collect();
        let words = words.into_iter().collect::<Option<Box<[_]>>>()?;
        let program = program(&stanza.words[0], &words[0]);
        let span = stanza.words[0].span;
        let confining = StanzaConfinement::take(&mut said.stated);
        let (mut settings, stated) = self.settings(said.stated, &confining, span);
        match credential::of_rule(&said.credentials, &settings.setenv, &settings.env) {
            Ok(credentials) => settings.credentials = credentials,
            Err(faults) => faults.into_iter().for_each(|fault| self.reader.report.add(fault)),
        }
        let rule = Rule {
            line: RuleLine::new(u32::try_from(span.line + 1).unwrap_or(u32::MAX)),
            file: Arc::clone(self.files.path(span.file)),
            text: words.iter().map(ExpectedWord::shown).collect::<Vec<_>>().join(" ").into(),
            program: self.reader.report.take(program)?,
            settings,
            words,
            comments: stanza.comments.iter().map(|&comment| comment.into()).collect(),
        };
        if self.scope == ScopeMode::Off && !rule.settings.resources.is_empty() {
            self.reader.report.add(
                RulesFault::new(
                    span,
                    "this rule has resource properties, and `scope = off` leaves nowhere to set them",
                )
                .help("remove `scope = off` or the properties"),
            );
        }
        for promise in &said.promises {
            self.reader.report.take(check_promise(&rule, promise));
        }
        Some((rule, stated))
    }

    /// The settings of the rule at `rule`, and what was stated of its confinement.
    fn settings(
        &mut self,
        stated: StatedSettings,
        confining: &StanzaConfinement,
        rule: SourceSpan,
    ) -> (RuleSettings, Option<Rc<StatedConfinement>>) {
        let cwd = stated.cwd.clone().or_else(|| self.defaults.cwd.clone()).unwrap_or_else(|| "/".into());
        let confined = self.confiner.confine(confining, &cwd, rule, &mut self.reader);
        let setenv = self.confiner.setenv(confining.base.as_ref(), &self.defaults.setenv);
        let (confinement, said) = confined.unzip();
        (RuleSettings { confinement, ..stated.under(&self.defaults, &setenv) }, said)
    }

    /// Checks that no property needs a manager under `scope = delegate`, which asks none.
    fn check_resources(&mut self, for_managers: &[(ResourceKey, SourceSpan)]) {
        for (key, span) in for_managers.iter().filter(|_| self.scope == ScopeMode::Delegate) {
            let fault = RulesFault::new(
                *span,
                "only a service manager can do this, and `scope = delegate` asks none",
            );
            let instead = INSTEAD.iter().find(|(of, _)| of == key).map(|(_, instead)| *instead);
            self.reader.report.add(match instead {
                Some(instead) => fault.help(instead),
                None => fault,
            });
        }
    }

    /// Checks that `allow_any` and `allow_dash` name slots of the rule, and that `allow_dash` has a meaning
    /// for them.
    fn check_lists(&mut self, said: &StanzaContent, slots: &[&str]) {
        let known = |named: &&NamedSlot| slots.contains(&named.name.as_str());
        let unknown = said.allow_any.iter().chain(&said.allow_dash).filter(|named| !known(named));
        unknown.for_each(|named| self.reader.report.add(unknown_slot(named, slots)));
        for dash in said.allow_dash.iter().filter(known) {
            if let Err(fault) = check_dash(dash, said) {
                self.reader.report.add(fault);
            }
        }
    }

    fn expected(&mut self, draft: DraftWord, said: &mut StanzaContent) -> Option<ExpectedWord> {
        let (name, takes, span) = match draft {
            DraftWord::Literal(word) => return Some(ExpectedWord::Literal(word.into())),
            DraftWord::Slot { name, takes, span } => (name, takes, span),
        };
        let any = said.allow_any.iter().any(|any| any.name == name);
        let accepts = match said.constraints.remove(&name) {
            Some((span, _)) if any => Err(constrained(&name, span)),
            Some((_, accepts)) => Ok(accepts?),
            None if any => Ok(SlotConstraint::Anything),
            None => Err(unconstrained(&name, span)),
        };
        let may_dash = any || said.allow_dash.iter().any(|dash| dash.name == name);
        let dash = if may_dash { DashPolicy::Allowed } else { DashPolicy::Refused };
        let accepts = self.reader.report.take(accepts)?;
        Some(ExpectedWord::Slot(Slot { name: name.into(), takes, accepts, dash }))
    }
}

fn unknown_slot(named: &NamedSlot, slots: &[&str]) -> RulesFault {
    let fault = RulesFault::new(named.span, format!("this rule has no slot `{}`", named.name));
    match nearest(&named.name, slots.iter().copied()) {
        Some(nearest) => fault.help(format!("write `{nearest}`")),
        None if named.name.contains(" #") => fault.help(COMMENT),
        None if named.name.contains([' ', '\t']) => {
            let names: Vec<_> = named.name.split_whitespace().collect();
            fault.help(format!("separate names by commas: `{}`", names.join(",")))
        }
        None => fault,
    }
}

fn check_dash(dash: &NamedSlot, said: &StanzaContent) -> Result<(), RulesFault> {
    if said.allow_any.iter().any(|any| any.name == dash.name) {
        let fault = RulesFault::new(dash.span, format!("`{}` is in `allow_any` as well", dash.name));
        return Err(fault.help("`allow_any` alone lets a value start with `-`"));
    }
    match said.constraints.get(&dash.name) {
        Some((_, Some(SlotConstraint::Matching(_)) | None)) => Ok(()),
        Some((_, Some(SlotConstraint::Under(..) | SlotConstraint::Anything))) | None => {
            let fault = RulesFault::new(dash.span, format!("`{}` has no regex", dash.name));
            Err(fault.help("only a regex says what a value that starts with `-` may be"))
        }
    }
}

fn constrained(name: &str, span: SourceSpan) -> RulesFault {
    RulesFault::new(span, format!("`{name}` is in `allow_any`, so nothing constrains it"))
        .help("remove this line, or the name from `allow_any`")
}

fn unconstrained(name: &str, span: SourceSpan) -> RulesFault {
    RulesFault::new(span, format!("nothing says what the slot `{name}` accepts"))
        .help(format!("add `{name} = REGEX` or `{name} = in DIR` below, or `allow_any = {name}`"))
}

fn program(word: &QuotedWord, first: &ExpectedWord) -> Result<ProgramWord, RulesFault> {
    let ExpectedWord::Literal(program) = first else {
        return Err(RulesFault::new(word.span, "the program cannot be a slot"));
    };
    let fault = |message| RulesFault::new(word.span, message);
    match &**program {
        "" => Err(fault("the program is empty")),
        program if program.starts_with('/') => Ok(ProgramWord::Absolute(PathBuf::from(program))),
        program if program.contains('/') => {
            Err(fault("a program with a `/` in it has to be an absolute path")
                .help("write the whole path, or the bare name and an `exec_path`"))
        }
        program => Ok(ProgramWord::Bare(program.into())),
    }
}

/// Checks an `accepts` or `refuses` line. The value of a path slot is checked by its text alone: `..` removes
/// the component before it, and no symlink is followed.
fn check_promise(rule: &Rule, promise: &RuleAssertion) -> Result<(), RulesFault> {
    let argv: Vec<_> = promise.argv.iter().map(String::as_str).collect();
    match (promise.holds, fit(rule, &argv, &LexicalPaths, &mut StepBudget::alone())) {
        (AssertionKind::Accepts, Ok(_)) | (AssertionKind::Refuses, Err(_)) => Ok(()),
        (AssertionKind::Accepts, Err(misfit)) => {
            let why = misfit.explain(&argv);
            Err(RulesFault::new(promise.span, format!("the rule does not accept this: {why}")))
        }
        (AssertionKind::Refuses, Ok(_)) => {
            Err(RulesFault::new(promise.span, "the rule accepts this, and must not"))
        }
    }
}
