//! Expands `$HOME` and `$XDG_RUNTIME_DIR` in words and path-valued attributes. Every other name is an error,
//! and so is a variable that is not set, or whose value is no absolute path.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::text::quoted;

use super::fault::{RulesFault, SourceSpan};
use super::word::{QuotedChar, QuotedWord};

/// The two variables that rules may name, as they are in the broker's environment. **Untrusted**: they are
/// checked where they are used.
#[derive(Clone, Debug, Default)]
pub struct VariableValues {
    /// `$HOME`.
    pub home: Option<OsString>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<OsString>,
}

/// The variables of one load, and which of them its files named.
#[derive(Debug)]
pub(super) struct LoadVariables<'v> {
    known: [(&'static str, Option<&'v OsStr>, Cell<bool>); 2],
}

impl<'v> LoadVariables<'v> {
    pub(super) fn new(vars: &'v VariableValues) -> Self {
        let unused = || Cell::new(false);
        let home = ("HOME", vars.home.as_deref(), unused());
        let runtime_dir = ("XDG_RUNTIME_DIR", vars.runtime_dir.as_deref(), unused());
        Self { known: [home, runtime_dir] }
    }

    /// The names and values of the variables that were expanded so far.
    pub(super) fn used(&self) -> impl Iterator<Item = (&'static str, &'v str)> {
        self.known
            .iter()
            .filter(|(.., used)| used.get())
            .filter_map(|(name, value, _)| Some((*name, (*value)?.to_str()?)))
    }

    /// The home, where it is an absolute path; the files need not name it.
    pub(super) fn home(&self) -> Option<&'v Path> {
        let (_, home, _) = &self.known[0];
        home.map(Path::new).filter(|home| home.is_absolute())
    }

    /// The word with its variables replaced.
    pub(super) fn expand(&self, word: &QuotedWord) -> Result<String, RulesFault> {
        let mut text = String::with_capacity(word.glyphs.len());
        let mut at = 0;
        while let Some(glyph) = word.glyphs.get(at) {
            if let Some((value, end)) = self.value_at(word, at)? {
                text.push_str(value);
                at = end;
            } else {
                text.push(glyph.ch);
                at += 1;
            }
        }
        Ok(text)
    }

    /// The value of the variable that begins at glyph `at`, and the glyph behind it.
    pub(super) fn value_at(
        &self,
        word: &QuotedWord,
        at: usize,
    ) -> Result<Option<(&'v str, usize)>, RulesFault> {
        let Some((name, end)) = name_at(word, at)? else { return Ok(None) };
        let fault = |message: String| {
            let fault = RulesFault::new(word.part(at, end), message);
            fault.help(format!(
                "only $HOME and $XDG_RUNTIME_DIR expand; for a literal ${name}, put it in single quotes"
            ))
        };
        let known = self.known.iter().find(|(known, ..)| *known == name);
        let (_, value, used) =
            known.ok_or_else(|| fault(format!("${name} is not a variable that rules may use")))?;
        used.set(true);
        match value.filter(|value| !value.is_empty()) {
            None => Err(fault(format!("${name} is not set"))),
            Some(value) => match value.to_str().filter(|value| is_path(value)) {
                Some(path) => Ok(Some((path, end))),
                None => Err(unusable(word.part(at, end), &name, value)),
            },
        }
    }
}

/// Whether a variable's value can stand in the place of its name: an absolute path in one line of UTF-8.
fn is_path(value: &str) -> bool {
    value.starts_with('/') && !value.contains(char::is_control)
}

fn unusable(span: SourceSpan, name: &str, value: &OsStr) -> RulesFault {
    let shown = value.to_string_lossy();
    let message = format!("${name} is {}, which is not an absolute path of plain UTF-8", quoted(&shown));
    RulesFault::new(span, message).help("set it for the broker, or write the path out")
}

/// The name of the variable that begins at glyph `at`, and the glyph behind it; a lone `$` begins none. A
/// quote ends a name, as it does in a shell.
fn name_at(word: &QuotedWord, at: usize) -> Result<Option<(String, usize)>, RulesFault> {
    let glyphs = &word.glyphs[at..];
    if !glyphs.first().is_some_and(|glyph| glyph.ch == '$' && glyph.is_active()) {
        return Ok(None);
    }
    let goes_on = |pair: &&[QuotedChar]| pair[0].end == pair[1].at && pair[1].is_active();
    let length = 1 + glyphs.windows(2).take_while(goes_on).count();
    let glyphs = &glyphs[1..length];
    let in_name = glyphs.iter().take_while(|glyph| in_name(glyph.ch)).count();
    match glyphs.first().map(|glyph| glyph.ch) {
        Some('{') => braced(word, at, &glyphs[1..]).map(Some),
        Some('a'..='z' | 'A'..='Z' | '_') => Ok(Some((name(&glyphs[..in_name]), at + 1 + in_name))),
        Some(_) | None => Ok(None),
    }
}

fn braced(word: &QuotedWord, at: usize, inner: &[QuotedChar]) -> Result<(String, usize), RulesFault> {
    let length = inner.iter().position(|glyph| !in_name(glyph.ch));
    match length.filter(|&length| inner[length].ch == '}' && length > 0) {
        Some(length) => Ok((name(&inner[..length]), at + 3 + length)),
        None => Err(RulesFault::new(word.part(at, at + 2), "`${` begins no variable's name")
            .help("write ${HOME} or ${XDG_RUNTIME_DIR}; for a literal `${`, put it in single quotes")),
    }
}

fn in_name(ch: char) -> bool {
    ch.is_ascii_alphanumeric() || ch == '_'
}

fn name(glyphs: &[QuotedChar]) -> String {
    glyphs.iter().map(|glyph| glyph.ch).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lexer::LineTail;
    use super::super::word::SourceLine;
    use super::*;

    fn check(text: &str, want: Option<&str>) {
        let vars = VariableValues { home: Some("/home/a b".into()), runtime_dir: None };
        let words = LineTail::new(SourceLine { text, file: 0, number: 0 }, 0)
            .words()
            .expect("the line is good")
            .words;
        assert_eq!(LoadVariables::new(&vars).expand(&words[0]).ok().as_deref(), want);
    }

    #[test]
    fn home_expands_outside_single_quotes() {
        check("$HOME/x", Some("/home/a b/x"));
        check("\"${HOME}/x\"", Some("/home/a b/x"));
        check("'$HOME/x'", Some("$HOME/x"));
        check(r"\$HOME", Some("$HOME"));
        check(r"$'$HOME'", Some("$HOME"));
        check(r#""\$HOME""#, Some("$HOME"));
    }

    #[test]
    fn a_quote_ends_a_name() {
        check("$HOME\"S\"", Some("/home/a bS"));
        check("\"$\"HOME", Some("$HOME"));
        check("$HO\"ME\"", None);
        check("${HO\"ME\"}", None);
    }

    #[test]
    fn a_lone_dollar_stays() {
        check("a$", Some("a$"));
        check("$1$$(", Some("$1$$("));
    }

    #[test]
    fn a_value_that_is_no_path_is_an_error() {
        for home in ["relative/h", "", "/h\nx", "~"] {
            let vars = VariableValues { home: Some(home.into()), runtime_dir: None };
            let words = LineTail::new(SourceLine { text: "$HOME/x", file: 0, number: 0 }, 0)
                .words()
                .expect("it is good");
            assert!(LoadVariables::new(&vars).expand(&words.words[0]).is_err(), "{home:?}");
        }
    }

    #[test]
    fn any_other_name_is_an_error() {
        check("$USER", None);
        check("$HOMES", None);
        check("$XDG_RUNTIME_DIR", None);
        check("${HOME", None);
        check("${}", None);
        check("${HOME-x}", None);
    }
}
