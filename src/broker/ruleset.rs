//! A rules file in force, and the manifest of its calls. Several sockets may share one.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::geteuid;

use crate::audit::{
    JournalNews, JournalSink, Manifest, ManifestOpenError, RecordAuthor, RefusedRequest, now_ms,
};
use crate::ids::{CallId, SocketName};
use crate::rules::{AuditMode, JournalMode, Policy, SyncMode, TemplateValues};
use crate::spawn::Environment;
use crate::sys::Locked;

use super::disk::load_rules;
use super::notice::{LoadError, Notice, SayNotice};

/// The rules of one file, and their manifest.
#[derive(Debug)]
pub(super) struct Ruleset {
    file: PathBuf,
    policy: Locked<Arc<Policy>>,
    manifest: Arc<Manifest>,
    /// The error of the last reload, if it failed and so changed nothing.
    fault: Locked<Option<String>>,
    /// The error because of which records cannot be written, as it was reported.
    loss: Locked<Option<String>>,
    say: SayNotice,
}

/// A rules file that was read, and the path of the manifest that it wants.
#[derive(Debug)]
pub(super) struct LoadedRules {
    pub(super) file: PathBuf,
    pub(super) policy: Policy,
    pub(super) manifest: PathBuf,
}

impl LoadedRules {
    /// Reads a rules file, absolute.
    pub(super) fn read(file: &Path, environment: &Environment) -> Result<Self, LoadError> {
        let policy = load_rules(file, environment)?;
        let manifest = manifest_path(&policy, environment, file)?;
        Ok(Self { file: file.to_owned(), policy, manifest })
    }

    /// Opens the manifest.
    pub(super) fn open_manifest(&self, say: SayNotice) -> Result<Manifest, ManifestOpenError> {
        let hear = move |news: &JournalNews<'_>| say(&Notice::Journal(news));
        let sink = JournalSink::new(self.policy.journal(), Box::new(hear))
            .map_err(|source| ManifestOpenError::Io { path: self.manifest.clone(), source })?;
        let author = RecordAuthor { rules: &self.file.to_string_lossy(), policy: self.policy.hash() };
        Manifest::open(&self.manifest, &author, sink)
    }
}

impl Ruleset {
    /// A ruleset with these rules in force.
    pub(super) fn new(loaded: LoadedRules, manifest: Arc<Manifest>, say: SayNotice) -> Self {
        let (policy, fault) = (Locked::new(Arc::new(loaded.policy)), Locked::default());
        Self { file: loaded.file, policy, manifest, fault, loss: Locked::default(), say }
    }

    /// The rules file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The manifest that calls are recorded in.
    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The rules in force; a call keeps the ones that it started with.
    pub(super) fn policy(&self) -> Arc<Policy> {
        self.policy.lock().clone()
    }

    /// The first error of the last reload, if it failed and so changed nothing.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    fn set_fault(&self, fault: Option<String>) {
        *self.fault.lock() = fault;
    }

    /// Whether a call that cannot be recorded must not run.
    pub(super) fn is_strict(&self) -> bool {
        let policy = self.policy();
        policy.audit() == AuditMode::Strict || policy.journal() == JournalMode::Require
    }

    /// Puts a refusal on record. Returns its number, and whether it is the first of refusals that are only
    /// counted.
    pub(super) fn record_refusal(&self, call: Option<CallId>, rejected: &RefusedRequest) -> (CallId, bool) {
        let (call, is_counted, written) = self.manifest.reject(call, rejected);
        self.heed(written);
        (call, is_counted)
    }

    /// Reports that a record could not be written, unless that was reported already.
    pub(super) fn say_lost(&self, source: &io::Error) {
        if self.change_loss(Some(source.to_string())) {
            (self.say)(&Notice::RecordLost { path: self.manifest.path(), source });
        }
    }

    /// Reports that records are written again, where they were not before this start.
    pub(super) fn say_kept(&self) {
        if self.change_loss(None) {
            (self.say)(&Notice::RecordBack(self.manifest.path()));
        }
    }

    fn change_loss(&self, now: Option<String>) -> bool {
        let mut loss = self.loss.lock();
        let changes = *loss != now;
        *loss = now;
        changes
    }

    /// Reports that a capture could not be made or written.
    pub(super) fn say_capture_lost(&self, path: PathBuf, source: &io::Error) {
        (self.say)(&Notice::RecordLost { path, source });
    }

    /// Reports the error where a record could not be written.
    pub(super) fn heed(&self, written: io::Result<()>) {
        if let Err(source) = written {
            self.say_lost(&source);
        }
    }

    /// Goes on in the manifest that new rules of the same file name. Errors: it cannot be opened. Then the
    /// old manifest stays in use, and the old rules must stay in force.
    pub(super) fn follow(&self, loaded: &LoadedRules) -> Result<(), LoadError> {
        let moved = self.move_manifest(&loaded.manifest, &loaded.policy);
        moved.map_err(|error| LoadError::Manifest(error.to_string()))
    }

    /// Puts new rules of the same file in force, whose manifest is open, and returns those that they replace.
    pub(super) fn replace(&self, policy: Policy) -> Arc<Policy> {
        let rules = policy.rules().len();
        // Before the first call by these rules. The wants of other rulesets that share the manifest are met
        // when all of them have been read.
        self.heed(self.manifest.want_at_least(policy.journal(), policy.sync()));
        // No call is decided by these rules before the record says so, and none by the old ones after it.
        let mut in_force = self.policy.lock();
        self.heed(self.manifest.reloaded(policy.hash(), None));
        let replaced = mem::replace(&mut *in_force, Arc::new(policy));
        drop(in_force);
        self.set_fault(None);
        (self.say)(&Notice::Reloaded { file: self.file.clone(), rules });
        replaced
    }

    /// Keeps the old rules, and reports the error.
    pub(super) fn keep(&self, error: &LoadError) {
        (self.say)(&Notice::ReloadFailed(error));
        let text = error.to_string();
        let mut first = text.lines().next().unwrap_or_default().to_owned();
        if matches!(error, LoadError::Manifest(_)) {
            first += &format!("; records stay in {}", self.manifest.path().display());
        }
        self.heed(self.manifest.reloaded(self.policy().hash(), Some(&first)));
        self.set_fault(Some(first));
    }

    /// Goes on in a new manifest where the old one was moved away.
    pub(super) fn follow_manifest(&self) {
        if let Err(error) = self.move_manifest(&self.manifest.path(), &self.policy()) {
            (self.say)(&Notice::ReopenFailed(&error));
        }
    }

    /// Opens the manifest at its path again, after a write failed: if the file is gone, `audit = best-effort`
    /// starts a new one.
    pub(super) fn reopen_manifest(&self) -> io::Result<()> {
        self.move_manifest(&self.manifest.path(), &self.policy()).map_err(io::Error::other)
    }

    fn move_manifest(&self, path: &Path, policy: &Policy) -> Result<(), ManifestOpenError> {
        let author = RecordAuthor { rules: &self.file.to_string_lossy(), policy: policy.hash() };
        self.manifest.reopen(path, &author)
    }
}

/// Has each manifest kept as its rules say; where several files share a manifest, as the strictest of them
/// says.
pub(super) fn want_records(rulesets: &[Arc<Ruleset>]) {
    let mut wanted: HashMap<*const Manifest, (JournalMode, SyncMode)> = HashMap::new();
    for ruleset in rulesets {
        let policy = ruleset.policy();
        let (journal, sync) = (policy.journal(), policy.sync());
        let strictest = wanted.entry(Arc::as_ptr(&ruleset.manifest)).or_insert((journal, sync));
        *strictest = (strictest.0.max(journal), strictest.1.max(sync));
    }
    for ruleset in rulesets {
        let Some((journal, sync)) = wanted.remove(&Arc::as_ptr(&ruleset.manifest)) else { continue };
        ruleset.manifest.want_journal(journal);
        ruleset.heed(ruleset.manifest.want_durability(sync));
    }
}

/// The manifest of a broker with this rules file, absolute, and this environment.
pub fn manifest_of(file: &Path, environment: &Environment) -> Result<PathBuf, LoadError> {
    LoadedRules::read(file, environment).map(|loaded| loaded.manifest)
}

/// The name of the rules in a file: its stem.
pub(super) fn name_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The path of the manifest of a rules file: that of `logfile`, else one in the usual place for state, under
/// the rules' name.
pub(super) fn manifest_path(
    policy: &Policy,
    environment: &Environment,
    file: &Path,
) -> Result<PathBuf, LoadError> {
    let name = name_of(file);
    if let Some(template) = policy.logfile() {
        let values = TemplateValues {
            uid: Some(geteuid().as_raw()),
            ts_ms: Some(now_ms()),
            socket: Some(SocketName::new(&name)),
            ..Default::default()
        };
        return Ok(template.expand(&values));
    }
    let home = environment.get("HOME").filter(|home| home.as_encoded_bytes().first() == Some(&b'/'));
    let home = home.map(PathBuf::from).ok_or_else(|| LoadError::NoManifest(file.to_owned()))?;
    Ok(home.join(".local/state/sluice").join(name).join("manifest.jsonl"))
}
