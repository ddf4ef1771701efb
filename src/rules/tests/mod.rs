//! Tests of the whole way from text to verdict.

mod confinements;
mod decisions;
mod diagnostic_confinements;
mod diagnostic_values;
mod diagnostic_words;
mod diagnostics;
mod policies;
mod reference;
mod scale;
mod shell;
mod warnings;
mod warnings_confined;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::ids::ClaimedWord;

use super::*;

/// Files in memory, below `/r`.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<PathBuf, String>);

impl Texts {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(name, text)| (Path::new("/r").join(name), (*text).to_owned())).collect())
    }
}

impl RulesSource for Texts {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }
}

pub(super) fn vars() -> VariableValues {
    VariableValues { home: Some("/home/u".into()), runtime_dir: None }
}

pub(super) fn load_files(files: &[(&str, &str)]) -> Result<Policy, String> {
    let loaded = load(Path::new("/r/top.rules"), &Texts::new(files), &vars());
    loaded.map_err(|all| all.iter().map(|one| format!("{one}\n")).collect())
}

pub(super) fn load_text(text: &str) -> Result<Policy, String> {
    load_files(&[("top.rules", text)])
}

pub(super) fn claimed(argv: &[&str]) -> Vec<ClaimedWord> {
    argv.iter().map(|word| ClaimedWord::new(*word).expect("a word that fits")).collect()
}
