//! What the pure modules ask of the disk: the text of rules files, and where a path lies.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use crate::audit::{trusted_directory, trusted_file};
use crate::limits::RULES_BYTES_MAX;
use crate::rules::{Located, Paths, Policy, Source, Vars, load};
use crate::spawn::Environment;

use super::notice::LoadError;
use super::paths::locate;

/// The real disk.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Source for Disk {
    /// A rules file that nobody else can write, as text.
    fn read(&self, path: &Path) -> io::Result<String> {
        let file = trusted_file(path)?;
        let mut text = Vec::new();
        file.take(RULES_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
        String::from_utf8(text).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 from byte {place} on"))
        })
    }
}

impl Paths for Disk {
    fn locate(&self, cwd: &Path, value: &str, dir: &Path) -> Option<Located> {
        locate(cwd, value, dir)
    }
}

/// Reads the rules of `path`, absolute, and looks at what they trust: the places where programs are looked up.
pub fn load_rules(path: &Path, environment: &Environment) -> Result<Policy, LoadError> {
    let variable = |name| environment.get(name).map(OsStr::to_owned);
    let vars = Vars { home: variable("HOME"), runtime_dir: variable("XDG_RUNTIME_DIR") };
    let policy = load(path, &Disk, &vars).map_err(LoadError::Rules)?;
    if policy.rules().is_empty() {
        return Err(LoadError::Empty(path.to_owned()));
    }
    let directories = policy.rules().iter().flat_map(|rule| environment.exec_path(&rule.settings));
    for directory in directories.collect::<BTreeSet<_>>() {
        trusted_directory(&directory).map_err(|distrust| LoadError::ExecPath(distrust.to_string()))?;
    }
    Ok(policy)
}
