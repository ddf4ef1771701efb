//! The confinement of a profile by its name: of a rule that has the profile, and works in the test's
//! directory.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::broker::{Disk, inspect, read_rules};
use crate::ids::ClaimedWord;
use crate::rules::Confinement;
use crate::spawn::Environment;
use crate::text::quoted;

use super::super::rules_argument::RulesArgument;

/// The rule's command line, which no other rule has.
const COMMAND: &str = "/bin/true sluice-selftest-of-a-profile";

/// What a rule with this profile is confined by, in the rules that `word` names or with the built-in profiles
/// alone. The error is for a person.
pub(super) fn confinement_of(
    profile: &str,
    word: Option<&OsStr>,
    workspace: &Path,
) -> Result<Confinement, String> {
    let rule = format!(
        "\n{COMMAND}\n  cwd = {}\n  confine = {}\n",
        quoted(&workspace.to_string_lossy()),
        quoted(profile)
    );
    let policy = match word {
        None => inspect(&workspace.join("selftest.rules"), Some(Ok(rule)), &Environment::current()).policy,
        Some(word) => {
            let rules = RulesArgument::find(word).map_err(|why| format!("sluice: {why}"))?;
            let text = std::fs::File::open(rules.file()).and_then(read_rules);
            let text: io::Result<String> = text.map(|text| text + &rule);
            inspect(rules.file(), Some(text), &rules.environment()).policy
        }
    };
    let policy = policy.map_err(|error| error.to_string())?;
    let words: Vec<_> = COMMAND.split(' ').filter_map(ClaimedWord::new).collect();
    let matched =
        policy.decide(&words, &Disk).map_err(|_| "sluice: another rule takes all commands".to_owned())?;
    let confinement = matched.rule.settings.confinement.as_deref().cloned();
    confinement.ok_or_else(|| format!("sluice: the profile {} confines nothing", quoted(profile)))
}
