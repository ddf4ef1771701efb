//! Unit files of one instance: what a test sets differently, and, under a manager that is not the tests' own,
//! the units themselves.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::manager::Manager;

/// A path that is removed with the test.
#[derive(Debug)]
pub(crate) struct Removed(PathBuf);

impl Removed {
    /// What is there, or will be.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        let gone = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
        assert!(gone.is_ok() || std::thread::panicking(), "{} stays behind", self.0.display());
    }
}

/// Writes settings for one unit.
pub(crate) fn write(manager: Manager, unit: &str, text: &str) -> Removed {
    let dir = manager.units().join(format!("{unit}.d"));
    fs::create_dir_all(&dir).expect("the directory for units can be made");
    fs::write(dir.join("test.conf"), text).expect("a drop-in can be written");
    Removed(dir)
}

/// Where the units are that a machine has not installed (`SLUICE_UNITS`): copies them under the instance's
/// own name, which leaves any that the user has alone, with the program that was built.
pub(crate) fn install(manager: Manager, name: &str) -> Vec<Removed> {
    let Some(source) = env::var_os("SLUICE_UNITS") else { return Vec::new() };
    let program = env::var("SLUICE_BIN").expect("the broker that was built is named too");
    let dir = manager.units();
    fs::create_dir_all(&dir).expect("the directory for units can be made");
    let copy = |kind: &str| {
        let text = fs::read_to_string(Path::new(&source).join(format!("sluice@.{kind}")));
        let text = text.expect("the unit is there");
        let text = text.replace("ExecStart=sluice", &format!("ExecStart={program}"));
        let text = text.replace("ExecReload=sluice", &format!("ExecReload={program}"));
        let path = dir.join(format!("sluice@{name}.{kind}"));
        fs::write(&path, text).expect("a unit can be written");
        Removed(path)
    };
    ["socket", "service"].map(copy).into()
}
