//! The way of a rules file: read with its includes, parse, lower, index. Every step reports all that it finds, and
//! only a file in which nothing is wrong becomes a [`Policy`].

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use super::diagnostic::{Diagnostic, Report};
use super::files::{Files, Source};
use super::index::Index;
use super::lower::lower;
use super::policy::Policy;
use super::secrecy::Secrecy;
use super::tree::parse;
use super::variables::{Variables, Vars};

/// The policy of the rules file at `path`, which is absolute, or everything that is wrong with it.
pub fn load(path: &Path, source: &dyn Source, vars: &Vars) -> Result<Policy, Vec<Diagnostic>> {
    let vars = Variables::new(vars);
    let mut report = Report::default();
    let files = Files::read(path, source, &vars, &mut report);
    let tree = parse(&files, &mut report);
    let lowered = lower(&tree, &files, &vars, &mut report);
    if !report.is_empty() {
        return Err(report.finish(&files));
    }
    Ok(Policy {
        index: Index::new(&lowered.rules),
        secrecy: Secrecy::new(&lowered.rules),
        relays: lowered.rules.iter().any(|rule| rule.settings.relays()),
        turns: Mutex::default(),
        rules: lowered.rules,
        hash: hash(&files, &vars),
        files: files.iter().map(|(path, _)| path.to_path_buf()).collect(),
        max_calls: lowered.max_calls,
        audit: lowered.audit,
        scope: lowered.scope,
        journal: lowered.journal,
        sync: lowered.sync,
        logfile: lowered.logfile,
    })
}

/// Each text with its length before it, so that no two lists of texts are the same bytes.
fn hash(files: &Files, vars: &Variables<'_>) -> String {
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
