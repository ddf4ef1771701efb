//! Turns a rule's words into the program's path and the command's environment. Only the program is looked up
//! on disk.

use std::collections::HashMap;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::refusal::Refusal;
use crate::rules::{ExecPath, ProgramWord, RuleSettings};
use crate::trust::{TrustError, trusted_program};

/// The broker's own environment as it was at the start; `env =` inherits from it.
#[derive(Debug)]
pub struct Environment(HashMap<OsString, OsString>);

impl Environment {
    /// This process's environment.
    pub fn current() -> Self {
        Self(env::vars_os().collect())
    }

    /// The same environment with another `HOME`.
    pub fn with_home(mut self, home: PathBuf) -> Self {
        self.0.insert("HOME".into(), home.into());
        self
    }

    /// The value of one variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The directories of a rule's `exec_path`. Of an inherited `PATH` only the absolute directories count:
    /// an empty or relative one would stand for the command's working directory.
    pub fn exec_path(&self, settings: &RuleSettings) -> Vec<PathBuf> {
        match &settings.exec_path {
            ExecPath::List(directories) => directories.clone(),
            ExecPath::Inherit => {
                let path = self.get("PATH").unwrap_or_default();
                env::split_paths(path).filter(|directory| directory.is_absolute()).collect()
            }
        }
    }

    /// The command's whole environment: the variables that `env` inherits, `PATH` from `exec_path`, and
    /// `setenv` over both.
    pub fn of_command(&self, settings: &RuleSettings) -> Vec<CString> {
        let mut variables: Vec<(&OsStr, OsString)> = Vec::new();
        for name in settings.env.iter().filter(|name| *name != "PATH") {
            variables.extend(self.get(name).map(|value| (OsStr::new(name), value.to_owned())));
        }
        let path = env::join_paths(self.exec_path(settings)).expect("a colon list was split at its colons");
        if !path.is_empty() {
            variables.push((OsStr::new("PATH"), path));
        }
        for (name, value) in &settings.setenv {
            let name = OsStr::new(name);
            variables.retain(|(other, _)| *other != name);
            variables.push((name, value.into()));
        }
        variables.into_iter().filter_map(|(name, value)| variable(name, &value)).collect()
    }
}

fn variable(name: &OsStr, value: &OsStr) -> Option<CString> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
}

/// A program that was found and may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedProgram(PathBuf);

impl ResolvedProgram {
    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path as system calls take it.
    pub fn to_c(&self) -> CString {
        CString::new(self.0.clone().into_os_string().into_vec()).expect("paths from rules hold no NUL")
    }
}

/// Finds the program of a rule: at its absolute path, or in the first directory of `exec_path` that has it.
/// Only root or this user can change the file, or put another file in its place, so the file that is checked
/// here is the file that will be executed.
pub fn resolve(
    program: &ProgramWord,
    settings: &RuleSettings,
    environment: &Environment,
) -> Result<ResolvedProgram, Refusal> {
    let unresolved = |source| Refusal::Unresolved { program: display(program), source };
    let unfit = |unfit| match unfit {
        ProgramFault::Missing(source) => unresolved(source),
        ProgramFault::Untrusted(distrust) => {
            Refusal::Untrusted { program: display(program), why: distrust.to_string() }
        }
    };
    let name = match program {
        ProgramWord::Absolute(path) => return executable(path).map_err(unfit),
        ProgramWord::Bare(name) => name,
    };
    let mut last = Errno::ENOENT.into();
    for directory in environment.exec_path(settings) {
        match executable(&directory.join(name)) {
            Ok(resolved) => return Ok(resolved),
            Err(ProgramFault::Missing(source)) if source.kind() == io::ErrorKind::NotFound => {}
            Err(ProgramFault::Missing(source)) => last = source,
            Err(untrusted) => return Err(unfit(untrusted)),
        }
    }
    Err(unresolved(last))
}

fn display(program: &ProgramWord) -> String {
    match program {
        ProgramWord::Bare(name) => name.clone(),
        ProgramWord::Absolute(path) => path.display().to_string(),
    }
}

/// Why a file cannot be executed for a call.
enum ProgramFault {
    /// The file does not exist, or is not executable.
    Missing(io::Error),
    /// A user other than root or this user can change the file.
    Untrusted(TrustError),
}

fn executable(path: &Path) -> Result<ResolvedProgram, ProgramFault> {
    access(path, AccessFlags::X_OK).map_err(|errno| ProgramFault::Missing(errno.into()))?;
    match trusted_program(path) {
        Ok(()) => Ok(ResolvedProgram(path.to_owned())),
        Err(distrust) if distrust.is_failure() => Err(ProgramFault::Missing(distrust.into())),
        Err(distrust) => Err(ProgramFault::Untrusted(distrust)),
    }
}
