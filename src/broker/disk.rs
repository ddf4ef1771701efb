//! The disk, for modules that make no system calls: the text of rules files, and the place of a path.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use crate::limits::RULES_BYTES_MAX;
use crate::rules::{Diagnostic, LocatedPath, PathResolver, Policy, RulesSource, VariableValues, load};
use crate::spawn::Environment;
use crate::trust::{TrustError, trusted_directory, trusted_rules};

use super::notice::LoadError;
use super::paths::locate;

/// The real disk.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl RulesSource for Disk {
    /// The text of a rules file that only trusted users can write.
    fn read(&self, path: &Path) -> io::Result<String> {
        text_of(trusted_rules(path)?)
    }
}

/// The text of a rules file, up to the bound for all files of one policy; longer text is an error later on.
pub(super) fn text_of(file: impl Read) -> io::Result<String> {
    let mut text = Vec::new();
    file.take(RULES_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    String::from_utf8(text).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 from byte {place} on"))
    })
}

impl PathResolver for Disk {
    fn locate(&self, cwd: &Path, value: &str, dir: &Path) -> Option<LocatedPath> {
        locate(cwd, value, dir)
    }
}

/// Reads the rules of `path`, absolute, and checks the directories where they look up programs.
pub(super) fn load_rules(path: &Path, environment: &Environment) -> Result<Policy, LoadError> {
    let policy = load(path, &Disk, &vars_of(environment)).map_err(LoadError::Rules)?;
    check_policy(&policy, path, environment)?;
    Ok(policy)
}

/// The variables that rules may name.
pub(super) fn vars_of(environment: &Environment) -> VariableValues {
    let variable = |name| environment.get(name).map(OsStr::to_owned);
    VariableValues { home: variable("HOME"), runtime_dir: variable("XDG_RUNTIME_DIR") }
}

/// Checks that there are rules, and that only trusted users can change the directories of their programs.
pub(super) fn check_policy(policy: &Policy, path: &Path, environment: &Environment) -> Result<(), LoadError> {
    if policy.rules().is_empty() {
        let nothing = Diagnostic::of_line(path, 1, "", "", "no rule in this file; nothing could be called");
        return Err(LoadError::Rules(vec![nothing]));
    }
    let directories = policy.rules().iter().flat_map(|rule| environment.exec_path(&rule.settings));
    for directory in directories.collect::<BTreeSet<_>>() {
        let distrusted =
            |distrust: TrustError| LoadError::ExecPath { file: path.to_owned(), why: distrust.to_string() };
        trusted_directory(&directory).map_err(distrusted)?;
    }
    Ok(())
}
