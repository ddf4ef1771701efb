//! The profiles that `confine` and `extends` can name: those of the files, and the built-in ones, which are a
//! text in the same language. A built-in profile is read when a rule needs it, so that rules without one do
//! not depend on the variables that it names.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::LazyLock;

use crate::limits::PROFILES_MAX;

use super::fault::{FaultReport, RulesFault};
use super::files::RulesFiles;
use super::parse::{ParsedRules, ProfileStanza, parse};
use super::settings::layered;
use super::stanza::{StanzaReader, StanzaScope, TextOrigin};
use super::stated_confinement::{NamedProfile, StatedConfinement};
use super::vocabulary::nearest;

/// The text of the built-in profiles.
pub const BUILT_IN_PROFILES: &str = include_str!("builtin.rules");

/// The names of the built-in profiles, in the order of their text.
pub(super) const BUILT_IN_NAMES: [&str; 5] = ["none", "system", "workspace", "build", "git"];

/// The profile that confines nothing.
pub(super) const NONE: &str = "none";

static BUILT_IN: LazyLock<RulesFiles> = LazyLock::new(|| RulesFiles::of_text("built-in", BUILT_IN_PROFILES));

/// A profile with all that it extends.
#[derive(Debug, Default)]
pub(super) struct WholeProfile {
    pub(super) confining: StatedConfinement,
    pub(super) setenv: Vec<(String, String)>,
}

/// A profile as its stanza states it.
#[derive(Debug)]
struct StatedProfile {
    base: Option<NamedProfile>,
    own: WholeProfile,
}

/// All profiles of one load.
#[derive(Debug)]
pub(super) struct ProfileTable {
    /// The profiles of the files, and of the built-in ones those that were needed so far.
    stated: HashMap<String, StatedProfile>,
    /// The names in the files, in order.
    names: Vec<String>,
    whole: HashMap<String, Rc<WholeProfile>>,
}

impl ProfileTable {
    /// Reads the profiles of the files. Problems go to the reader's report.
    pub(super) fn read(tree: &ParsedRules<'_>, reader: &mut StanzaReader<'_, '_>) -> Self {
        let mut table = Self { stated: HashMap::new(), names: Vec::new(), whole: HashMap::new() };
        let mut lines = HashMap::new();
        for stanza in tree.profiles.iter().take(PROFILES_MAX) {
            let profile = StatedProfile::read(stanza, reader);
            if let Some(fault) = taken(stanza, &lines) {
                reader.report.add(fault);
                continue;
            }
            lines.insert(stanza.name.clone(), stanza.span.line + 1);
            table.names.push(stanza.name.clone());
            table.stated.insert(stanza.name.clone(), profile);
        }
        if let Some(stanza) = tree.profiles.get(PROFILES_MAX) {
            let message = format!("more than {PROFILES_MAX} profiles, includes counted");
            reader.report.add(RulesFault::new(stanza.span, message));
        }
        table.check_bases(reader.report);
        table
    }

    /// The names of the files' profiles, in order.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The profile of this name, with all that it extends; `None` if there is none, which is reported.
    pub(super) fn find(
        &mut self,
        named: &NamedProfile,
        reader: &mut StanzaReader<'_, '_>,
    ) -> Option<Rc<WholeProfile>> {
        if self.is_known(&named.name) {
            return Some(self.whole(&named.name, reader, &mut HashSet::new()));
        }
        reader.report.add(self.unknown(named));
        None
    }

    /// The profile of this name, if some stanza named it so far.
    pub(super) fn made(&self, name: &str) -> Option<&WholeProfile> {
        self.whole.get(name).map(|profile| &**profile)
    }

    /// The profile of a known name. A profile that extends itself is taken as it stands; `check_bases` has
    /// reported it.
    pub(super) fn whole(
        &mut self,
        name: &str,
        reader: &mut StanzaReader<'_, '_>,
        open: &mut HashSet<String>,
    ) -> Rc<WholeProfile> {
        if let Some(whole) = self.whole.get(name) {
            return Rc::clone(whole);
        }
        if !self.is_known(name) || !open.insert(name.to_owned()) {
            return Rc::default();
        }
        if !self.stated.contains_key(name)
            && let Some(profile) = built_in(name, reader)
        {
            self.stated.insert(name.to_owned(), profile);
        }
        let base = self.stated[name].base.as_ref().map(|base| base.name.clone());
        let below = base.map(|base| self.whole(&base, reader, open)).unwrap_or_default();
        let own = &self.stated[name].own;
        let whole = Rc::new(WholeProfile {
            confining: own.confining.over(&below.confining),
            setenv: layered(&below.setenv, &own.setenv),
        });
        self.whole.insert(name.to_owned(), Rc::clone(&whole));
        whole
    }

    fn is_known(&self, name: &str) -> bool {
        self.stated.contains_key(name) || BUILT_IN_NAMES.contains(&name)
    }

    fn unknown(&self, named: &NamedProfile) -> RulesFault {
        let names = || BUILT_IN_NAMES.into_iter().chain(self.names.iter().map(String::as_str));
        let fault = RulesFault::new(named.span, format!("there is no profile `{}`", named.name));
        match nearest(&named.name, names()) {
            Some(nearest) => fault.help(format!("write `{nearest}`")),
            None => {
                let built_in = BUILT_IN_NAMES.join("`, `");
                fault.help(format!("built in are `{built_in}`; others are stanzas `profile NAME:`"))
            }
        }
    }

    /// Checks that every profile extends one that exists, and not itself.
    fn check_bases(&self, report: &mut FaultReport) {
        let mut told = HashSet::new();
        for name in &self.names {
            let Some(base) = &self.stated[name].base else { continue };
            if !self.is_known(&base.name) {
                report.add(self.unknown(base));
                continue;
            }
            let chain = self.chain(name);
            if chain.last() == Some(&name.as_str()) && !chain.iter().any(|name| told.contains(name)) {
                let message = match chain.as_slice() {
                    [_] => format!("`{name}` extends itself"),
                    chain => {
                        format!("`{name}` extends itself: by `{}`", chain[..chain.len() - 1].join("`, `"))
                    }
                };
                let fault = RulesFault::new(base.span, message);
                report.add(fault.help("leave one of these lines out, or name another profile"));
                told.extend(chain);
            }
        }
    }

    /// The profiles that a profile extends, the nearest first, up to its own name or to one that is there
    /// already.
    fn chain<'t>(&'t self, name: &'t str) -> Vec<&'t str> {
        let mut chain = Vec::new();
        let mut at = name;
        while let Some(base) = self.stated.get(at).and_then(|profile| profile.base.as_ref()) {
            at = &base.name;
            if chain.contains(&at) {
                break;
            }
            chain.push(at);
            if at == name {
                break;
            }
        }
        chain
    }
}

impl StatedProfile {
    fn read(stanza: &ProfileStanza<'_>, reader: &mut StanzaReader<'_, '_>) -> Self {
        let said = reader.read(&stanza.attributes, StanzaScope::Profile).stated;
        Self { base: said.base, own: WholeProfile { confining: said.confining, setenv: said.setenv } }
    }
}

/// The built-in profile of this name.
fn built_in(name: &str, reader: &StanzaReader<'_, '_>) -> Option<StatedProfile> {
    let mut report = FaultReport::default();
    let tree = parse(&BUILT_IN, &mut report);
    let stanza = tree.profiles.iter().find(|stanza| stanza.name == name)?;
    let mut reader = StanzaReader {
        vars: reader.vars,
        report: &mut report,
        patterns: Default::default(),
        origin: TextOrigin::BuiltIn,
    };
    let profile = StatedProfile::read(stanza, &mut reader);
    debug_assert!(report.is_empty(), "{report:?}");
    Some(profile)
}

/// The problem of a name that another profile has.
fn taken(stanza: &ProfileStanza<'_>, lines: &HashMap<String, usize>) -> Option<RulesFault> {
    let name = &stanza.name;
    let message = match lines.get(name) {
        _ if BUILT_IN_NAMES.contains(&name.as_str()) => format!("the profile `{name}` is built in"),
        Some(line) => format!("the profile `{name}` stands on line {line} already"),
        None => return None,
    };
    let help = format!("give it another name; to add to that one, write `extends = {name}` below");
    Some(RulesFault::new(stanza.span, message).help(help))
}
