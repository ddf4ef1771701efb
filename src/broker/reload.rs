//! HUP: the rules are read again, and the manifest is opened again where it was moved away. Calls in flight keep the
//! rules that they started with; rules that do not load change nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;

use crate::audit::{OpenError, now_ms};
use crate::ids::SocketName;
use crate::limits::{BROKER_FDS_SPARE, CALL_FDS_MAX};
use crate::rules::{Policy, TemplateValues};
use crate::spawn::Environment;

use super::disk::load_rules;
use super::notice::{LoadError, Notice};
use super::state::Broker;

/// Reads the rules again.
pub(super) fn reload(broker: &Broker) {
    let written = match load_again(broker) {
        Ok((policy, path)) => put_in_force(broker, policy, &path),
        Err(error) => {
            (broker.say)(&Notice::ReloadFailed(&error));
            let text = error.to_string();
            broker.manifest.reloaded(broker.policy().hash(), text.lines().next())
        }
    };
    if let Err(source) = written {
        broker.say_lost(&source);
    }
}

fn load_again(broker: &Broker) -> Result<(Policy, PathBuf), LoadError> {
    let policy = load_rules(&broker.rules_file, &broker.environment)?;
    spare_descriptors(&policy, broker.sockets.len())?;
    let path = manifest_path(&policy, &broker.environment, &name_of(broker))?;
    Ok((policy, path))
}

fn put_in_force(broker: &Broker, policy: Policy, manifest: &Path) -> io::Result<()> {
    let rules = policy.rules().len();
    let policy = Arc::new(policy);
    if let Err(error) = move_manifest(broker, manifest, &policy) {
        (broker.say)(&Notice::ReopenFailed(&error));
    }
    let written = broker.manifest.reloaded(policy.hash(), None);
    broker.set_policy(policy);
    (broker.say)(&Notice::Reloaded { file: broker.rules_file.clone(), rules });
    written
}

/// The descriptors that are left when every call that the rules allow runs.
pub(super) fn spare_descriptors(policy: &Policy, sockets: usize) -> Result<usize, LoadError> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    let calls = usize::try_from(policy.max_calls()).unwrap_or(usize::MAX);
    let needed = sockets * (calls * CALL_FDS_MAX + 1) + BROKER_FDS_SPARE;
    let spare = usize::try_from(limit).unwrap_or(usize::MAX).checked_sub(needed);
    spare.ok_or(LoadError::Descriptors { limit, needed: needed as u64 })
}

/// Opens the manifest where it was once more: it is gone, and `audit = best-effort` starts a new one.
pub(super) fn reopen(broker: &Broker) -> io::Result<()> {
    move_manifest(broker, &broker.manifest.path(), &broker.policy()).map_err(io::Error::other)
}

fn move_manifest(broker: &Broker, path: &Path, policy: &Policy) -> Result<(), OpenError> {
    broker.manifest.reopen(path, &broker.rules_file.to_string_lossy(), policy.hash())
}

fn name_of(broker: &Broker) -> String {
    broker.rules_file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where the manifest is: as `logfile` says, else in the usual place for state, under the rules' name.
pub(super) fn manifest_path(
    policy: &Policy,
    environment: &Environment,
    name: &str,
) -> Result<PathBuf, LoadError> {
    if let Some(template) = policy.logfile() {
        let values = TemplateValues {
            uid: Some(geteuid().as_raw()),
            ts_ms: Some(now_ms()),
            socket: Some(SocketName::new(name)),
            ..Default::default()
        };
        return Ok(template.expand(&values));
    }
    let home = environment.get("HOME").filter(|home| home.as_encoded_bytes().first() == Some(&b'/'));
    let home = home.map(PathBuf::from).ok_or(LoadError::NoManifest)?;
    Ok(home.join(".local/state/sluice").join(name).join("manifest.jsonl"))
}
