//! Gives each rule its confinement: the profile that it names, or what `defaults:` says, with the rule's own
//! keys on top. Equal confinements of several rules are one value.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::limits::PLACES_MAX;

use super::confinement::Confinement;
use super::contradictions::{contradictions, idle_protections};
use super::fault::{RulesFault, SourceSpan};
use super::profiles::{NONE, ProfileTable, WholeProfile};
use super::settings::{StatedSettings, layered};
use super::stanza::StanzaReader;
use super::stated_confinement::{NamedProfile, PlaceList, PlacedPath, StatedConfinement};

/// What one stanza states about confinement, `defaults:` or a rule.
#[derive(Debug, Default)]
pub(super) struct StanzaConfinement {
    /// The value of `confine`.
    pub(super) base: Option<NamedProfile>,
    /// The keys.
    pub(super) own: StatedConfinement,
}

impl StanzaConfinement {
    /// Takes it out of a stanza's settings.
    pub(super) fn take(stated: &mut StatedSettings) -> Self {
        Self { base: stated.base.take(), own: mem::take(&mut stated.confining) }
    }
}

/// The confinement of all rules that a profile and keys were merged for.
#[derive(Debug)]
pub(super) struct RuleConfiner {
    profiles: ProfileTable,
    /// The profile of `defaults:`, and its keys.
    defaults: StanzaConfinement,
    inherited: Rc<WholeProfile>,
    /// The statements of rules without keys of their own, by their `confine`.
    merged: HashMap<Option<String>, Rc<StatedConfinement>>,
    /// The confinements of such rules, by `confine` and `cwd`.
    made: HashMap<(Option<String>, PathBuf), Arc<Confinement>>,
    equal: HashSet<Arc<Confinement>>,
    /// The places of the problems that are reported already.
    told: HashSet<SourceSpan>,
}

/// A rule's confinement, and the statements of which it was made.
pub(super) type ConfinedRule = Option<(Arc<Confinement>, Rc<StatedConfinement>)>;

impl RuleConfiner {
    /// Rules under these defaults.
    pub(super) fn new(
        profiles: ProfileTable,
        defaults: StanzaConfinement,
        reader: &mut StanzaReader<'_, '_>,
    ) -> Self {
        let mut confiner = Self {
            profiles,
            defaults,
            inherited: Rc::default(),
            merged: HashMap::new(),
            made: HashMap::new(),
            equal: HashSet::new(),
            told: HashSet::new(),
        };
        confiner.check_profiles(reader);
        confiner.check_none(&confiner.defaults, reader);
        if let Some(base) = &confiner.defaults.base {
            confiner.inherited = confiner.profiles.find(base, reader).unwrap_or_default();
        }
        let stated = confiner.defaults.own.over(&confiner.inherited.confining);
        confiner.merged.insert(None, Rc::new(stated));
        confiner
    }

    /// The variables that a rule's own are set on top of: those of `defaults:` and of its profile.
    pub(super) fn setenv(
        &mut self,
        base: Option<&NamedProfile>,
        defaults: &[(String, String)],
    ) -> Vec<(String, String)> {
        match base {
            Some(named) => {
                let profile = self.profiles.made(&named.name);
                layered(defaults, &profile.map(|profile| profile.setenv.clone()).unwrap_or_default())
            }
            None => layered(&self.inherited.setenv, defaults),
        }
    }

    /// The confinement of a rule at `rule` with this `cwd`; `None` where nothing confines it.
    pub(super) fn confine(
        &mut self,
        said: &StanzaConfinement,
        cwd: &Path,
        rule: SourceSpan,
        reader: &mut StanzaReader<'_, '_>,
    ) -> ConfinedRule {
        self.check_none(said, reader);
        let name = said.base.as_ref().or(self.defaults.base.as_ref()).map_or(NONE, |base| &base.name);
        let name = name.to_owned();
        let merged = self.merged(said.base.as_ref(), reader);
        let has_own = said.own.first().is_some();
        let stated = if has_own { Rc::new(said.own.over(&merged)) } else { merged };
        if name == NONE && !stated.confines() {
            return None;
        }
        let key = (said.base.as_ref().map(|base| base.name.clone()), cwd.to_owned());
        if let Some(made) = self.made.get(&key).filter(|_| !has_own) {
            return Some((Arc::clone(made), stated));
        }
        let placed = stated.placed(cwd);
        let blamed = said.base.as_ref().map_or(rule, |base| base.span);
        let faults = faults(said, &stated, &placed, (cwd, blamed));
        faults.into_iter().for_each(|fault| self.tell(fault, reader));
        let confinement = Arc::new(stated.confinement(&name, &placed));
        let confinement = self.equal.get(&confinement).cloned().unwrap_or(confinement);
        self.equal.insert(Arc::clone(&confinement));
        if !has_own {
            self.made.insert(key, Arc::clone(&confinement));
        }
        Some((confinement, stated))
    }

    /// The statements for a rule with this `confine` and no keys.
    fn merged(
        &mut self,
        base: Option<&NamedProfile>,
        reader: &mut StanzaReader<'_, '_>,
    ) -> Rc<StatedConfinement> {
        let key = base.map(|base| base.name.clone());
        if let Some(merged) = self.merged.get(&key) {
            return Rc::clone(merged);
        }
        let profile = base.and_then(|base| self.profiles.find(base, reader));
        let merged = match profile {
            Some(_) if key.as_deref() == Some(NONE) => Rc::default(),
            Some(profile) => Rc::new(profile.confining.over(&self.defaults.own.without_access())),
            // Each rule with an unknown profile is reported.
            None => return Rc::default(),
        };
        self.merged.insert(key, Rc::clone(&merged));
        merged
    }

    /// Checks that no profile contradicts itself, also one that no rule has.
    fn check_profiles(&mut self, reader: &mut StanzaReader<'_, '_>) {
        for name in self.profiles.names().to_vec() {
            let profile = self.profiles.whole(&name, reader, &mut HashSet::new());
            // The places of profiles are relative to a directory that no absolute place can lie in.
            let placed = profile.confining.placed(Path::new("/\0"));
            let Some(first) = placed.iter().filter_map(|placed| placed.stated.span).min() else { continue };
            let faults = contradictions(&placed, profile.confining.tmp(), first);
            faults.into_iter().for_each(|fault| self.tell(fault, reader));
        }
    }

    fn check_none(&self, said: &StanzaConfinement, reader: &mut StanzaReader<'_, '_>) {
        let is_none = said.base.as_ref().is_some_and(|base| base.name == NONE);
        if let Some((key, span)) = said.own.first().filter(|_| is_none) {
            let message =
                format!("`{key}` confines the command, and `confine = none` says that nothing does");
            let fault = RulesFault::new(span, message);
            reader.report.add(fault.help("leave `confine = none` out: this key alone confines it too"));
        }
    }

    /// Reports a problem, once for each place: a profile may be that of many rules.
    fn tell(&mut self, fault: RulesFault, reader: &mut StanzaReader<'_, '_>) {
        if self.told.insert(fault.span) {
            reader.report.add(fault);
        }
    }
}

/// The problems of a confinement whose `cwd` is known, at their places, or else at `blamed`.
fn faults(
    said: &StanzaConfinement,
    stated: &StatedConfinement,
    placed: &[PlacedPath<'_>],
    (cwd, blamed): (&Path, SourceSpan),
) -> Vec<RulesFault> {
    if stated.size() > PLACES_MAX {
        let fault = RulesFault::new(blamed, format!("more than {PLACES_MAX} places confine this rule"));
        return vec![fault.help("name the directories that the places lie in")];
    }
    let mut faults = contradictions(placed, stated.tmp(), blamed);
    if stated.has(PlaceList::Write) {
        faults.extend(idle_protections(placed, blamed));
    }
    if cwd == Path::new("/") {
        faults.extend(rootless(said, placed, blamed));
    }
    faults
}

/// The problem of a relative place for a rule with `/` as its `cwd`.
fn rootless(said: &StanzaConfinement, placed: &[PlacedPath<'_>], blamed: SourceSpan) -> Option<RulesFault> {
    let relative = placed.iter().filter(|placed| placed.stated.is_relative());
    let own = said.own.first().map(|(_, span)| span);
    let is_own = |placed: &&PlacedPath<'_>| {
        let span = placed.stated.span.zip(own);
        span.is_some_and(|(place, own)| place.file == own.file && place.line >= own.line)
    };
    let written = || relative.clone().find(|placed| placed.list == PlaceList::Write);
    let placed = relative.clone().find(is_own).or_else(written).or_else(|| relative.clone().next())?;
    let span = if is_own(&placed) { placed.stated.span } else { None };
    let (shown, list) = (placed.stated.shown(), placed.list.key());
    let message = if shown == "." {
        format!("`.` in `{list}` is the rule's `cwd`, and that is `/`")
    } else {
        format!("`{shown}` in `{list}` starts at the rule's `cwd`, and that is `/`")
    };
    let fault = RulesFault::new(span.unwrap_or(blamed), message);
    Some(fault.help("set `cwd` to the directory in which the command works"))
}
