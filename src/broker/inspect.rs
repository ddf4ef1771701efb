//! Inspecting rules for an operator: they are read even from files that a broker would not trust. The
//! findings are warnings, and the errors that would keep a broker from serving the rules here.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::confine::{EnforcedParts, PlaceError, PrepareError, PreparedConfinement};
use crate::limits::INTERPRETER_BYTES_MAX;
use crate::refusal::Refusal;
use crate::rules::{
    Confinement, Diagnostic, ExaminedRules, LintContext, MissingProgram, Policy, Rule, RulesSource, examine,
};
use crate::spawn::{Environment, resolve};
use crate::trust::{TrustedName, trusted_directory, trusted_rules};

use super::confiner::refused;
use super::disk::{check_policy, text_of, vars_of};
use super::fd_budget::{needed_descriptors, spare_descriptors};
use super::kernel_support::find_kernel_support;
use super::notice::{LoadError, NOWHERE};
use super::ruleset::manifest_path;

/// The findings on one rules file.
#[derive(Debug)]
pub struct InspectedRules {
    /// The policy, or the error because of which a broker would not serve it.
    pub policy: Result<Policy, LoadError>,
    /// Warnings: rules that load and look odd.
    pub warnings: Vec<Diagnostic>,
    /// Files that are read here, and that a broker would not trust: the reason for each, with what to do.
    pub distrusted: Vec<String>,
    /// The manifest that a broker would have.
    pub manifest: Option<PathBuf>,
    /// What is enforced here of each confinement, or why calls would be refused; empty until
    /// [`try_confinements`](Self::try_confinements).
    pub confined: HashMap<Arc<Confinement>, Result<EnforcedParts, String>>,
}

impl InspectedRules {
    /// Makes the confinement of each rule ready, as for a call. One that cannot be is a warning at the first
    /// rule that has it, unless a place is absent, which is a warning already.
    pub fn try_confinements(&mut self) {
        let Ok(policy) = &self.policy else { return };
        let mut support = None;
        for rule in policy.rules() {
            let Some(wanted) = &rule.settings.confinement else { continue };
            if self.confined.contains_key(wanted) {
                continue;
            }
            let support =
                support.get_or_insert_with(|| find_kernel_support().map_err(|source| source.to_string()));
            let tried = match support {
                Ok(support) => PreparedConfinement::new(wanted.clone(), support),
                Err(why) => {
                    self.confined.insert(wanted.clone(), Err(why.clone()));
                    continue;
                }
            };
            let is_absent = matches!(
                tried,
                Err(PrepareError::Place(PlaceError::Unopened(_, Errno::ENOENT | Errno::ENOTDIR)))
            );
            let tried = tried.map(|prepared| prepared.enforced().clone());
            let tried = tried.map_err(|why| refused(wanted, &why).to_string());
            if let Some(why) = tried.as_ref().err().filter(|_| !is_absent) {
                let number = usize::try_from(rule.line.get()).unwrap_or(usize::MAX);
                self.warnings.push(Diagnostic::of_rule(
                    &rule.file,
                    number,
                    &format!("calls are refused: {why}"),
                ));
            }
            self.confined.insert(wanted.clone(), tried);
        }
    }
}

/// Inspects the rules of `path`, absolute; `text`, where it is given, stands for the file's content.
pub fn inspect(path: &Path, text: Option<io::Result<String>>, environment: &Environment) -> InspectedRules {
    let is_file = text.is_none();
    let source = UncheckedFiles { top: path, text };
    let ExaminedRules { policy, warnings } =
        examine(path, &source, &vars_of(environment), &MachineContext(environment));
    let mut inspected = InspectedRules {
        policy: policy.map_err(LoadError::Rules),
        warnings,
        distrusted: Vec::new(),
        manifest: None,
        confined: HashMap::new(),
    };
    let Ok(policy) = &inspected.policy else { return inspected };
    let served = |file: &&PathBuf| is_file || file.as_path() != path;
    let distrust = |file: &PathBuf| trusted_rules(file).err().map(|distrust| distrust.to_string());
    inspected.distrusted = policy.files().iter().filter(served).filter_map(distrust).collect();
    match served_by(policy, path, environment) {
        Ok(manifest) => inspected.manifest = Some(manifest),
        Err(error) => inspected.policy = Err(placed(error, policy, path, &source, environment)),
    }
    inspected
}

/// The same error at the line that causes it, where there is such a line.
fn placed(
    error: LoadError,
    policy: &Policy,
    path: &Path,
    source: &dyn RulesSource,
    environment: &Environment,
) -> LoadError {
    let (key, message) = match &error {
        LoadError::NoManifest(_) => ("", NOWHERE.to_owned()),
        LoadError::Manifest(why) => ("logfile", format!("logfile: {why}")),
        LoadError::ExecPath { why, .. } => ("exec_path", format!("exec_path: {why}")),
        LoadError::Rules(_) | LoadError::Unread(_) | LoadError::Descriptors { .. } => return error,
    };
    let is_bad = |directory: &PathBuf| trusted_directory(directory).is_err();
    let is_to_blame = |rule: &&Arc<Rule>| environment.exec_path(&rule.settings).iter().any(is_bad);
    let rule = policy.rules().iter().find(is_to_blame).filter(|_| key == "exec_path");
    let of_rule = rule.and_then(|rule| {
        let text = source.read(&rule.file).ok()?;
        let owner = usize::try_from(rule.line.get()).ok()?;
        let (number, line) = attribute_line(&text, owner, key)?;
        Some(Diagnostic::of_line(&rule.file, number, line, line.split_once('=')?.1.trim(), &message))
    });
    let of_socket = || {
        let text = source.read(path).ok()?;
        let owner = text.lines().position(|line| line.trim_end() == "defaults:")? + 1;
        let (number, line) = attribute_line(&text, owner, key)?;
        Some(Diagnostic::of_line(path, number, line, line.split_once('=')?.1.trim(), &message))
    };
    let placed = of_rule.or_else(of_socket).unwrap_or_else(|| Diagnostic::of_line(path, 1, "", "", &message));
    LoadError::Rules(vec![placed])
}

/// The line of this key below the line `owner`; lines count from 1.
fn attribute_line<'t>(text: &'t str, owner: usize, key: &str) -> Option<(usize, &'t str)> {
    let belongs = |line: &&str| line.is_empty() || line.starts_with([' ', '\t', ';']);
    let lines = text.lines().skip(owner).take_while(belongs).zip(owner + 1..);
    let is_key = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    lines.map(|(line, number)| (number, line)).find(|(_, line)| is_key(line))
}

/// The manifest that a broker with these rules would have. Errors: the reason why it would not serve them.
fn served_by(policy: &Policy, path: &Path, environment: &Environment) -> Result<PathBuf, LoadError> {
    check_policy(policy, path, environment)?;
    let manifest = manifest_path(policy, environment, path)?;
    check_manifest(&manifest).map_err(LoadError::Manifest)?;
    spare_descriptors(needed_descriptors(policy)).map(|_| manifest)
}

/// Checks that a file of the broker's can be kept there. Nothing is made.
fn check_manifest(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path);
    if !trusted_directory(parent).map_err(|distrust| distrust.to_string())? {
        let above = parent.ancestors().find(|above| above.exists()).unwrap_or(parent);
        return writable(above).map_err(|source| format!("{} cannot be made: {source}", parent.display()));
    }
    let read = TrustedName::parent_of(path, false).and_then(|place| place.read());
    match read.map_err(|distrust| (distrust.to_string(), io::Error::from(distrust))) {
        Ok(_) => Ok(()),
        Err((_, source)) if source.kind() == io::ErrorKind::NotFound => {
            writable(parent).map_err(|source| format!("{} cannot be made: {source}", path.display()))
        }
        Err((why, _)) => Err(why),
    }
}

fn writable(directory: &Path) -> io::Result<()> {
    Ok(access(directory, AccessFlags::W_OK | AccessFlags::X_OK)?)
}

/// Rules files, read without a check of their trust; the text of one may be given.
struct UncheckedFiles<'a> {
    top: &'a Path,
    text: Option<io::Result<String>>,
}

impl RulesSource for UncheckedFiles<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        match self.text.as_ref().filter(|_| path == self.top) {
            Some(Ok(text)) => Ok(text.clone()),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            None => text_of(std::fs::File::open(path)?),
        }
    }
}

/// The text of rules that a stream brings.
pub fn read_rules(stream: impl Read) -> io::Result<String> {
    text_of(stream)
}

/// This machine, as a broker with this environment finds it.
struct MachineContext<'a>(&'a Environment);

impl LintContext for MachineContext<'_> {
    fn program(&self, rule: &Rule) -> Result<PathBuf, MissingProgram> {
        program_of(rule, self.0)
    }

    fn missing_interpreter(&self, program: &Path) -> Option<PathBuf> {
        let mut line = Vec::new();
        std::fs::File::open(program).ok()?.take(INTERPRETER_BYTES_MAX).read_to_end(&mut line).ok()?;
        let line = line.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?.trim_ascii_start();
        let path = Path::new(OsStr::from_bytes(line.split(|byte| b" \t".contains(byte)).next()?));
        (path.is_absolute() && !path.exists()).then(|| path.to_owned())
    }

    fn file_fault(&self, path: &Path) -> Option<String> {
        check_manifest(path).err()
    }

    fn is_program(&self, name: &str) -> bool {
        ["/bin", "/usr/bin", "/usr/local/bin"]
            .iter()
            .any(|directory| Path::new(directory).join(name).is_file())
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn gains_privileges(&self, program: &Path) -> bool {
        program.metadata().is_ok_and(|file| file.permissions().mode() & 0o6000 != 0)
    }

    fn is_there(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }
}

/// The program that a rule would run now.
pub fn program_of(rule: &Rule, environment: &Environment) -> Result<PathBuf, MissingProgram> {
    match resolve(&rule.program, &rule.settings, environment) {
        Ok(resolved) => Ok(resolved.path().to_owned()),
        Err(Refusal::Unresolved { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(MissingProgram::Absent)
        }
        Err(Refusal::Untrusted { why, .. }) => Err(MissingProgram::Refused(why)),
        Err(refusal) => Err(MissingProgram::Refused(refusal.to_string())),
    }
}
