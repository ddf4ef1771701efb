//! Parses the places that a profile names: words with paths, each absolute or relative to the `cwd` of the
//! rule for which the profile holds. Nothing is looked up on the disk.

use std::path::{Component, Path, PathBuf};

use super::confinement::ConfinedPath;
use super::fault::{RulesFault, SourceSpan};
use super::files::normalized;
use super::variables::LoadVariables;
use super::word::QuotedWord;

/// A place as a stanza names it.
#[derive(Clone, Debug)]
pub(super) struct StatedPlace {
    /// Without `.`, and without a `/` at its end; empty for the `cwd` itself.
    pub(super) path: PathBuf,
    /// Whether it may be absent.
    pub(super) optional: bool,
    /// The word in a rules file; `None` in a built-in profile.
    pub(super) span: Option<SourceSpan>,
}

impl StatedPlace {
    /// The place for a rule with this `cwd`.
    pub(super) fn below(&self, cwd: &Path) -> ConfinedPath {
        ConfinedPath { path: normalized(&cwd.join(&self.path)), optional: self.optional }
    }

    /// Whether a rule's `cwd` decides where it is.
    pub(super) fn is_relative(&self) -> bool {
        self.path.is_relative()
    }

    /// The path, as a person writes it.
    pub(super) fn shown(&self) -> String {
        let path = self.path.to_string_lossy();
        if path.is_empty() { ".".into() } else { path.into_owned() }
    }
}

/// The places in these words; none for the word `none`.
pub(super) fn places(words: &[QuotedWord], vars: &LoadVariables<'_>) -> Result<Vec<StatedPlace>, RulesFault> {
    if let [word] = words
        && is_word(word, "none")
    {
        return Ok(Vec::new());
    }
    words.iter().map(|word| place(word, vars)).collect()
}

/// The place in a word.
pub(super) fn place(word: &QuotedWord, vars: &LoadVariables<'_>) -> Result<StatedPlace, RulesFault> {
    if let Some(fault) = no_place(word) {
        return Err(fault);
    }
    let text = vars.expand(word)?;
    let (path, optional) = text.strip_prefix('-').map_or((&*text, false), |path| (path, true));
    if path.ends_with(',') {
        let fault = RulesFault::new(word.span, "places stand between blanks, without commas");
        return Err(fault.help(format!("write `{}`", text.trim_end_matches(','))));
    }
    if path.is_empty() {
        let fault = RulesFault::new(word.span, "a place is missing here");
        return Err(fault.help("write a path, with a `-` in front if it may be absent: `-/opt`"));
    }
    let path = Path::new(path);
    if path.components().any(|component| component == Component::ParentDir) {
        let fault = RulesFault::new(word.span, "a place has no `..` in its path");
        return Err(fault.help("write the whole path: `/DIR` or `$HOME/DIR`"));
    }
    Ok(StatedPlace { path: normalized(path), optional, span: Some(word.span) })
}

/// The problem of a word that is meant as something else than a path.
fn no_place(word: &QuotedWord) -> Option<RulesFault> {
    let fault = |message: String, help: &str| Some(RulesFault::new(word.span, message).help(help));
    let text = word.text();
    let list = |sign: char| {
        let joined = [format!("{sign}/"), format!("{sign}$"), format!("{sign}-/")];
        !word.quoted && joined.iter().any(|joined| text.contains(joined))
    };
    let bare = text.strip_prefix('-').unwrap_or(&text);
    match &*text {
        "none" if !word.quoted => {
            fault("`none` stands alone".into(), "leave it out; for a file of this name, write `./none`")
        }
        "any" | "all" if !word.quoted => fault(
            format!("`{text}` is no place"),
            "leave the key out: a list that nobody sets restricts nothing; for a file of this name, put `./` in front",
        ),
        _ if !word.quoted && bare.starts_with('~') => fault(
            "`~` is text: no shell puts a home in its place".into(),
            "write $HOME; for the text, put `./` in front",
        ),
        _ if list(',') || list(':') => fault(
            "places stand between blanks".into(),
            "write `/DIR /DIR`; for a path with this sign in it, put the word into quotes",
        ),
        _ => None,
    }
}

/// Whether a word is this one, unquoted.
pub(super) fn is_word(word: &QuotedWord, text: &str) -> bool {
    !word.quoted && word.text() == text
}
