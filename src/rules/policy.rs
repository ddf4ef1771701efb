//! A policy: a loaded rules file, with every setting effective, every regex checked and the index built. A
//! decision takes the words of a request and gives the matching rule and its values, or the reason why none
//! matches.

use std::borrow::Cow;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ids::ClaimedWord;
use crate::limits::FIRST_HANDED_FD;

use super::index::{Candidates, RuleIndex};
use super::listing::listing;
use super::listing_json::listing_json;
use super::matcher::{LocatedPath, PathArgument, PathResolver, RuleMismatch, fit, shortened, slots};
use super::miss::MissReason;
use super::regex_machine::{StepBudget, Turns};
use super::rule::{PathForm, Rule};
use super::secrecy::SecretPrograms;
use super::settings::{AuditMode, JournalMode, ScopeMode, SyncMode};
use super::template::PathTemplate;

/// The rules in force for a socket.
#[derive(Debug)]
pub struct Policy {
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) index: RuleIndex,
    pub(super) secrecy: SecretPrograms,
    pub(super) turns: Turns,
    pub(super) relays: bool,
    pub(super) hash: String,
    pub(super) files: Vec<PathBuf>,
    pub(super) max_calls: u32,
    pub(super) audit: AuditMode,
    pub(super) scope: ScopeMode,
    pub(super) journal: JournalMode,
    pub(super) sync: SyncMode,
    pub(super) fifo: bool,
    pub(super) logfile: Option<PathTemplate>,
    pub(super) caller_writes: Vec<PathBuf>,
}

impl Policy {
    /// The first rule in file order that matches the command line, with its words.
    pub fn decide(&self, argv: &[ClaimedWord], paths: &dyn PathResolver) -> Result<MatchedRule, PolicyMiss> {
        let words: Vec<_> = argv.iter().map(ClaimedWord::as_str).collect();
        let candidates = self.index.candidates(&words);
        let paths = &PathNotes { paths, asked: Cell::new(false) };
        let (mut misfits, mut effort) = (Vec::new(), StepBudget::in_turn(&self.turns));
        for &place in &candidates.fitting {
            let rule = &self.rules[place];
            match fit(rule, &words, paths, &mut effort) {
                Ok(places) => return Ok(MatchedRule::new(rule, &words, places, paths.asked.get())),
                // Whether this rule matches is not known, so no later rule may decide the request.
                Err(misfit) if misfit.reason() == MissReason::TooCostly => {
                    return Err(PolicyMiss::near(rule, &misfit, &words));
                }
                Err(misfit) => misfits.push((rule, misfit)),
            }
        }
        Err(self.miss(&words, misfits, &candidates, paths, &mut effort))
    }

    /// Has long decisions refuse from now on, as too costly: the broker stops, and their callers do not wait.
    pub fn end_long_decisions(&self) {
        self.turns.end();
    }

    /// Explains a miss by the nearest rule. Among rules whose literals and number of words fit, that is the
    /// rule that needs the smallest change to match; without any, the rule that shares the longest beginning.
    fn miss(
        &self,
        argv: &[&str],
        misfits: Vec<NearMiss<'_>>,
        candidates: &Candidates,
        paths: &dyn PathResolver,
        effort: &mut StepBudget<'_>,
    ) -> PolicyMiss {
        let rank = |(_, misfit): &NearMiss<'_>| (misfit.reason(), std::cmp::Reverse(misfit.at));
        if let Some((rule, misfit)) = misfits.into_iter().min_by_key(rank) {
            return PolicyMiss::near(rule, &misfit, argv);
        }
        if let Some(rule) = candidates.closest.map(|place| &self.rules[place])
            && let Err(misfit) = fit(rule, argv, paths, effort)
        {
            return PolicyMiss::near(rule, &misfit, argv);
        }
        let program = argv.first().copied().unwrap_or_default();
        let namesake = self.index.namesake(program).map(|place| &self.rules[place]);
        let mut explanation = format!("no rule runs {}", shortened(program));
        if let Some(rule) = namesake {
            explanation
                .push_str(&format!("; the nearest, `{}`, has to be called by exactly that name", rule.text));
        }
        PolicyMiss { reason: MissReason::NoRule, nearest: namesake.cloned(), explanation }
    }

    /// Whether the words of a refused request for this program stay out of its record: they may be meant for
    /// a rule that keeps them out.
    pub fn hides(&self, program: &str) -> bool {
        self.secrecy.covers(program)
    }

    /// The rules, in the order in which they match.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The listing of the rules for callers.
    pub fn listing(&self) -> String {
        listing(&self.rules)
    }

    /// The listing of the rules for programs: one line of JSON.
    pub fn listing_json(&self) -> String {
        listing_json(&self.rules)
    }

    /// The identity of the rules in force, as 64 hexadecimal digits: SHA-256 over the files, in order, and
    /// the variables that they name.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The top file and all files that it includes, in the order in which they were read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Most calls of the socket at once.
    pub fn max_calls(&self) -> u32 {
        self.max_calls
    }

    /// Whether some rule needs a relay for its command's streams.
    pub fn relays(&self) -> bool {
        self.relays
    }

    /// Whether a call runs that cannot be recorded.
    pub fn audit(&self) -> AuditMode {
        self.audit
    }

    /// Whether a call gets a scope of its own.
    pub fn scope(&self) -> ScopeMode {
        self.scope
    }

    /// Whether the socket can be reached through FIFOs as well.
    pub fn has_fifo_door(&self) -> bool {
        self.fifo
    }

    /// Which records go to the journal as well.
    pub fn journal(&self) -> JournalMode {
        self.journal
    }

    /// When a record counts as written.
    pub fn sync(&self) -> SyncMode {
        self.sync
    }

    /// The directories that callers of the socket write, as the rules have it.
    pub fn caller_writes(&self) -> &[PathBuf] {
        &self.caller_writes
    }

    /// The manifest's path, if the rules name one.
    pub fn logfile(&self) -> Option<&PathTemplate> {
        self.logfile.as_ref()
    }
}

/// A path resolver that notes whether it was asked.
struct PathNotes<'p> {
    paths: &'p dyn PathResolver,
    asked: Cell<bool>,
}

impl PathResolver for PathNotes<'_> {
    fn locate(&self, cwd: &Path, value: &str, dir: &Path) -> Option<LocatedPath> {
        self.asked.set(true);
        self.paths.locate(cwd, value, dir)
    }
}

type NearMiss<'p> = (&'p Arc<Rule>, RuleMismatch<'p>);

/// One word that a rule accepted: a literal of the rule, or a slot value that keeps its constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundWord(String);

impl BoundWord {
    /// The word as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request that a rule allows.
#[derive(Clone, Debug)]
pub struct MatchedRule {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The whole command line as it was requested, program first.
    pub argv: Vec<BoundWord>,
    /// The resolved paths of the values of `in DIR` slots, in the order of the command line.
    pub places: Vec<PathArgument>,
    /// Whether the disk was asked to find the matching rule: the result may differ the next time.
    pub looked: bool,
}

impl MatchedRule {
    fn new(rule: &Arc<Rule>, argv: &[&str], places: Vec<PathArgument>, looked: bool) -> Self {
        let argv = argv.iter().map(|&word| BoundWord(word.into())).collect();
        Self { rule: Arc::clone(rule), argv, places, looked }
    }

    /// The command line as the command gets it: a path is the resolved one, or `/proc/self/fd/N` of the
    /// descriptor that is open there, of which the first is 3.
    pub fn words(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let (mut places, mut next) = (self.places.iter().peekable(), FIRST_HANDED_FD..);
        self.argv.iter().enumerate().map(move |(at, word)| {
            let Some(place) = places.next_if(|place| place.at == at) else { return word.as_str().into() };
            match (place.handed, next.start) {
                (PathForm::Path, _) => (&*place.located.path).into(),
                (PathForm::Descriptor, number) => {
                    next.start += 1;
                    format!("/proc/self/fd/{number}").into()
                }
            }
        })
    }

    /// The paths at which the command has descriptors open, in order.
    pub fn opened(&self) -> impl Iterator<Item = &str> {
        let opened = self.places.iter().filter(|place| place.handed == PathForm::Descriptor);
        opened.map(|place| &*place.located.path)
    }

    /// The slots by name, each with the value it got, or its values.
    pub fn slots(&self) -> Vec<(&str, Vec<&str>)> {
        let argv: Vec<_> = self.argv.iter().map(BoundWord::as_str).collect();
        let mut filled: Vec<(&str, Vec<&str>)> =
            self.rule.slots().map(|slot| (slot.name(), Vec::new())).collect();
        for (at, slot, _) in slots(&self.rule, &argv) {
            let own = filled.iter_mut().find(|(name, _)| *name == slot.name());
            own.expect("every slot is listed").1.push(self.argv[at].as_str());
        }
        filled
    }
}

/// Why no rule matched.
#[derive(Clone, Debug)]
pub struct PolicyMiss {
    /// The kind of miss, as records name it.
    pub reason: MissReason,
    /// The nearest rule, if one has the same program.
    pub nearest: Option<Arc<Rule>>,
    /// One sentence for a person, from the listing and the request only.
    pub explanation: String,
}

impl PolicyMiss {
    fn near(rule: &Arc<Rule>, misfit: &RuleMismatch<'_>, argv: &[&str]) -> Self {
        let explanation = format!("nearest is `{}`: {}", rule.text, misfit.explain(argv));
        Self { reason: misfit.reason(), nearest: Some(Arc::clone(rule)), explanation }
    }
}
