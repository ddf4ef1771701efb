//! Loads a rules file: reads it with its includes, parses, lowers and indexes it. Every step reports all
//! problems that it finds, and only a file without errors becomes a [`Policy`].

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::diagnostic::{self, Diagnostic};
use super::fault::FaultReport;
use super::files::{RulesFiles, RulesSource};
use super::index::RuleIndex;
use super::lint::{LintInput, lint};
use super::lint_context::LintContext;
use super::lower::{LoweredRules, lower};
use super::parse::parse;
use super::policy::Policy;
use super::regex_machine::Turns;
use super::secrecy::SecretPrograms;
use super::variables::{LoadVariables, VariableValues};

/// The policy of the rules file at `path`, which is absolute. Errors: the problems of the file.
pub fn load(path: &Path, source: &dyn RulesSource, vars: &VariableValues) -> Result<Policy, Vec<Diagnostic>> {
    let vars = LoadVariables::new(vars);
    let mut report = FaultReport::default();
    let files = RulesFiles::read(path, source, &vars, &mut report);
    let tree = parse(&files, &mut report);
    let lowered = lower(&tree, &files, &vars, &mut report);
    let index = RuleIndex::new(&lowered.rules);
    policy(lowered, index, &files, &vars, report)
}

/// The policy of a rules file, and the warnings.
#[derive(Debug)]
pub struct ExaminedRules {
    /// The policy, or the errors.
    pub policy: Result<Policy, Vec<Diagnostic>>,
    /// The warnings, by place.
    pub warnings: Vec<Diagnostic>,
}

/// Loads a rules file as [`load`] does, and gives warnings too.
pub fn examine(
    path: &Path,
    source: &dyn RulesSource,
    vars: &VariableValues,
    around: &dyn LintContext,
) -> ExaminedRules {
    let vars = LoadVariables::new(vars);
    let (mut report, mut warnings) = (FaultReport::default(), FaultReport::of_warnings());
    let files = RulesFiles::read(path, source, &vars, &mut report);
    let tree = parse(&files, &mut report);
    let lowered = lower(&tree, &files, &vars, &mut report);
    let index = RuleIndex::new(&lowered.rules);
    let read = LintInput {
        files: &files,
        tree: &tree,
        vars: &vars,
        rules: &lowered.rules,
        index: &index,
        confining: &lowered.confining,
        callers: &lowered.caller_writes,
    };
    lint(&read, around, &mut warnings);
    let warnings = diagnostic::render(warnings, &files);
    ExaminedRules { policy: policy(lowered, index, &files, &vars, report), warnings }
}

fn policy(
    lowered: LoweredRules,
    index: RuleIndex,
    files: &RulesFiles,
    vars: &LoadVariables<'_>,
    report: FaultReport,
) -> Result<Policy, Vec<Diagnostic>> {
    if !report.is_empty() {
        return Err(diagnostic::render(report, files));
    }
    Ok(Policy {
        index,
        secrecy: SecretPrograms::new(&lowered.rules),
        relays: lowered.rules.iter().any(|rule| rule.settings.relays()),
        turns: Turns::default(),
        rules: lowered.rules,
        hash: hash(files, vars),
        files: files.iter().map(|(path, _)| path.to_path_buf()).collect(),
        max_calls: lowered.max_calls,
        audit: lowered.audit,
        scope: lowered.scope,
        journal: lowered.journal,
        sync: lowered.sync,
        fifo: lowered.fifo,
        logfile: lowered.logfile,
        caller_writes: lowered.caller_writes,
    })
}

/// The hash of the files and of the variables that they name. Each text is hashed with its length before it,
/// so that no two lists of texts give the same bytes.
fn hash(files: &RulesFiles, vars: &LoadVariables<'_>) -> String {
    let mut hash = Sha256::new();
    let texts = files.iter().map(|(_, text)| text);
    for text in texts.chain(vars.used().flat_map(|(name, value)| [name, value])) {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes every write");
        hex
    })
}
