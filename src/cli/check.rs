//! `sluice check`: the errors in rules, or what the rules allow, with warnings and everything that widens
//! what is allowed.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::broker::{InspectedRules, LoadError, program_of};
use crate::confine::EnforcedParts;
use crate::rules::{
    DashPolicy, Diagnostic, ExecPath, ExpectedWord, MissingProgram, PathTemplate, Policy, ProgramWord, Rule,
    Slot, SlotCount,
};
use crate::spawn::Environment;
use crate::text::visible;

use super::confinement_settings::{choices_of, confinement_settings, lists_of};
use super::exit::{NO, answer_whole, fail};
use super::output::{OutputForm, RulePlace, write_json};
use super::rules_argument::RulesArgument;
use super::settings::{of_socket, settings_of};

/// The function that inspects rules: from disk, or in a test from a text.
type LookAtRules<'a> = &'a dyn Fn(&RulesArgument) -> InspectedRules;

/// The effect of warnings on the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WarningLevel {
    /// Warnings are shown.
    Usual,
    /// Warnings make the answer no.
    DenyWarnings,
}

/// The amount of text about rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckDetail {
    /// Errors, warnings, and what the rules allow.
    All,
    /// Errors; where there are none, warnings.
    Faults,
}

/// Checks the rules of each word; a quiet check prints nothing of rules without errors and warnings.
pub(super) fn run(words: &[OsString], form: OutputForm, level: WarningLevel, is_quiet: bool) -> ExitCode {
    let rules = words.iter().map(|word| RulesArgument::find(word)).collect::<Result<Vec<_>, _>>();
    match rules {
        Ok(rules) => answer_whole(|out| {
            let detail = if is_quiet { CheckDetail::Faults } else { CheckDetail::All };
            let look = |asked: &RulesArgument| {
                let mut inspected = asked.inspect();
                inspected.try_confinements();
                inspected
            };
            write_checks(&rules, (form, level, detail), &look, out)
        }),
        Err(why) => fail(&format!("sluice: {why}")),
    }
}

/// Checks each of the rules; the answer is no when some would not be served.
fn write_checks(
    rules: &[RulesArgument],
    (form, level, detail): (OutputForm, WarningLevel, CheckDetail),
    look: LookAtRules<'_>,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    let mut answer = ExitCode::SUCCESS;
    for asked in rules {
        let inspected = look(asked);
        let has_warnings = !inspected.warnings.is_empty() || !inspected.distrusted.is_empty();
        if is_refused(asked, &inspected) || (has_warnings && level == WarningLevel::DenyWarnings) {
            answer = ExitCode::from(NO);
        }
        match form {
            OutputForm::Text if detail == CheckDetail::Faults => {
                // Beside an error, warnings would hide it.
                let is_alone = !is_refused(asked, &inspected);
                write_faults(
                    out,
                    asked,
                    &inspected,
                    if is_alone { WarningLevel::DenyWarnings } else { level },
                )?;
            }
            OutputForm::Text => {
                write_faults(out, asked, &inspected, WarningLevel::DenyWarnings)?;
                if let Ok(policy) = &inspected.policy {
                    write_policy(out, asked, policy, &inspected)?;
                }
            }
            OutputForm::Json
                if detail == CheckDetail::Faults && !has_warnings && !is_refused(asked, &inspected) => {}
            OutputForm::Json => write_json(out, &CheckAnswer::new(asked, &inspected))?,
        }
    }
    Ok(answer)
}

/// Whether a broker would not serve these rules. A fault in the trust of files counts only where a unit's
/// broker reads them: other files may be served by another user.
fn is_refused(asked: &RulesArgument, inspected: &InspectedRules) -> bool {
    inspected.policy.is_err() || (asked.is_served() && !inspected.distrusted.is_empty())
}

/// Writes the errors, and the warnings where these are wanted.
fn write_faults(
    out: &mut dyn Write,
    asked: &RulesArgument,
    inspected: &InspectedRules,
    level: WarningLevel,
) -> io::Result<()> {
    let warnings = inspected.warnings.iter().filter(|_| level == WarningLevel::DenyWarnings);
    for warning in warnings {
        writeln!(out, "{warning}")?;
    }
    let file = asked.file();
    let name = visible(&file.to_string_lossy()).into_owned();
    for why in &inspected.distrusted {
        let severity = if asked.is_served() { "error" } else { "warning" };
        writeln!(out, "{name}: {severity}: a broker would refuse to serve this: {}", visible(why))?;
    }
    match &inspected.policy {
        Ok(_) => Ok(()),
        Err(error @ LoadError::Rules(_)) => writeln!(out, "{}", error.to_string().trim_end()),
        Err(error @ (LoadError::ExecPath { .. } | LoadError::NoManifest(_))) => {
            writeln!(out, "{}", visible(error.to_string().trim_end()))
        }
        Err(error) => writeln!(out, "{name}: {}", visible(error.to_string().trim_end())),
    }
}

fn write_policy(
    out: &mut dyn Write,
    asked: &RulesArgument,
    policy: &Policy,
    inspected: &InspectedRules,
) -> io::Result<()> {
    let environment = asked.environment();
    for rule in policy.rules() {
        writeln!(out, "{}:{}: {}", visible(&rule.file.to_string_lossy()), rule.line, rule.text)?;
        writeln!(out, "  runs {}", visible(&runs(rule, &environment)))?;
        for slot in rule.slots() {
            let start = if slot.directory().is_some() {
                format!("; a relative one starts at {}", visible(&rule.settings.cwd.to_string_lossy()))
            } else {
                String::new()
            };
            writeln!(out, "  {}{start}", slot.description())?;
        }
        for (stream, template) in captures(rule) {
            writeln!(out, "  captures {stream} in {}", visible(&template.to_string()))?;
        }
        for (slot, key) in widenings(rule) {
            writeln!(out, "  widened: {} ({key})", slot.shown())?;
        }
        let settings: Vec<_> =
            settings_of(&rule.settings).into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
        writeln!(out, "  with {}", visible(&settings.join(", ")))?;
        write_confinement(out, rule, inspected)?;
    }
    let name = asked.file().to_string_lossy();
    let socket: Vec<_> = of_socket(policy, inspected.manifest.as_deref())
        .into_iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    writeln!(out, "{}: the socket has {}", visible(&name), visible(&socket.join(", ")))?;
    let widened: usize = policy.rules().iter().map(|rule| widenings(rule).count()).sum();
    let warnings = inspected.warnings.len() + inspected.distrusted.len();
    let judged = match () {
        () if inspected.distrusted.is_empty() => "good",
        () if asked.is_served() => "refused, as it stands",
        () => "good, but not to be served from here",
    };
    let counts = format!("rules: {}, widened slots: {widened}, warnings: {warnings}", policy.rules().len());
    writeln!(out, "{}: {judged}; {counts}", visible(&name))
}

/// Writes what confines a rule: the keys that have one value in a line, each list in one, and what enforces
/// them here.
fn write_confinement(out: &mut dyn Write, rule: &Rule, inspected: &InspectedRules) -> io::Result<()> {
    let Some(confinement) = &rule.settings.confinement else { return writeln!(out, "  unconfined") };
    let by = match &*confinement.profile {
        "none" => String::new(),
        profile => format!(" by {profile}"),
    };
    let choices = choices_of(confinement).into_iter().filter(|(key, _)| *key != "confine");
    let choices: Vec<_> = choices.map(|(key, value)| format!("{key} = {value}")).collect();
    writeln!(out, "  confined{by}, with {}", visible(&choices.join(", ")))?;
    for (key, places) in lists_of(confinement) {
        writeln!(out, "    {key} = {}", visible(&places.join(" ")))?;
    }
    match inspected.confined.get(confinement) {
        Some(Ok(enforced)) => {
            writeln!(out, "    enforced by {}", enforced.mechanisms())?;
            if enforced.missing.is_empty() {
                return Ok(());
            }
            writeln!(out, "    not enforced: {}", enforced.missing.join(", "))
        }
        Some(Err(why)) => writeln!(out, "    refused: {}", visible(why)),
        None => Ok(()),
    }
}

/// The program of a rule, the directories in which it is looked up, and the file that is found there now.
fn runs(rule: &Rule, environment: &Environment) -> String {
    let found = program_of(rule, environment);
    match (&rule.program, &rule.settings.exec_path) {
        (ProgramWord::Absolute(path), _) => match found {
            Ok(path) => path.display().to_string(),
            Err(MissingProgram::Absent) => format!("{}, which is not there", path.display()),
            Err(MissingProgram::Refused(why)) => format!("{}, which is refused: {why}", path.display()),
        },
        (ProgramWord::Bare(name), of) => {
            let of = match of {
                ExecPath::Inherit => "the broker's PATH".to_owned(),
                ExecPath::List(list) => {
                    list.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(":")
                }
            };
            match found {
                Ok(path) => format!("{}, for {name} is first found there in {of}", path.display()),
                Err(MissingProgram::Absent) => format!("{name}, which is not in {of}"),
                Err(MissingProgram::Refused(why)) => format!("{name}, which is refused: {why}"),
            }
        }
    }
}

/// The streams that are captured, and their files.
fn captures(rule: &Rule) -> impl Iterator<Item = (&'static str, &PathTemplate)> {
    let streams = ["stdin", "stdout", "stderr"].into_iter().zip(&rule.settings.captures);
    streams.filter_map(|(stream, template)| Some((stream, template.as_deref()?)))
}

/// The slots that take more than a slot does by default, each with the key that says so.
fn widenings(rule: &Rule) -> impl Iterator<Item = (&Slot, &'static str)> {
    rule.slots().filter(|slot| slot.dash() == DashPolicy::Allowed).map(|slot| {
        let key = if slot.regex().is_some() { "allow_dash" } else { "allow_any" };
        (slot, key)
    })
}

#[derive(Serialize)]
struct CheckAnswer<'a> {
    file: &'a Path,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    socket: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<CheckedRule<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<CheckProblem<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<CheckProblem<'a>>,
}

#[derive(Serialize)]
struct CheckedRule<'a> {
    #[serde(flatten)]
    place: RulePlace<'a>,
    runs: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<PathBuf>,
    words: Vec<CheckedWord<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    captures: BTreeMap<&'static str, String>,
    widenings: Vec<WideningSetting<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confinement: Option<CheckedConfinement<'a>>,
    settings: BTreeMap<&'static str, Vec<String>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum CheckedWord<'a> {
    Literal {
        literal: &'a str,
    },
    Slot {
        slot: &'a str,
        several: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        matches: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        directory: Option<&'a Path>,
    },
}

/// What is enforced here of a rule's confinement, or why its calls would be refused.
#[derive(Serialize)]
#[serde(untagged)]
enum CheckedConfinement<'a> {
    Enforced(&'a EnforcedParts),
    Refused { refused: &'a str },
}

#[derive(Serialize)]
struct WideningSetting<'a> {
    slot: &'a str,
    by: &'static str,
}

#[derive(Serialize)]
struct CheckProblem<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

impl<'a> CheckAnswer<'a> {
    fn new(asked: &'a RulesArgument, inspected: &'a InspectedRules) -> Self {
        let environment = asked.environment();
        let (policy, rules, mut errors) = match &inspected.policy {
            Ok(policy) => (
                Some(policy),
                policy.rules().iter().map(|rule| CheckedRule::new(rule, inspected, &environment)).collect(),
                Vec::new(),
            ),
            Err(LoadError::Rules(all)) => (None, Vec::new(), all.iter().map(CheckProblem::new).collect()),
            Err(error) => (None, Vec::new(), vec![CheckProblem::without_place(error.to_string().trim_end())]),
        };
        let mut warnings: Vec<_> = inspected.warnings.iter().map(CheckProblem::new).collect();
        let distrusted = if asked.is_served() { &mut errors } else { &mut warnings };
        distrusted.extend(inspected.distrusted.iter().map(|why| CheckProblem::without_place(why)));
        Self {
            file: asked.file(),
            ok: !is_refused(asked, inspected),
            policy: policy.map(Policy::hash),
            socket: policy
                .map(|policy| of_socket(policy, inspected.manifest.as_deref()).into_iter().collect())
                .unwrap_or_default(),
            rules,
            errors,
            warnings,
        }
    }
}

impl<'a> CheckedRule<'a> {
    fn new(rule: &'a Rule, inspected: &'a InspectedRules, environment: &Environment) -> Self {
        let mut settings: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, value) in settings_of(&rule.settings) {
            settings.entry(key).or_default().push(value);
        }
        settings.extend(confinement_settings(&rule.settings));
        let words = rule.words().iter().map(|word| match word {
            ExpectedWord::Literal(literal) => CheckedWord::Literal { literal },
            ExpectedWord::Slot(slot) => CheckedWord::Slot {
                slot: slot.name(),
                several: slot.takes() == SlotCount::Several,
                matches: slot.regex(),
                directory: slot.directory(),
            },
        });
        let tried = rule.settings.confinement.as_ref().and_then(|wanted| inspected.confined.get(wanted));
        let confinement = tried.map(|tried| match tried {
            Ok(enforced) => CheckedConfinement::Enforced(enforced),
            Err(why) => CheckedConfinement::Refused { refused: why },
        });
        let widenings = widenings(rule).map(|(slot, by)| WideningSetting { slot: slot.name(), by });
        Self {
            place: RulePlace::of(rule),
            runs: runs(rule, environment),
            program: program_of(rule, environment).ok(),
            words: words.collect(),
            captures: captures(rule).map(|(stream, template)| (stream, template.to_string())).collect(),
            widenings: widenings.collect(),
            confinement,
            settings,
        }
    }
}

impl<'a> CheckProblem<'a> {
    fn new(error: &'a Diagnostic) -> Self {
        Self {
            file: Some(error.file()),
            line: Some(error.line()),
            column: Some(error.column()),
            message: error.message().into(),
            help: error.help(),
        }
    }

    fn without_place(why: &str) -> Self {
        Self { file: None, line: None, column: None, message: why.into(), help: None }
    }
}
