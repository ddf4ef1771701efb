//! Where a manifest is: as a broker with the rules of that name has it.

use std::path::{Path, PathBuf};

use nix::unistd::User;

use crate::broker::manifest_of;
use crate::spawn::Environment;

/// The name of the rules that `sluice.service` serves.
const DEFAULT: &str = "default";
/// Who runs the system's brokers, and where that user's home is if nobody says.
const SYSTEM_USER: &str = "sluice";
const SYSTEM_HOME: &str = "/var/lib/sluice";

/// The manifest of the rules called `name`: those of this user, else those of the system. An error says where it was
/// looked for.
pub(super) fn find_manifest(name: Option<&str>) -> Result<PathBuf, String> {
    let name = name.unwrap_or(DEFAULT);
    if name.is_empty() || name.contains('/') {
        return Err(format!("{name:?} is the name of no rules; a manifest is named with --file"));
    }
    let mut tried = Vec::new();
    for place in places() {
        match place.manifest(name) {
            Ok(manifest) if manifest.exists() => return Ok(manifest),
            Ok(manifest) => tried.push(manifest.display().to_string()),
            Err(why) => tried.push(why),
        }
    }
    Err(format!("no manifest of `{name}` is here: {}; name one with --file", tried.join(", ")))
}

/// Where a manager's brokers have their rules and their state.
struct Place {
    rules: PathBuf,
    home: PathBuf,
}

fn places() -> Vec<Place> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let mut places = Vec::new();
    if let Some(home) = variable("HOME") {
        let config = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        places.push(Place { rules: config.join("sluice"), home });
    }
    let system = User::from_name(SYSTEM_USER).ok().flatten().map(|user| user.dir);
    places.push(Place { rules: "/etc/sluice".into(), home: system.unwrap_or_else(|| SYSTEM_HOME.into()) });
    places
}

impl Place {
    /// As the rules say; where there are none, or they do not load, the usual one. An error says what the rules lack.
    fn manifest(&self, name: &str) -> Result<PathBuf, String> {
        let rules = self.rules.join(format!("{name}.rules"));
        let usual = usual(&self.home, name);
        if !rules.exists() {
            return Ok(usual);
        }
        match manifest_of(&rules, &Environment::current().with_home(self.home.clone())) {
            Ok(manifest) => Ok(manifest),
            Err(_) if usual.exists() => Ok(usual),
            Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        }
    }
}

fn usual(home: &Path, name: &str) -> PathBuf {
    home.join(".local/state/sluice").join(name).join("manifest.jsonl")
}
