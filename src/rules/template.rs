//! Paths with placeholders. `#$call` and the other names with `#$` are replaced when the path is needed;
//! `$HOME` is replaced at load.

use std::fmt;
use std::path::PathBuf;

use crate::ids::{CallId, RuleLine, SocketName};

use super::fault::RulesFault;
use super::variables::LoadVariables;
use super::word::QuotedWord;

/// A path with placeholders (`#$call`, …), checked at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(Vec<TemplatePiece>);

/// The values of the placeholders. A manifest's template has no placeholder of a call, so it needs no values
/// for those.
#[derive(Clone, Debug, Default)]
pub struct TemplateValues {
    /// `#$call`
    pub call: Option<CallId>,
    /// `#$pid`: the caller's.
    pub pid: Option<u32>,
    /// `#$uid`: the caller's; the broker's where there is no call.
    pub uid: Option<u32>,
    /// `#$rule`
    pub rule: Option<RuleLine>,
    /// `#$ts_ms`, and in whole seconds `#$ts`.
    pub ts_ms: Option<u64>,
    /// `#$socket`
    pub socket: Option<SocketName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePiece {
    Text(String),
    Value(Placeholder),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Call,
    Pid,
    Uid,
    Rule,
    Ts,
    TsMs,
    Socket,
}

const PLACEHOLDERS: [(&str, Placeholder); 7] = [
    ("call", Placeholder::Call),
    ("pid", Placeholder::Pid),
    ("uid", Placeholder::Uid),
    ("rule", Placeholder::Rule),
    ("ts", Placeholder::Ts),
    ("ts_ms", Placeholder::TsMs),
    ("socket", Placeholder::Socket),
];

impl PathTemplate {
    /// The template of a manifest: absolute, and with no placeholder of a call.
    pub(super) fn manifest(word: &QuotedWord, vars: &LoadVariables<'_>) -> Result<Self, RulesFault> {
        Self::absolute(word, vars, Placeholder::is_known_at_open)
    }

    /// The template of a capture: absolute, with any placeholder.
    pub(super) fn capture(word: &QuotedWord, vars: &LoadVariables<'_>) -> Result<Self, RulesFault> {
        Self::absolute(word, vars, |_| true)
    }

    fn absolute(
        word: &QuotedWord,
        vars: &LoadVariables<'_>,
        known: fn(Placeholder) -> bool,
    ) -> Result<Self, RulesFault> {
        let template = Self::parse(word, vars, known)?;
        let absolute = matches!(template.0.first(), Some(TemplatePiece::Text(text)) if text.starts_with('/'));
        if absolute {
            return Ok(template);
        }
        Err(RulesFault::new(word.span, "this path is not absolute").help("begin it with `/` or `$HOME/`"))
    }

    fn parse(
        word: &QuotedWord,
        vars: &LoadVariables<'_>,
        known: fn(Placeholder) -> bool,
    ) -> Result<Self, RulesFault> {
        let (mut pieces, mut text, mut at) = (Vec::new(), String::new(), 0);
        while let Some(glyph) = word.glyphs.get(at) {
            if let Some((placeholder, end)) = placeholder_at(word, at, known)? {
                pieces.push(TemplatePiece::Text(std::mem::take(&mut text)));
                pieces.push(TemplatePiece::Value(placeholder));
                at = end;
            } else if let Some((value, end)) =
                vars.value_at(word, at).map_err(|fault| placed(fault, word, at))?
            {
                text.push_str(value);
                at = end;
            } else {
                text.push(glyph.ch);
                at += 1;
            }
        }
        pieces.push(TemplatePiece::Text(text));
        Ok(Self(pieces))
    }

    /// The path up to the first component that has a placeholder, with that component as it is written.
    pub(super) fn known_part(&self) -> PathBuf {
        let path = self.to_string();
        let Some(TemplatePiece::Text(known)) = self.0.first() else { return path.into() };
        let end = known.rfind('/').map_or(0, |slash| slash + 1);
        let end = if self.0.len() == 1 {
            path.len()
        } else {
            path[end..].find('/').map_or(path.len(), |more| end + more)
        };
        path[..end].into()
    }

    /// The path with its placeholders replaced.
    pub fn expand(&self, values: &TemplateValues) -> PathBuf {
        let pieces = self.0.iter().map(|piece| match piece {
            TemplatePiece::Text(text) => text.clone(),
            TemplatePiece::Value(placeholder) => placeholder.value(values).unwrap_or_default(),
        });
        pieces.collect::<String>().into()
    }
}

/// Adds the fix for a placeholder that lacks its `#`.
fn placed(fault: RulesFault, word: &QuotedWord, at: usize) -> RulesFault {
    let name = |ch: &char| ch.is_ascii_alphanumeric() || *ch == '_';
    let rest = word.glyphs[at..].iter().map(|glyph| glyph.ch).skip(1).skip_while(|ch| *ch == '{');
    let name: String = rest.take_while(name).collect();
    if PLACEHOLDERS.iter().any(|(known, _)| *known == name) {
        return fault.help(format!("write `#${name}`"));
    }
    fault
}

/// The template as it is written, its variables replaced.
impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            TemplatePiece::Text(text) => f.write_str(text),
            TemplatePiece::Value(value) => PLACEHOLDERS
                .iter()
                .filter(|(_, placeholder)| placeholder == value)
                .try_for_each(|(name, _)| write!(f, "#${name}")),
        })
    }
}

impl Placeholder {
    fn is_known_at_open(self) -> bool {
        match self {
            Self::Ts | Self::TsMs | Self::Uid | Self::Socket => true,
            Self::Call | Self::Pid | Self::Rule => false,
        }
    }

    fn value(self, values: &TemplateValues) -> Option<String> {
        match self {
            Self::Call => values.call.map(|call| call.to_string()),
            Self::Pid => values.pid.map(|pid| pid.to_string()),
            Self::Uid => values.uid.map(|uid| uid.to_string()),
            Self::Rule => values.rule.map(|rule| rule.to_string()),
            Self::Ts => values.ts_ms.map(|ts| (ts / 1000).to_string()),
            Self::TsMs => values.ts_ms.map(|ts| ts.to_string()),
            Self::Socket => values.socket.as_ref().map(component),
        }
    }
}

/// A socket's name as a part of one path component: it cannot lead elsewhere.
fn component(name: &SocketName) -> String {
    let name = name.as_str().replace(['/', '\0'], "_");
    if matches!(name.as_str(), "" | "." | "..") { "_".into() } else { name }
}

fn placeholder_at(
    word: &QuotedWord,
    at: usize,
    known: fn(Placeholder) -> bool,
) -> Result<Option<(Placeholder, usize)>, RulesFault> {
    let rest = &word.glyphs[at..];
    if !matches!(rest, [hash, dollar, ..] if hash.ch == '#' && dollar.ch == '$') {
        return Ok(None);
    }
    let name =
        rest[2..].iter().map(|glyph| glyph.ch).take_while(|ch| ch.is_ascii_alphanumeric() || *ch == '_');
    let name: String = name.collect();
    let end = at + 2 + name.len();
    let fault = |message| RulesFault::new(word.part(at, end), message);
    let Some((_, placeholder)) = PLACEHOLDERS.iter().find(|(word, _)| *word == name) else {
        let help = "the placeholders are #$call #$pid #$uid #$rule #$ts #$ts_ms #$socket";
        return Err(fault(format!("`#${name}` is not a placeholder")).help(help));
    };
    if !known(*placeholder) {
        let help = "use #$ts, #$ts_ms, #$uid or #$socket: the manifest is one file for all calls";
        return Err(fault(format!("`#${name}` is not known when the manifest is opened")).help(help));
    }
    Ok(Some((*placeholder, end)))
}

#[cfg(test)]
mod tests {
    use super::super::lexer::LineTail;
    use super::super::variables::VariableValues;
    use super::super::word::SourceLine;
    use super::*;

    fn check(text: &str, want: Option<&str>) {
        let vars = VariableValues { home: Some("/home/#$call".into()), runtime_dir: None };
        let word = LineTail::new(SourceLine { text, file: 0, number: 0 }, 0)
            .value()
            .ok()
            .flatten()
            .expect("a good value");
        let template = PathTemplate::manifest(&word, &LoadVariables::new(&vars)).ok();
        let values = TemplateValues {
            uid: Some(7),
            ts_ms: Some(12_345),
            socket: Some(SocketName::new("../a")),
            ..TemplateValues::default()
        };
        assert_eq!(template.map(|template| template.expand(&values)), want.map(PathBuf::from));
    }

    #[test]
    fn a_template_shows_as_it_is_written() {
        let vars = VariableValues { home: Some("/h".into()), runtime_dir: None };
        let text = "$HOME/#$socket/c#$call-#$ts_ms.out";
        let word = LineTail::new(SourceLine { text, file: 0, number: 0 }, 0)
            .value()
            .ok()
            .flatten()
            .expect("a good value");
        let template = PathTemplate::capture(&word, &LoadVariables::new(&vars)).expect("a good template");
        assert_eq!(template.to_string(), "/h/#$socket/c#$call-#$ts_ms.out");
    }

    #[test]
    fn placeholders_are_replaced() {
        check("/x/#$uid-#$ts.#$ts_ms/#$socket", Some("/x/7-12.12345/.._a"));
        check("'/a b/#$ts'", Some("/a b/12"));
    }

    #[test]
    fn what_a_variable_brings_is_not_a_placeholder() {
        check("$HOME/#$ts", Some("/home/#$call/12"));
    }

    #[test]
    fn unknown_late_and_relative_are_errors() {
        check("/x/#$tsx", None);
        check("/x/#$call", None);
        check("#$ts/x", None);
        check("x", None);
    }
}
