//! What the indented lines of one stanza say. Keys are looked up, values become types, and what is said twice, in the
//! wrong place or not at all known is an error; what it means for the rule is for `lower.rs`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::diagnostic::{Fault, Report, Span};
use super::lexer::Tail;
use super::pattern::{Flaw, Patterns};
use super::resources::ResourceKey;
use super::rule::{Accepts, Handed};
use super::settings::{
    Audit, Background, Durability, Journal, LogPolicy, OnHangup, ScopeMode, Stated, Stdin, Tty,
};
use super::template::Template;
use super::tree::Attribute;
use super::values;
use super::variables::Variables;
use super::vocabulary::{self, Key, Place};
use super::word::Word;

/// All that one stanza says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) stated: Stated,
    pub(super) logfile: Option<Template>,
    pub(super) audit: Option<Audit>,
    pub(super) scope: Option<ScopeMode>,
    pub(super) journal: Option<Journal>,
    pub(super) sync: Option<Durability>,
    /// By slot name: the key's place and what the slot accepts, `None` where that is an error already.
    pub(super) constraints: HashMap<String, (Span, Option<Accepts>)>,
    pub(super) allow_any: Vec<Named>,
    pub(super) allow_dash: Vec<Named>,
    pub(super) promises: Vec<Promise>,
    /// The resource properties that need a service manager, each at its place.
    pub(super) for_managers: Vec<(ResourceKey, Span)>,
    /// The keys, and where each stood first.
    seen: HashMap<String, Span>,
}

/// Whose attributes are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// Those of `defaults:`.
    Defaults,
    /// Those of a rule that has these slots, and these words.
    Rule(&'a [&'a str], &'a [Word]),
}

impl<'a> Scope<'a> {
    fn slots(self) -> &'a [&'a str] {
        match self {
            Self::Defaults => &[],
            Self::Rule(slots, _) => slots,
        }
    }
}

/// A slot's name in a list.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) span: Span,
}

/// A command line that a rule must match, or must not.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) holds: Holds,
    pub(super) argv: Vec<String>,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
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

/// Reads stanzas; the regexes of all of them are in one place.
pub(super) struct Reader<'a, 'v> {
    pub(super) vars: &'a Variables<'v>,
    pub(super) report: &'a mut Report,
    pub(super) patterns: Patterns,
}

impl Reader<'_, '_> {
    /// What the attributes of a stanza say.
    pub(super) fn read(&mut self, attributes: &[Attribute<'_>], scope: Scope<'_>) -> Said {
        let mut said = Said::default();
        for attribute in attributes {
            let result = self.attribute(&mut said, attribute, scope);
            self.report.take(result);
        }
        said
    }

    fn attribute(
        &mut self,
        said: &mut Said,
        attribute: &Attribute<'_>,
        scope: Scope<'_>,
    ) -> Result<(), Fault> {
        let name = canonical(attribute.key);
        let is_slot = scope.slots().contains(&name);
        let key = if is_slot { None } else { Some(known(attribute, scope)?) };
        let first = said.seen.insert(name.into(), attribute.span).filter(|_| !key.is_some_and(Key::repeats));
        if let Some(first) = first {
            let message = format!("`{name}` is set on line {} already", first.line + 1);
            self.report.add(Fault::new(attribute.span, message).help("keep one of the two"));
        }
        let Some(key) = key else {
            let accepts = self.accepts(attribute);
            let accepts = self.report.take(accepts);
            said.constraints.insert(name.into(), (attribute.span, accepts));
            return Ok(());
        };
        self.set(said, key, attribute)
    }

    fn set(&self, said: &mut Said, key: Key, attribute: &Attribute<'_>) -> Result<(), Fault> {
        let value = || required(attribute);
        let stated = &mut said.stated;
        match key {
            Key::Timeout => stated.timeout = Some(values::duration(&value()?)?),
            Key::Cwd => stated.cwd = Some(values::path(&value()?, self.vars)?),
            Key::Umask => stated.umask = Some(values::umask(&value()?)?),
            Key::Env => stated.env = Some(values::env(&value()?)?),
            Key::Setenv => {
                for (name, text) in values::setenv(&words(attribute)?, self.vars)? {
                    stated.setenv.retain(|(known, _)| *known != name);
                    stated.setenv.push((name, text));
                }
            }
            Key::ExecPath => stated.exec_path = Some(values::exec_path(&value()?, self.vars)?),
            Key::Stdin => stated.stdin = Some(values::choice(&value()?, STDIN)?),
            Key::Tty => stated.tty = Some(values::choice(&value()?, TTY)?),
            Key::OnHangup => stated.on_hangup = Some(values::choice(&value()?, ON_HANGUP)?),
            Key::Background => stated.background = Some(values::choice(&value()?, BACKGROUND)?),
            Key::MaxCalls => stated.max_calls = Some(values::calls(&value()?)?),
            Key::Log => stated.log = Some(values::choice(&value()?, LOG)?),
            Key::Capture(descriptor) => {
                stated.captures[descriptor] = Some(Arc::new(Template::capture(&value()?, self.vars)?));
            }
            Key::CaptureMax => stated.capture_max = Some(values::capture_max(&value()?)?),
            Key::Logfile => said.logfile = Some(Template::manifest(&value()?, self.vars)?),
            Key::Audit => said.audit = Some(values::choice(&value()?, AUDIT)?),
            Key::Scope => said.scope = Some(values::choice(&value()?, SCOPE)?),
            Key::Resource(key) => {
                let resource = key.parse(&value()?)?;
                if resource.is_for_managers() {
                    said.for_managers.push((key, attribute.span));
                }
                stated.resources.push(resource);
            }
            Key::Journal => said.journal = Some(values::choice(&value()?, JOURNAL)?),
            Key::Sync => said.sync = Some(values::choice(&value()?, SYNC)?),
            Key::AllowDash => said.allow_dash = names(&value()?),
            Key::AllowAny => said.allow_any = names(&value()?),
            Key::Accepts => said.promises.push(self.promise(Holds::Accepts, attribute)?),
            Key::Refuses => said.promises.push(self.promise(Holds::Refuses, attribute)?),
            Key::Later => {}
        }
        Ok(())
    }

    fn promise(&self, holds: Holds, attribute: &Attribute<'_>) -> Result<Promise, Fault> {
        let words = words(attribute)?;
        let span = Span { end: words.last().map_or(0, |word| word.span.end), ..words[0].span };
        let argv = words.iter().map(|word| self.vars.expand(word)).collect::<Result<_, _>>()?;
        Ok(Promise { holds, argv, span })
    }

    /// What a slot's own line accepts.
    fn accepts(&mut self, attribute: &Attribute<'_>) -> Result<Accepts, Fault> {
        let value = attribute.value.regex()?.ok_or_else(|| empty(attribute.value, attribute.key))?;
        let text = value.text();
        if !value.quoted && text.strip_prefix("in").is_some_and(|rest| rest.starts_with([' ', '\t'])) {
            let (end, handed) = match text.strip_suffix(" as fd") {
                Some(before) => (before.chars().count(), Handed::Descriptor),
                None => (value.glyphs.len(), Handed::Path),
            };
            let directory = value.slice(2, end);
            let span = directory.span;
            let directory = values::path(&directory, self.vars);
            let shown = |path: &PathBuf| ["/proc", "/dev/fd"].iter().any(|of| path.starts_with(of));
            if directory.as_ref().is_ok_and(shown) {
                let fault = Fault::new(span, "what is in there is another thing to each process");
                return Err(fault.help("name a directory that is on disk; no path of proc(5) is accepted"));
            }
            let help =
                "write `in /DIR` or `in $HOME/DIR`; put a regex that begins with `in ` in single quotes";
            let under = |directory| Accepts::Under(directory, handed);
            return directory.map(under).map_err(|fault| fault.help(help));
        }
        if self.report.is_full() {
            return Ok(Accepts::Anything);
        }
        self.patterns.get(&text).map(Accepts::Matching).map_err(|flaw| blame(&value, &text, flaw))
    }
}

/// What to write where a `;` without a blank before it ended a value.
pub(super) const CUT: &str =
    r"a `;` began a comment here; write `\;`, or put the whole value into single quotes";

const STDIN: &[(&str, Stdin)] = &[("caller", Stdin::Caller), ("null", Stdin::Null)];
const TTY: &[(&str, Tty)] = &[("pass", Tty::Pass), ("hide", Tty::Hide)];
const ON_HANGUP: &[(&str, OnHangup)] = &[("kill", OnHangup::Kill), ("keep", OnHangup::Keep)];
const BACKGROUND: &[(&str, Background)] = &[("kill", Background::Kill), ("keep", Background::Keep)];
const LOG: &[(&str, LogPolicy)] =
    &[("full", LogPolicy::Full), ("argv-only", LogPolicy::ArgvOnly), ("exit-only", LogPolicy::ExitOnly)];
const AUDIT: &[(&str, Audit)] = &[("strict", Audit::Strict), ("best-effort", Audit::BestEffort)];
const JOURNAL: &[(&str, Journal)] =
    &[("on", Journal::On), ("off", Journal::Off), ("require", Journal::Require)];
const SYNC: &[(&str, Durability)] = &[("no", Durability::Kernel), ("yes", Durability::Disk)];

const SCOPE: &[(&str, ScopeMode)] = &[
    ("auto", ScopeMode::Auto),
    ("require", ScopeMode::Require),
    ("delegate", ScopeMode::Delegate),
    ("off", ScopeMode::Off),
];

/// The key, if it is an attribute of this version that may stand here.
fn known(attribute: &Attribute<'_>, scope: Scope<'_>) -> Result<Key, Fault> {
    let name = attribute.key;
    let fault = |message: String| Fault::new(attribute.span, message);
    match (vocabulary::find(name), scope) {
        (None, _) => Err(unknown(attribute, scope)),
        (Some((Key::Later, _)), _) => Err(fault(format!("`{name}` is not supported by this version"))),
        (Some((_, Place::Defaults)), Scope::Rule(..)) => {
            Err(fault(format!("`{name}` speaks of the whole socket")).help("move it to `defaults:`"))
        }
        (Some((_, Place::Rule)), Scope::Defaults) => {
            Err(fault(format!("`{name}` speaks of one rule")).help("move it to a rule"))
        }
        (Some((key, _)), _) => Ok(key),
    }
}

fn unknown(attribute: &Attribute<'_>, scope: Scope<'_>) -> Fault {
    let name = attribute.key;
    let message = match scope {
        Scope::Rule(..) => format!("`{name}` is neither an attribute nor a slot of this rule"),
        Scope::Defaults => format!("`{name}` is not an attribute"),
    };
    let fault = Fault::new(attribute.span, message);
    let bare = name.trim_start_matches('#').trim_end_matches("...");
    let mut names: Vec<&str> = vocabulary::attributes().collect();
    names.extend(scope.slots());
    let holds = |word: &&Word| {
        !word.quoted && ["#", "{", "<"].iter().any(|sign| word.text().contains(&format!("{sign}{bare}")))
    };
    if let Scope::Rule(slots, words) = scope
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

fn required(attribute: &Attribute<'_>) -> Result<Word, Fault> {
    attribute.value.value()?.ok_or_else(|| empty(attribute.value, attribute.key))
}

fn words(attribute: &Attribute<'_>) -> Result<Vec<Word>, Fault> {
    let words = attribute.value.words()?.words;
    if words.is_empty() { Err(empty(attribute.value, attribute.key)) } else { Ok(words) }
}

fn empty(value: Tail<'_>, key: &str) -> Fault {
    Fault::new(value.span(), format!("`{key}` has no value"))
        .help("for an empty one, write ''; for a `;`, write `\\;`")
}

fn names(word: &Word) -> Vec<Named> {
    let named = |word: Word| {
        let text = word.text();
        let name = canonical(text.strip_prefix('#').unwrap_or(&text)).into();
        Named { name, span: word.span }
    };
    word.split(',').into_iter().map(named).collect()
}

/// The flaw of a regex at its place in the value.
fn blame(value: &Word, text: &str, flaw: Flaw) -> Fault {
    let glyphs = |bytes: usize| text.get(..bytes).map_or(0, |before| before.chars().count());
    let span = flaw.place.map_or(value.span, |(start, end)| value.part(glyphs(start), glyphs(end)));
    let fault = Fault::new(span, flaw.message);
    match flaw.help {
        _ if value.cut.is_some() => fault.help(CUT),
        Some(help) => fault.help(help),
        None => fault,
    }
}
