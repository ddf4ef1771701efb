//! Reads the indented lines of one stanza: looks up the keys and parses the values. A key that is set twice,
//! stands in the wrong place or is unknown is an error. `lower.rs` applies the result to the rule.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::credential::{self, StatedCredential};
use super::fault::{FaultReport, RulesFault, SourceSpan};
use super::lexer::LineTail;
use super::odd_value::{COMMENT, comment};
use super::parse::Attribute;
use super::pattern::{PatternCache, PatternError};
use super::resources::ResourceKey;
use super::rule::{PathForm, SlotConstraint};
use super::settings::{
    AuditMode, BackgroundMode, DenialLog, HangupAction, JournalMode, LogPolicy, ScopeMode, StatedSettings,
    StdinMode, SyncMode, TtyMode,
};
use super::stated_confinement::{ConfiningKey, NamedProfile, StatedConfinement};
use super::template::PathTemplate;
use super::values;
use super::variables::LoadVariables;
use super::vocabulary::{self, AttributeKey, AttributePlace};
use super::word::QuotedWord;

/// The content of one stanza's attributes.
#[derive(Debug, Default)]
pub(super) struct StanzaContent {
    pub(super) stated: StatedSettings,
    pub(super) logfile: Option<PathTemplate>,
    pub(super) audit: Option<AuditMode>,
    pub(super) scope: Option<ScopeMode>,
    pub(super) journal: Option<JournalMode>,
    pub(super) sync: Option<SyncMode>,
    pub(super) fifo: Option<bool>,
    /// The directories that callers write.
    pub(super) caller_writes: Vec<PathBuf>,
    /// By slot name: the key's place, and the slot's constraint; `None` for a constraint with an error.
    pub(super) constraints: HashMap<String, (SourceSpan, Option<SlotConstraint>)>,
    pub(super) allow_any: Vec<NamedSlot>,
    pub(super) allow_dash: Vec<NamedSlot>,
    pub(super) promises: Vec<RuleAssertion>,
    pub(super) credentials: Vec<StatedCredential>,
    /// The resource properties that need a service manager, each at its place.
    pub(super) for_managers: Vec<(ResourceKey, SourceSpan)>,
    /// The keys, and where each stood first.
    seen: HashMap<String, SourceSpan>,
}

/// The stanza whose attributes are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum StanzaScope<'a> {
    /// The stanza `defaults:`.
    Defaults,
    /// A rule with these slots and these words.
    Rule(&'a [&'a str], &'a [QuotedWord]),
    /// A profile.
    Profile,
}

impl<'a> StanzaScope<'a> {
    fn slots(self) -> &'a [&'a str] {
        match self {
            Self::Defaults | Self::Profile => &[],
            Self::Rule(slots, _) => slots,
        }
    }
}

/// A slot's name in a list.
#[derive(Debug)]
pub(super) struct NamedSlot {
    pub(super) name: String,
    pub(super) span: SourceSpan,
}

/// A command line that a rule must match, or must not.
#[derive(Debug)]
pub(super) struct RuleAssertion {
    pub(super) holds: AssertionKind,
    pub(super) argv: Vec<String>,
    pub(super) span: SourceSpan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AssertionKind {
    Accepts,
    Refuses,
}

/// The name of a slot in its one form: `#01` is `#1`.
pub(super) fn canonical(name: &str) -> &str {
    let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    match name.trim_start_matches('0') {
        "" if digits => "0",
        stripped if digits => stripped,
        _ => name,
    }
}

/// Reads stanzas, which share one cache of regexes.
pub(super) struct StanzaReader<'a, 'v> {
    pub(super) vars: &'a LoadVariables<'v>,
    pub(super) report: &'a mut FaultReport,
    pub(super) patterns: PatternCache,
    pub(super) origin: TextOrigin,
}

/// The origin of a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextOrigin {
    /// A rules file.
    File,
    /// The built-in profiles: places that name a variable which is not set are left out.
    BuiltIn,
}

impl StanzaReader<'_, '_> {
    /// Reads the attributes of a stanza.
    pub(super) fn read(&mut self, attributes: &[Attribute<'_>], scope: StanzaScope<'_>) -> StanzaContent {
        let mut said = StanzaContent::default();
        for attribute in attributes {
            let result = self.attribute(&mut said, attribute, scope);
            self.report.take(result.map_err(|fault| commented(fault, attribute)));
        }
        said
    }

    fn attribute(
        &mut self,
        said: &mut StanzaContent,
        attribute: &Attribute<'_>,
        scope: StanzaScope<'_>,
    ) -> Result<(), RulesFault> {
        let name = canonical(attribute.key);
        let is_slot = scope.slots().contains(&name);
        let key = if is_slot { None } else { Some(known(attribute, scope)?) };
        let first =
            said.seen.insert(name.into(), attribute.span).filter(|_| !key.is_some_and(AttributeKey::repeats));
        if let Some(first) = first {
            let message = format!("`{name}` is set on line {} already", first.line + 1);
            self.report.add(RulesFault::new(attribute.span, message).help("keep one of the two"));
        }
        let Some(key) = key else {
            let accepts = self.accepts(attribute).map_err(|fault| commented(fault, attribute));
            let accepts = self.report.take(accepts);
            said.constraints.insert(name.into(), (attribute.span, accepts));
            return Ok(());
        };
        self.set(said, key, attribute)
    }

    fn set(
        &self,
        said: &mut StanzaContent,
        key: AttributeKey,
        attribute: &Attribute<'_>,
    ) -> Result<(), RulesFault> {
        let value = || required(attribute);
        let stated = &mut said.stated;
        match key {
            AttributeKey::Timeout => stated.timeout = Some(values::duration(&value()?)?),
            AttributeKey::Cwd => stated.cwd = Some(values::path(&value()?, self.vars)?),
            AttributeKey::Umask => stated.umask = Some(values::umask(&value()?)?),
            AttributeKey::Env => stated.env = Some(values::env(&value()?)?),
            AttributeKey::Setenv => {
                for (name, text) in values::setenv(&words(attribute)?, self.vars)? {
                    stated.setenv.retain(|(known, _)| *known != name);
                    stated.setenv.push((name, text));
                }
            }
            AttributeKey::Credential => said.credentials.push(credential::parse(&words(attribute)?)?),
            AttributeKey::ExecPath => stated.exec_path = Some(values::exec_path(&value()?, self.vars)?),
            AttributeKey::Stdin => stated.stdin = Some(values::choice(&value()?, STDIN)?),
            AttributeKey::Tty => stated.tty = Some(values::choice(&value()?, TTY)?),
            AttributeKey::OnHangup => stated.on_hangup = Some(values::choice(&value()?, ON_HANGUP)?),
            AttributeKey::Background => stated.background = Some(values::choice(&value()?, BACKGROUND)?),
            AttributeKey::MaxCalls => stated.max_calls = Some(values::calls(&value()?)?),
            AttributeKey::Log => stated.log = Some(values::choice(&value()?, LOG)?),
            AttributeKey::Denials => stated.denials = Some(values::choice(&value()?, DENIALS)?),
            AttributeKey::Capture(descriptor) => {
                stated.captures[descriptor] = Some(Arc::new(PathTemplate::capture(&value()?, self.vars)?));
            }
            AttributeKey::CaptureMax => stated.capture_max = Some(values::capture_max(&value()?)?),
            AttributeKey::Logfile => said.logfile = Some(PathTemplate::manifest(&value()?, self.vars)?),
            AttributeKey::Audit => said.audit = Some(values::choice(&value()?, AUDIT)?),
            AttributeKey::Scope => said.scope = Some(values::choice(&value()?, SCOPE)?),
            AttributeKey::Resource(key) => {
                let resource = key.parse(&value()?)?;
                if resource.is_for_managers() {
                    said.for_managers.push((key, attribute.span));
                }
                stated.resources.push(resource);
            }
            AttributeKey::Fifo => said.fifo = Some(values::choice(&value()?, FIFO)?),
            AttributeKey::Journal => said.journal = Some(values::choice(&value()?, JOURNAL)?),
            AttributeKey::Sync => said.sync = Some(values::choice(&value()?, SYNC)?),
            AttributeKey::AllowDash => said.allow_dash = names(&value()?),
            AttributeKey::AllowAny => said.allow_any = names(&value()?),
            AttributeKey::Accepts => said.promises.push(self.promise(AssertionKind::Accepts, attribute)?),
            AttributeKey::Refuses => said.promises.push(self.promise(AssertionKind::Refuses, attribute)?),
            AttributeKey::Confine | AttributeKey::Extends => {
                let value = value()?;
                stated.base = Some(NamedProfile { name: value.text(), span: value.span });
            }
            AttributeKey::Confining(key) => self.confining(&mut stated.confining, key, attribute)?,
            AttributeKey::CallerWrites => {
                let words = words(attribute)?;
                let paths = words.iter().map(|word| values::path(word, self.vars));
                said.caller_writes = paths.collect::<Result<_, _>>()?;
            }
        }
        Ok(())
    }

    fn confining(
        &self,
        stated: &mut StatedConfinement,
        key: ConfiningKey,
        attribute: &Attribute<'_>,
    ) -> Result<(), RulesFault> {
        stated.note(attribute.key, attribute.span);
        let is_net = key == ConfiningKey::Net;
        let words = if is_net { vec![required(attribute)?] } else { words(attribute)? };
        match (key, self.origin) {
            (ConfiningKey::Places(list), TextOrigin::BuiltIn) => stated.set_known(list, &words, self.vars),
            _ => stated.set(key, &words, self.vars)?,
        }
        Ok(())
    }

    fn promise(&self, holds: AssertionKind, attribute: &Attribute<'_>) -> Result<RuleAssertion, RulesFault> {
        let words = words(attribute)?;
        let span = SourceSpan { end: words.last().map_or(0, |word| word.span.end), ..words[0].span };
        let argv = words.iter().map(|word| self.vars.expand(word)).collect::<Result<_, _>>()?;
        Ok(RuleAssertion { holds, argv, span })
    }

    /// Reads the constraint in a slot's own line.
    fn accepts(&mut self, attribute: &Attribute<'_>) -> Result<SlotConstraint, RulesFault> {
        let value = attribute.value.regex()?.ok_or_else(|| empty(attribute.value, attribute.key))?;
        let text = value.text();
        if !value.quoted && text.strip_prefix("in").is_some_and(|rest| rest.starts_with([' ', '\t'])) {
            let (end, handed) = match text.strip_suffix(" as fd") {
                Some(before) => (before.chars().count(), PathForm::Descriptor),
                None => (value.glyphs.len(), PathForm::Path),
            };
            let directory = value.slice(2, end);
            let span = directory.span;
            let directory = values::path(&directory, self.vars);
            let shown = |path: &PathBuf| ["/proc", "/dev/fd"].iter().any(|of| path.starts_with(of));
            if directory.as_ref().is_ok_and(shown) {
                let fault = RulesFault::new(span, "what is in there is another thing to each process");
                return Err(fault.help("name a directory that is on disk; no path of proc(5) is accepted"));
            }
            let help =
                "write `in /DIR` or `in $HOME/DIR`; put a regex that begins with `in ` in single quotes";
            let under = |directory| SlotConstraint::Under(directory, handed);
            return directory.map(under).map_err(|fault| fault.help(help));
        }
        if self.report.is_full() {
            return Ok(SlotConstraint::Anything);
        }
        self.patterns.get(&text).map(SlotConstraint::Matching).map_err(|flaw| blame(&value, &text, flaw))
    }
}

/// Adds the fix for a comment in another language's form, if the problem is in one.
fn commented(fault: RulesFault, attribute: &Attribute<'_>) -> RulesFault {
    let value = attribute.value.value().ok().flatten();
    let comment = value.and_then(|value| comment(&value));
    if comment.is_some_and(|span| fault.overlaps(span)) { fault.help(COMMENT) } else { fault }
}

/// The fix where a `;` without a blank before it ended a value.
pub(super) const CUT: &str =
    r"a `;` began a comment here; write `\;`, or put the whole value into single quotes";

const STDIN: &[(&str, StdinMode)] = &[("caller", StdinMode::Caller), ("null", StdinMode::Null)];
const TTY: &[(&str, TtyMode)] = &[("pass", TtyMode::Pass), ("hide", TtyMode::Hide)];
const ON_HANGUP: &[(&str, HangupAction)] = &[("kill", HangupAction::Kill), ("keep", HangupAction::Keep)];
const BACKGROUND: &[(&str, BackgroundMode)] =
    &[("kill", BackgroundMode::Kill), ("keep", BackgroundMode::Keep)];
const LOG: &[(&str, LogPolicy)] =
    &[("full", LogPolicy::Full), ("argv-only", LogPolicy::ArgvOnly), ("exit-only", LogPolicy::ExitOnly)];
const DENIALS: &[(&str, DenialLog)] = &[("off", DenialLog::Off), ("log", DenialLog::Kernel)];
const AUDIT: &[(&str, AuditMode)] = &[("strict", AuditMode::Strict), ("best-effort", AuditMode::BestEffort)];
const JOURNAL: &[(&str, JournalMode)] =
    &[("on", JournalMode::On), ("off", JournalMode::Off), ("require", JournalMode::Require)];
const FIFO: &[(&str, bool)] = &[("no", false), ("yes", true)];
const SYNC: &[(&str, SyncMode)] = &[("no", SyncMode::Kernel), ("yes", SyncMode::Disk)];

const SCOPE: &[(&str, ScopeMode)] = &[
    ("auto", ScopeMode::Auto),
    ("require", ScopeMode::Require),
    ("delegate", ScopeMode::Delegate),
    ("off", ScopeMode::Off),
];

/// The key, if it is an attribute of this version that may stand here.
fn known(attribute: &Attribute<'_>, scope: StanzaScope<'_>) -> Result<AttributeKey, RulesFault> {
    let name = attribute.key;
    let fault = |message: String| RulesFault::new(attribute.span, message);
    match (vocabulary::find(name), scope) {
        (None, _) => Err(unknown(attribute, scope)),
        (Some((_, AttributePlace::Defaults)), StanzaScope::Rule(..) | StanzaScope::Profile) => {
            Err(fault(format!("`{name}` speaks of the whole socket")).help("move it to `defaults:`"))
        }
        (Some((_, AttributePlace::Rule)), StanzaScope::Defaults) => {
            Err(fault(format!("`{name}` speaks of one rule")).help("move it to a rule"))
        }
        (Some((AttributeKey::Confine, _)), StanzaScope::Profile) => {
            Err(fault("`confine` stands in a rule, and this is a profile".into())
                .help("to add to another profile, write `extends = NAME`"))
        }
        (Some((_, AttributePlace::Anywhere | AttributePlace::Rule)), StanzaScope::Profile) => {
            Err(fault(format!("`{name}` is no key of profiles"))
                .help("move it to the rules that have this profile"))
        }
        (Some((_, AttributePlace::Profile)), StanzaScope::Rule(..) | StanzaScope::Defaults) => {
            Err(fault(format!("`{name}` speaks of a profile")).help("for a rule's, write `confine = NAME`"))
        }
        (Some((key, _)), _) => Ok(key),
    }
}

fn unknown(attribute: &Attribute<'_>, scope: StanzaScope<'_>) -> RulesFault {
    let name = attribute.key;
    let message = match scope {
        StanzaScope::Rule(..) => format!("`{name}` is neither an attribute nor a slot of this rule"),
        StanzaScope::Defaults => format!("`{name}` is not an attribute"),
        StanzaScope::Profile => format!("`{name}` is no key of profiles"),
    };
    let fault = RulesFault::new(attribute.span, message);
    let bare = name.trim_start_matches('#').trim_end_matches("...");
    let mut names: Vec<&str> = match scope {
        StanzaScope::Profile => vocabulary::profile_keys().collect(),
        StanzaScope::Defaults | StanzaScope::Rule(..) => vocabulary::attributes().collect(),
    };
    names.extend(scope.slots());
    let holds = |word: &&QuotedWord| {
        !word.quoted && ["#", "{", "<"].iter().any(|sign| word.text().contains(&format!("{sign}{bare}")))
    };
    if let StanzaScope::Rule(slots, words) = scope
        && !slots.contains(&bare)
        && let Some(word) = words.iter().find(holds)
    {
        return fault.help(format!("`{}` is text: a slot is a whole word: `#{bare}`", word.text()));
    }
    match vocabulary::nearest(bare, names) {
        Some(nearest) => fault.help(format!("write `{nearest}`")),
        None => fault,
    }
}

fn required(attribute: &Attribute<'_>) -> Result<QuotedWord, RulesFault> {
    attribute.value.value()?.ok_or_else(|| empty(attribute.value, attribute.key))
}

fn words(attribute: &Attribute<'_>) -> Result<Vec<QuotedWord>, RulesFault> {
    let words = attribute.value.words()?.words;
    if words.is_empty() { Err(empty(attribute.value, attribute.key)) } else { Ok(words) }
}

fn empty(value: LineTail<'_>, key: &str) -> RulesFault {
    RulesFault::new(value.span(), format!("`{key}` has no value"))
        .help("for an empty one, write ''; for a `;`, write `\\;`")
}

fn names(word: &QuotedWord) -> Vec<NamedSlot> {
    let named = |word: QuotedWord| {
        let text = word.text();
        let name = canonical(text.strip_prefix('#').unwrap_or(&text)).into();
        NamedSlot { name, span: word.span }
    };
    word.split(',').into_iter().map(named).collect()
}

/// The flaw of a regex at its place in the value.
fn blame(value: &QuotedWord, text: &str, flaw: PatternError) -> RulesFault {
    let glyphs = |bytes: usize| text.get(..bytes).map_or(0, |before| before.chars().count());
    let span = flaw.place.map_or(value.span, |(start, end)| value.part(glyphs(start), glyphs(end)));
    let fault = RulesFault::new(span, flaw.message);
    match flaw.help {
        _ if value.cut.is_some() => fault.help(CUT),
        Some(help) => fault.help(help),
        None => fault,
    }
}
