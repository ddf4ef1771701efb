//! The path of a manifest: the one that a broker with the rules of that name has.

use std::path::{Path, PathBuf, absolute};

use crate::broker::manifest_of;
use crate::spawn::Environment;

use crate::cli::rules_argument::places;
use crate::cli::rules_argument::{DEFAULT, RulesDirectories, no_such_name};

/// The manifest that a word names. A word with a `/` in it, or that is the name of a file here, is a file;
/// any other is the name of rules.
pub(super) fn manifest_of_word(word: Option<&str>) -> Result<PathBuf, String> {
    match word.filter(|word| word.contains('/') || Path::new(word).is_file()) {
        Some(file) => absolute(file).map_err(|error| error.to_string()),
        None => find_manifest(word),
    }
}

/// The manifest of the rules called `name`: those of this user, else those of the system. The error lists the
/// paths that were tried.
pub(in crate::cli) fn find_manifest(name: Option<&str>) -> Result<PathBuf, String> {
    let name = name.unwrap_or(DEFAULT);
    if name.is_empty() || name.contains('/') {
        return Err(format!("{name:?} is the name of no rules; a manifest is named with --file"));
    }
    let (places, mut tried, mut is_unbegun) = (places(), Vec::new(), true);
    for place in &places {
        match manifest(place, name) {
            Ok(manifest) if manifest.exists() => return Ok(manifest),
            Ok(manifest) => {
                // A broker that refused new rules at a reload, because it cannot record where they say, goes
                // on in the old manifest.
                let usual = Some(usual(place.home(), name)).filter(|usual| usual.exists());
                is_unbegun &= usual.is_none();
                let usual = usual.map_or_else(String::new, |usual| format!(" (but {} is)", usual.display()));
                tried.push(format!("{}{usual}", manifest.display()));
            }
            Err(why) => {
                is_unbegun = false;
                tried.push(why);
            }
        }
    }
    let tried = tried.join(", ");
    let is_known = places.iter().any(|place| place.rules_file(name).exists());
    if is_known && is_unbegun {
        return Err(format!(
            "no call of `{name}` is on record yet: its broker makes the manifest when it starts, at the first call, and \
             there is none here: {tried}; name another with --file"
        ));
    }
    let unknown = if is_known { String::new() } else { format!("; {}", no_such_name(&places, name)) };
    Err(format!("no manifest of `{name}` is here: {tried}; name one with --file{unknown}"))
}

/// The manifest as the rules say; where there are no rules, or they do not load, the usual one. The error is
/// that of the rules.
fn manifest(place: &RulesDirectories, name: &str) -> Result<PathBuf, String> {
    let rules = place.rules_file(name);
    let usual = usual(place.home(), name);
    if !rules.exists() {
        return Ok(usual);
    }
    match manifest_of(&rules, &Environment::current().with_home(place.home().to_owned())) {
        Ok(manifest) => Ok(manifest),
        Err(_) if usual.exists() => Ok(usual),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

fn usual(home: &Path, name: &str) -> PathBuf {
    home.join(".local/state/sluice").join(name).join("manifest.jsonl")
}
