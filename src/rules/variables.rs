//! `$HOME` and `$XDG_RUNTIME_DIR` in words and path-valued attributes. Nothing else expands, and nothing expands
//! silently to nothing: every other name is an error.

use std::cell::Cell;

use super::diagnostic::Fault;
use super::lexer::{Glyph, Word};

/// The two variables that rules may name, from the broker's environment.
#[derive(Clone, Debug, Default)]
pub struct Vars {
    /// `$HOME`.
    pub home: Option<String>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<String>,
}

/// The variables of one load, and which of them its files named.
#[derive(Debug)]
pub(super) struct Variables<'v> {
    known: [(&'static str, Option<&'v str>, Cell<bool>); 2],
}

impl<'v> Variables<'v> {
    pub(super) fn new(vars: &'v Vars) -> Self {
        let unused = || Cell::new(false);
        let home = ("HOME", vars.home.as_deref(), unused());
        let runtime_dir = ("XDG_RUNTIME_DIR", vars.runtime_dir.as_deref(), unused());
        Self { known: [home, runtime_dir] }
    }

    /// Name and value of what was expanded so far.
    pub(super) fn used(&self) -> impl Iterator<Item = (&'static str, &'v str)> {
        self.known
            .iter()
            .filter(|(.., used)| used.get())
            .filter_map(|(name, value, _)| Some((*name, (*value)?)))
    }

    /// The word with its variables replaced.
    pub(super) fn expand(&self, word: &Word) -> Result<String, Fault> {
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
    pub(super) fn value_at(&self, word: &Word, at: usize) -> Result<Option<(&'v str, usize)>, Fault> {
        let Some((name, end)) = name_at(word, at)? else { return Ok(None) };
        let fault = |message: String| {
            let fault = Fault::new(word.part(at, end), message);
            fault.help(format!(
                "only $HOME and $XDG_RUNTIME_DIR expand; for a literal ${name}, put it in single quotes"
            ))
        };
        let known = self.known.iter().find(|(known, ..)| *known == name);
        let (_, value, used) =
            known.ok_or_else(|| fault(format!("${name} is not a variable that rules may use")))?;
        used.set(true);
        let value = value.filter(|value| !value.is_empty());
        value.map(|value| Some((value, end))).ok_or_else(|| fault(format!("${name} is not set")))
    }
}

/// The name of the variable that begins at glyph `at`, and the glyph behind it; a lone `$` begins none.
fn name_at(word: &Word, at: usize) -> Result<Option<(String, usize)>, Fault> {
    let active = |index: usize| word.glyphs.get(index).filter(|glyph| !glyph.data).map(|glyph| glyph.ch);
    if active(at) != Some('$') {
        return Ok(None);
    }
    if active(at + 1) == Some('{') {
        return braced(word, at).map(Some);
    }
    if !active(at + 1).is_some_and(|ch| ch.is_ascii_alphabetic() || ch == '_') {
        return Ok(None);
    }
    let length = word.glyphs[at + 1..].iter().take_while(|glyph| !glyph.data && in_name(glyph.ch)).count();
    Ok(Some((name(&word.glyphs[at + 1..=at + length]), at + 1 + length)))
}

fn braced(word: &Word, at: usize) -> Result<(String, usize), Fault> {
    let inner = &word.glyphs[at + 2..];
    let length = inner.iter().position(|glyph| glyph.ch == '}' || glyph.data || !in_name(glyph.ch));
    match length.filter(|&length| inner[length].ch == '}' && length > 0) {
        Some(length) => Ok((name(&inner[..length]), at + 3 + length)),
        None => Err(Fault::new(word.part(at, at + 2), "`${` begins no variable's name")
            .help("write ${HOME} or ${XDG_RUNTIME_DIR}; for a literal `${`, put it in single quotes")),
    }
}

fn in_name(ch: char) -> bool {
    ch.is_ascii_alphanumeric() || ch == '_'
}

fn name(glyphs: &[Glyph]) -> String {
    glyphs.iter().map(|glyph| glyph.ch).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lexer::Line;
    use super::*;

    fn check(text: &str, want: Option<&str>) {
        let vars = Vars { home: Some("/home/a b".into()), runtime_dir: None };
        let words = Line { text, file: 0, number: 0 }.tail(0).words().expect("the line is good");
        assert_eq!(Variables::new(&vars).expand(&words[0]).ok().as_deref(), want);
    }

    #[test]
    fn home_expands_outside_single_quotes() {
        check("$HOME/x", Some("/home/a b/x"));
        check("\"${HOME}/x\"", Some("/home/a b/x"));
        check("'$HOME/x'", Some("$HOME/x"));
        check(r"\$HOME", Some("$HOME"));
    }

    #[test]
    fn a_lone_dollar_stays() {
        check("a$", Some("a$"));
        check("$1$$(", Some("$1$$("));
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
