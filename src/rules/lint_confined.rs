//! Warnings of confinements that load, but most likely do not mean what their author meant.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::fault::{FaultReport, RulesFault, SourceSpan};
use super::lint_context::LintContext;
use super::parse::Stanza;
use super::rule::Rule;
use super::stated_confinement::StatedConfinement;

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
        if self.seen.insert(key) {
            self.places(of, around, report);
        }
    }

    /// Warns of places that are not there, and have to be. The `cwd` is warned of where it stands.
    fn places(&mut self, of: ConfinedStanza<'_>, around: &dyn LintContext, report: &mut FaultReport) {
        let cwd: &Path = &of.rule.settings.cwd;
        for placed in of.stated.placed(cwd) {
            let path = placed.place.path;
            if placed.place.optional || path == cwd || around.is_there(&path) {
                continue;
            }
            let span = placed.stated.span.unwrap_or_else(|| of.span());
            let fault = RulesFault::new(span, format!("there is no {}", path.display()));
            if self.told.insert((span, path)) {
                report.add(fault.help(
                    "make it, or put a `-` in front if it may be absent: a call that finds none is refused",
                ));
            }
        }
    }
}
