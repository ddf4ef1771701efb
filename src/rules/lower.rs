//! Stanzas to rules. Here slots meet their constraints, defaults are folded in, and whatever contradicts itself is an
//! error. A [`Rule`] that comes out is complete.

use std::path::PathBuf;
use std::sync::Arc;

use crate::ids::RuleLine;
use crate::limits::{ARG_BYTES_MAX, ARGC_MAX, RULES_MAX, SOCKET_CALLS_DEFAULT};

use super::diagnostic::{Fault, Report, Span};
use super::files::Files;
use super::lexer::Word;
use super::matcher::{LexicalPaths, misfit};
use super::pattern::Patterns;
use super::rule::{Accepts, Dash, Expected, Program, Rule, Slot, Takes};
use super::settings::{Audit, Stated};
use super::stanza::{Holds, Promise, Reader, Said, canonical};
use super::template::Template;
use super::tree::{Stanza, Tree};
use super::variables::Variables;
use super::vocabulary::{Place, is_attribute};

/// What the stanzas mean.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) max_calls: u32,
    pub(super) audit: Audit,
    pub(super) logfile: Option<Template>,
}

/// The meaning of all stanzas; rules that are errors are left out.
pub(super) fn lower(tree: &Tree<'_>, files: &Files, vars: &Variables<'_>, report: &mut Report) -> Lowered {
    let mut reader = Reader { vars, report, patterns: Patterns::default() };
    let said = reader.read(&tree.defaults, Place::Defaults, &[]);
    let mut lowering = Lowering { files, reader, defaults: said.stated };
    let rules =
        tree.rules.iter().take(RULES_MAX).filter_map(|stanza| lowering.rule(stanza)).map(Arc::new).collect();
    if let Some(stanza) = tree.rules.get(RULES_MAX) {
        lowering
            .reader
            .report
            .add(Fault::new(stanza.words[0].span, format!("more than {RULES_MAX} rules, includes counted")));
    }
    Lowered {
        rules,
        max_calls: lowering.defaults.max_calls.unwrap_or(SOCKET_CALLS_DEFAULT),
        audit: said.audit.unwrap_or(Audit::Strict),
        logfile: said.logfile,
    }
}

struct Lowering<'a, 'v> {
    files: &'a Files,
    reader: Reader<'a, 'v>,
    defaults: Stated,
}

/// A word of a rule line before its constraint is known.
enum Draft {
    Literal(String),
    Slot { name: String, takes: Takes, span: Span },
}

impl Lowering<'_, '_> {
    fn rule(&mut self, stanza: &Stanza<'_>) -> Option<Rule> {
        let drafts = self.drafts(&stanza.words);
        let named: Vec<_> = stanza.words.iter().filter_map(slot_name).map(|(name, _)| name).collect();
        let slots: Vec<_> = named.iter().map(String::as_str).collect();
        let mut said = self.reader.read(&stanza.attributes, Place::Rule, &slots);
        self.check_lists(&said, &slots);
        let words: Vec<_> = drafts.into_iter().map(|draft| self.expected(draft?, &mut said)).collect();
        let words = words.into_iter().collect::<Option<Box<[_]>>>()?;
        let program = program(&stanza.words[0], &words[0]);
        let span = stanza.words[0].span;
        let rule = Rule {
            line: RuleLine::new(u32::try_from(span.line + 1).unwrap_or(u32::MAX)),
            file: Arc::clone(self.files.path(span.file)),
            text: words.iter().map(Expected::shown).collect::<Vec<_>>().join(" ").into(),
            program: self.reader.report.take(program)?,
            settings: said.stated.under(&self.defaults),
            words,
            comments: stanza.comments.iter().map(|&comment| comment.into()).collect(),
        };
        for promise in &said.promises {
            self.reader.report.take(check_promise(&rule, promise));
        }
        Some(rule)
    }

    /// The words, each on its own; `None` for one that is an error.
    fn drafts(&mut self, words: &[Word]) -> Vec<Option<Draft>> {
        let mut seen = std::collections::HashSet::new();
        let too_many = words.get(ARGC_MAX).map(|word| {
            Fault::new(word.span, format!("more than {ARGC_MAX} words, which no request can hold"))
        });
        self.reader.report.take(too_many.map_or(Ok(()), Err));
        let mut drafts = Vec::with_capacity(words.len());
        for (at, word) in words.iter().enumerate() {
            let draft = self.draft(word, at, words.len()).and_then(|draft| match draft.name() {
                Some(name) if !seen.insert(name.to_owned()) => {
                    Err(Fault::new(word.span, format!("two slots are named `{name}`"))
                        .help("give each its own name"))
                }
                Some(_) | None => Ok(draft),
            });
            drafts.push(self.reader.report.take(draft));
        }
        drafts
    }

    fn draft(&self, word: &Word, at: usize, count: usize) -> Result<Draft, Fault> {
        let Some((name, takes)) = slot_name(word) else {
            let literal = self.reader.vars.expand(word)?;
            let fits = literal.len() <= ARG_BYTES_MAX;
            let fault = || Fault::new(word.span, format!("a word of more than {ARG_BYTES_MAX} bytes"));
            return fits.then_some(Draft::Literal(literal)).ok_or_else(fault);
        };
        let fault = |message: String| Fault::new(word.span, message);
        if at == 0 {
            return Err(fault("the program cannot be a slot".into())
                .help("write out what may run, one rule for each"));
        }
        if takes == Takes::Several && at + 1 < count {
            return Err(fault(format!("`#{name}...` can only be the last word")));
        }
        if is_attribute(&name) {
            let fault = fault(format!("a slot cannot be named `{name}`, which is an attribute"));
            return Err(fault.help(format!("name it `{name}_`, here and below")));
        }
        Ok(Draft::Slot { name, takes, span: word.span })
    }

    fn check_lists(&mut self, said: &Said, slots: &[&str]) {
        for named in said.allow_any.iter().chain(&said.allow_dash) {
            if !slots.contains(&named.name.as_str()) {
                let fault = Fault::new(named.span, format!("this rule has no slot `{}`", named.name));
                self.reader.report.add(
                    match super::vocabulary::nearest(&named.name, slots.iter().copied()) {
                        Some(nearest) => fault.help(format!("write `{nearest}`")),
                        None => fault,
                    },
                );
            }
        }
        for dash in &said.allow_dash {
            let in_both = said.allow_any.iter().any(|any| any.name == dash.name);
            let matching = said.constraints.get(&dash.name).map(|(_, accepts)| accepts);
            let has_regex = matching.is_some_and(|accepts| !matches!(accepts, Some(Accepts::Under(_))));
            if in_both {
                let fault = Fault::new(dash.span, format!("`{}` is in `allow_any` as well", dash.name));
                self.reader.report.add(fault.help("`allow_any` alone lets a value start with `-`"));
            } else if !has_regex && slots.contains(&dash.name.as_str()) {
                let fault = Fault::new(dash.span, format!("`{}` has no regex", dash.name));
                self.reader
                    .report
                    .add(fault.help("only a regex says what a value that starts with `-` may be"));
            }
        }
    }

    fn expected(&mut self, draft: Draft, said: &mut Said) -> Option<Expected> {
        let (name, takes, span) = match draft {
            Draft::Literal(word) => return Some(Expected::Literal(word.into())),
            Draft::Slot { name, takes, span } => (name, takes, span),
        };
        let any = said.allow_any.iter().any(|any| any.name == name);
        let accepts = match said.constraints.remove(&name) {
            Some((span, _)) if any => {
                let fault = Fault::new(span, format!("`{name}` is in `allow_any`, so nothing constrains it"));
                self.reader.report.add(fault.help("remove this line, or the name from `allow_any`"));
                return None;
            }
            Some((_, accepts)) => accepts?,
            None if any => Accepts::Anything,
            None => {
                let fault = Fault::new(span, format!("nothing says what the slot `{name}` accepts"));
                let help =
                    format!("add `{name} = REGEX` or `{name} = in DIR` below, or `allow_any = {name}`");
                self.reader.report.add(fault.help(help));
                return None;
            }
        };
        let may_dash = any || said.allow_dash.iter().any(|dash| dash.name == name);
        let dash = if may_dash { Dash::Allowed } else { Dash::Refused };
        Some(Expected::Slot(Slot { name: name.into(), takes, accepts, dash }))
    }
}

impl Draft {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Slot { name, .. } => Some(name),
        }
    }
}

/// The slot that a word is. One that is quoted or escaped anywhere is a literal, and so is all that is not a name.
fn slot_name(word: &Word) -> Option<(String, Takes)> {
    if word.quoted || word.glyphs.first()?.ch != '#' {
        return None;
    }
    let text = word.text();
    let (name, takes) = match text[1..].strip_suffix("...") {
        Some(name) => (name, Takes::Several),
        None => (&text[1..], Takes::One),
    };
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let letter = name.starts_with(|ch: char| ch.is_ascii_alphabetic() || ch == '_');
    let is_name = !name.is_empty() && (digits || letter && name.bytes().all(good));
    is_name.then(|| (canonical(name).into(), takes))
}

fn program(word: &Word, first: &Expected) -> Result<Program, Fault> {
    let Expected::Literal(program) = first else {
        return Err(Fault::new(word.span, "the program cannot be a slot"));
    };
    let fault = |message| Fault::new(word.span, message);
    match &**program {
        "" => Err(fault("the program is empty")),
        program if program.starts_with('/') => Ok(Program::Absolute(PathBuf::from(program))),
        program if program.contains('/') => {
            Err(fault("a program with a `/` in it has to be an absolute path")
                .help("write the whole path, or the bare name and an `exec_path`"))
        }
        program => Ok(Program::Bare(program.into())),
    }
}

/// Checked by the text alone: of a path slot, `..` takes the last component away and no symlink is followed.
fn check_promise(rule: &Rule, promise: &Promise) -> Result<(), Fault> {
    let argv: Vec<_> = promise.argv.iter().map(String::as_str).collect();
    match (promise.holds, misfit(rule, &argv, &LexicalPaths)) {
        (Holds::Accepts, None) | (Holds::Refuses, Some(_)) => Ok(()),
        (Holds::Accepts, Some(misfit)) => {
            let why = misfit.explain(&argv);
            Err(Fault::new(promise.span, format!("the rule does not accept this: {why}")))
        }
        (Holds::Refuses, None) => Err(Fault::new(promise.span, "the rule accepts this, and must not")),
    }
}
