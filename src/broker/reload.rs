//! HUP: the rules are read again, and the manifest is opened again where it was moved away. Calls in flight keep the
//! rules that they started with; rules that do not load change nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::geteuid;

use crate::audit::{OpenError, now_ms};
use crate::ids::SocketName;
use crate::rules::{Policy, TemplateValues};
use crate::spawn::Environment;

use super::disk::load_rules;
use super::notice::{LoadError, Notice};
use super::state::Broker;

/// Reads the rules again.
pub(super) fn reload(broker: &Broker) {
    let loaded = load_rules(&broker.rules_file, &broker.environment).and_then(|policy| {
        manifest_path(&policy, &broker.environment, &name_of(broker)).map(|path| (policy, path))
    });
    let written = match loaded {
        Ok((policy, path)) => {
            let rules = policy.rules().len();
            let policy = Arc::new(policy);
            if let Err(error) = reopen(broker, &path, &policy) {
                (broker.say)(&Notice::ReopenFailed(&error));
            }
            let written = broker.manifest.reloaded(policy.hash(), None);
            broker.set_policy(policy);
            (broker.say)(&Notice::Reloaded { file: broker.rules_file.clone(), rules });
            written
        }
        Err(error) => {
            (broker.say)(&Notice::ReloadFailed(&error));
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            broker.manifest.reloaded(broker.policy().hash(), Some(first))
        }
    };
    if let Err(source) = written {
        broker.say_lost(&source);
    }
}

fn reopen(broker: &Broker, path: &Path, policy: &Policy) -> Result<(), OpenError> {
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
