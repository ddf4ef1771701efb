//! The machine's programs, files and directories, as far as warnings ask for them.

use std::path::{Path, PathBuf};

use super::rule::Rule;

/// The programs, files and directories of this machine that rules name.
pub trait LintContext {
    /// The program that the rule would run.
    fn program(&self, rule: &Rule) -> Result<PathBuf, MissingProgram>;
    /// The interpreter that a program names in its first line, if that does not exist.
    fn missing_interpreter(&self, program: &Path) -> Option<PathBuf>;
    /// The reason why no file can be made at this path, if there is one.
    fn file_fault(&self, path: &Path) -> Option<String>;
    /// Whether a program of this bare name is in one of the usual places.
    fn is_program(&self, name: &str) -> bool;
    /// Whether there is a directory.
    fn is_directory(&self, path: &Path) -> bool;
    /// Whether a program has the rights of another user when it is executed: it is setuid or setgid.
    fn gains_privileges(&self, program: &Path) -> bool;
    /// Whether there is a file of any kind.
    fn is_there(&self, path: &Path) -> bool;
}

/// Why a rule has no program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingProgram {
    /// The program does not exist.
    Absent,
    /// The program exists, but calls of it are refused: the reason, and the remedy.
    Refused(String),
}
