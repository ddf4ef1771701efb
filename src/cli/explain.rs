//! `sluice explain`: how a command line would run. It makes a call ready as a broker does, up to the process,
//! and runs nothing.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::broker::{Disk, find_kernel_support, prepare_confinement};
use crate::confine::{EnforcedParts, PlaceAccess, PreparedConfinement};
use crate::rules::{MatchedRule, Policy};
use crate::spawn::{Environment, resolve};
use crate::text::{quoted, visible};

use super::confinement_settings::confinement_settings;
use super::exit::{NO, answer_whole, fail};
use super::match_cmd;
use super::output::{OutputForm, RulePlace, write_json};
use super::settings::settings_of;

/// Explains a command line by the rules that `word` names.
pub(super) fn run(word: &OsStr, argv: &[OsString], form: OutputForm) -> ExitCode {
    let (rules, policy, words) = match match_cmd::asked(word, argv) {
        Ok(asked) => asked,
        Err(why) => return fail(&why),
    };
    let matched = match policy.decide(&words, &Disk) {
        Ok(matched) => matched,
        Err(_) => return match_cmd::answer(&policy, &words, form),
    };
    let call = ExplainedCall::new(&matched, &policy, &rules.environment());
    answer_whole(|out| {
        match form {
            OutputForm::Text => write_text(out, &call),
            OutputForm::Json => write_json(out, &call),
        }
        .map(|()| if call.refused.is_none() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
    })
}

/// A call as it would run.
#[derive(Serialize)]
struct ExplainedCall<'a> {
    rule: RulePlace<'a>,
    /// The program; absent where it cannot be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<PathBuf>,
    /// The words that the command gets.
    argv: Vec<String>,
    /// Its whole environment but secrets, in which `name=value` may hold bytes that are no text.
    environment: Vec<String>,
    settings: Vec<(&'static str, String)>,
    /// The identity of the rules.
    policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    confinement: Option<ExplainedConfinement>,
    /// Why it would not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// What confines it.
#[derive(Serialize)]
struct ExplainedConfinement {
    #[serde(flatten)]
    enforced: EnforcedParts,
    /// Its places as they are found now, without links, each with what may be done there.
    places: BTreeMap<PathBuf, PlaceAccess>,
    /// The places that are absent, and may be.
    absent: Vec<PathBuf>,
    /// Links on the way to such places, which their owners can turn: these places count as absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<PathBuf>,
}

impl<'a> ExplainedCall<'a> {
    fn new(matched: &'a MatchedRule, policy: &'a Policy, environment: &Environment) -> Self {
        let settings = &matched.rule.settings;
        let resolved = resolve(&matched.rule.program, settings, environment);
        let mut refused = resolved.as_ref().err().map(ToString::to_string);
        let confinement = settings.confinement.as_ref().map(|wanted| {
            let support = find_kernel_support().map_err(|source| source.to_string())?;
            prepare_confinement(wanted, &support).map_err(|refusal| refusal.to_string())
        });
        let confinement = match confinement.transpose() {
            Ok(prepared) => prepared.as_ref().map(ExplainedConfinement::new),
            Err(why) => {
                refused.get_or_insert(why);
                None
            }
        };
        let confined = confinement_settings(settings);
        let confined = confined.into_iter().map(|(key, values)| (key, values.join(" ")));
        let text = |text: &CString| text.to_string_lossy().into_owned();
        Self {
            rule: RulePlace::of(&matched.rule),
            runs: resolved.ok().map(|program| program.path().to_owned()),
            argv: matched.words().map(|word| word.into_owned()).collect(),
            environment: environment.of_command(settings).iter().map(text).collect(),
            settings: settings_of(settings).into_iter().chain(confined).collect(),
            policy: policy.hash(),
            confinement,
            refused,
        }
    }
}

impl ExplainedConfinement {
    fn new(prepared: &PreparedConfinement) -> Self {
        Self {
            enforced: prepared.enforced().clone(),
            places: prepared.places().map(|(path, access)| (path.to_owned(), access)).collect(),
            absent: prepared.absent().to_vec(),
            links: prepared.links().to_vec(),
        }
    }
}

fn write_text(out: &mut dyn Write, call: &ExplainedCall<'_>) -> io::Result<()> {
    let quote = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    writeln!(out, "{}", call.rule)?;
    if let Some(program) = &call.runs {
        writeln!(out, "  runs {}", visible(&program.to_string_lossy()))?;
    }
    writeln!(out, "  with the words {}", quote(&call.argv))?;
    writeln!(out, "  in the environment {}", quote(&call.environment))?;
    for (key, value) in &call.settings {
        writeln!(out, "  {key} = {}", visible(value))?;
    }
    if let Some(confinement) = &call.confinement {
        write_confinement(out, confinement)?;
    }
    call.refused.as_ref().map_or(Ok(()), |why| writeln!(out, "  refused: {}", visible(why)))
}

fn write_confinement(out: &mut dyn Write, confinement: &ExplainedConfinement) -> io::Result<()> {
    let ExplainedConfinement { enforced, places, absent, links } = confinement;
    writeln!(out, "  confined by {}", enforced.mechanisms())?;
    if !enforced.missing.is_empty() {
        writeln!(out, "  not enforced: {}", enforced.missing.join(", "))?;
    }
    for (path, access) in places {
        writeln!(out, "    {access:<10} {}", visible(&path.to_string_lossy()))?;
    }
    links.iter().try_for_each(|path| writeln!(out, "    a link     {}", visible(&path.to_string_lossy())))?;
    absent.iter().try_for_each(|path| writeln!(out, "    absent     {}", visible(&path.to_string_lossy())))
}
