//! Warnings of confinements that load, but most likely do not mean what their author meant.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::confinement::{ConfinedPath, Confinement, TmpAccess, UnixAccess};
use super::contradictions::TEMPORARY;
use super::credential::CREDENTIALS_IN_HOME;

use super::fault::{FaultReport, RulesFault, SourceSpan};
use super::lint_callers::bare_name;
use super::lint_context::LintContext;
use super::parse::Stanza;
use super::rule::Rule;
use super::stanza::canonical;
use super::stated_confinement::{PlaceList, PlacedPath, StatedConfinement};

/// The findings about confinements so far, so that each is reported once: a profile may be that of many
/// rules.
#[derive(Debug, Default)]
pub(super) struct ConfinementLint {
    /// The profiles, by address, that were looked at for a `cwd`.
    seen: HashSet<(*const StatedConfinement, PathBuf)>,
    told: HashSet<(SourceSpan, PathBuf)>,
}

/// A rule with a confinement.
#[derive(Clone, Copy)]
pub(super) struct ConfinedStanza<'a> {
    pub(super) stanza: &'a Stanza<'a>,
    pub(super) rule: &'a Rule,
    pub(super) stated: &'a StatedConfinement,
    pub(super) confinement: &'a Confinement,
    /// The home of the broker's user.
    pub(super) home: Option<&'a Path>,
    /// Whether a rule of these names a secret.
    pub(super) has_secrets: bool,
}

impl ConfinedStanza<'_> {
    /// The place of `confine` in the rule, or of the rule.
    fn span(self) -> SourceSpan {
        let confine = self.stanza.attributes.iter().find(|attribute| attribute.key == "confine");
        confine.map_or(self.stanza.words[0].span, |confine| confine.span)
    }
}

impl ConfinementLint {
    /// Adds the warnings of one rule's confinement.
    pub(super) fn rule(
        &mut self,
        of: ConfinedStanza<'_>,
        around: &dyn LintContext,
        report: &mut FaultReport,
    ) {
        let key = (std::ptr::from_ref(of.stated), of.rule.settings.cwd.clone());
        let placed = of.stated.placed(&of.rule.settings.cwd);
        if self.seen.insert(key) {
            self.places(of, &placed, around, report);
        }
        let faults = home(of, &placed)
            .or_else(|| secrets(of, &placed))
            .into_iter()
            .chain(privileges(of, around))
            .chain(slots(of));
        faults.for_each(|fault| report.add(fault));
    }

    /// Warns of places that are not there, and have to be. The `cwd` is warned of where it stands.
    fn places(
        &mut self,
        of: ConfinedStanza<'_>,
        placed: &[PlacedPath<'_>],
        around: &dyn LintContext,
        report: &mut FaultReport,
    ) {
        let cwd: &Path = &of.rule.settings.cwd;
        for placed in placed {
            let path = &placed.place.path;
            if placed.place.optional || path == cwd || around.is_there(path) {
                continue;
            }
            let span = placed.stated.span.unwrap_or_else(|| of.span());
            let fault = RulesFault::new(span, format!("there is no {}", path.display()));
            if self.told.insert((span, path.clone())) {
                report.add(fault.help(
                    "make it, or put a `-` in front if it may be absent: a call that finds none is refused",
                ));
            }
        }
    }
}

/// Programs that have a service manager start what they are given.
const ASKS_MANAGER: [&str; 2] = ["run0", "systemd-run"];

/// The warning for a rule that can write the whole home.
fn home(of: ConfinedStanza<'_>, placed: &[PlacedPath<'_>]) -> Option<RulesFault> {
    let home = of.home?;
    let is_above = |path: &Path| home.starts_with(path);
    let placed =
        placed.iter().find(|placed| placed.list == PlaceList::Write && is_above(&placed.place.path))?;
    let cwd = || of.stanza.attributes.iter().find(|attribute| attribute.key == "cwd");
    let by_cwd = placed.stated.span.is_none().then(cwd).flatten().map(|cwd| cwd.value_span());
    let span = placed.stated.span.or(by_cwd).unwrap_or_else(|| of.span());
    let message = format!("{} is written, with all of the home in it", placed.place.path.display());
    Some(RulesFault::new(span, message).help(
        "name a directory in the home: start files of shells and keys are in it, and whoever writes them runs later without a confinement",
    ))
}

/// The warning for a rule whose command reads the directory of secrets, those of other rules among them.
fn secrets(of: ConfinedStanza<'_>, placed: &[PlacedPath<'_>]) -> Option<RulesFault> {
    let secrets = of.home.filter(|_| of.has_secrets)?.join(CREDENTIALS_IN_HOME);
    if of.confinement.hide.iter().any(|hidden| secrets.starts_with(&hidden.path)) {
        return None;
    }
    let reads = |placed: &&PlacedPath<'_>| {
        let path = &placed.place.path;
        let is_read = [PlaceList::Read, PlaceList::Write, PlaceList::Exec].contains(&placed.list);
        is_read && (secrets.starts_with(path) || path.starts_with(&secrets))
    };
    let placed = placed.iter().find(reads)?;
    let span = placed.stated.span.unwrap_or_else(|| of.span());
    let message = format!("{} is read, with the secrets of other rules in it", placed.place.path.display());
    Some(RulesFault::new(span, message).help(format!("add `hide = -{}`", secrets.display())))
}

/// The warning for a program that gains rights, which no confined one does.
fn privileges(of: ConfinedStanza<'_>, around: &dyn LintContext) -> Option<RulesFault> {
    let (name, span) = (bare_name(of.rule), of.stanza.words[0].span);
    let fault = |message: String| RulesFault::new(span, message);
    if around.program(of.rule).is_ok_and(|program| around.gains_privileges(&program)) {
        let message = format!("`{name}` is a setuid program, and a confined command gains no rights by one");
        return Some(
            fault(message).help("write `confine = none` for this rule, or confine what it would start"),
        );
    }
    let asks = ASKS_MANAGER.contains(&name) && of.confinement.unix != UnixAccess::Any;
    asks.then(|| {
        fault(format!(
            "`{name}` asks the service manager by a unix socket, and this rule's command reaches none"
        ))
        .help("write `confine = none` for this rule: what a service manager starts is not confined anyway")
    })
}

/// The warnings for slots whose directory the command does not see.
fn slots(of: ConfinedStanza<'_>) -> Vec<RulesFault> {
    let unseen = of.rule.slots().filter_map(|slot| Some((slot, slot.directory()?)));
    let unseen = unseen.filter(|(_, directory)| !is_seen(of.confinement, directory));
    let fault = |(slot, directory): (&super::rule::Slot, &Path)| {
        let attributes = &of.stanza.attributes;
        let attribute = attributes.iter().find(|attribute| canonical(attribute.key) == slot.name())?;
        let message = format!("values lie in {}, of which this command sees nothing", directory.display());
        let help = format!("add `read = {}`, or another place in which they lie", directory.display());
        Some(RulesFault::new(attribute.value_span(), message).help(help))
    };
    unseen.filter_map(fault).collect()
}

/// Whether a command can read something at, in or above a directory.
fn is_seen(confinement: &Confinement, directory: &Path) -> bool {
    let lies_in = |places: &[ConfinedPath]| places.iter().any(|place| directory.starts_with(&place.path));
    let holds = |places: &[ConfinedPath]| places.iter().any(|place| place.path.starts_with(directory));
    let lists = [&confinement.read, &confinement.write, &confinement.exec];
    let is_named = lists.into_iter().flatten().any(|places| lies_in(places) || holds(places));
    let is_covered = confinement.tmp == TmpAccess::Private
        && TEMPORARY.iter().any(|temporary| directory.starts_with(temporary));
    !lies_in(&confinement.hide) && (is_named || confinement.read.is_none() && !is_covered)
}
