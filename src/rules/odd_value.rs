//! Warnings of attribute values that load, but are most likely mistakes: a comment in another language's
//! form, which is part of the value, and regexes that are written as another tool's pattern, as a list, or so
//! that no value matches. Each warning has a fix. A value in quotes is taken as meant, unless nothing can
//! match it.

use crate::limits::VALUE_BYTES_MAX;

use super::fault::{RulesFault, SourceSpan};
use super::pattern::SlotPattern;
use super::rule::{DashPolicy, Slot};
use super::word::QuotedWord;

/// The fix where a `#` or `//` was meant to begin a comment.
pub(super) const COMMENT: &str =
    "a comment begins with `;`; to mean the sign, put the value into single quotes";

/// The part of a value without quotes that looks like a comment: from a `#` or `//` behind a blank.
pub(super) fn comment(value: &QuotedWord) -> Option<SourceSpan> {
    let has_comments = value.quoted || value.text().starts_with("(?x");
    let bare = |at: usize, ch: char| value.glyphs.get(at).is_some_and(|glyph| glyph.is_bare(ch));
    let blank = |at: usize| value.glyphs.get(at).is_none_or(|glyph| glyph.ch.is_ascii_whitespace());
    let begins = |&at: &usize| {
        let is_sign =
            bare(at, '#') && !bare(at + 1, '$') || bare(at, '/') && bare(at + 1, '/') && blank(at + 2);
        blank(at - 1) && is_sign
    };
    let at = (1..value.glyphs.len()).find(begins).filter(|_| !has_comments)?;
    Some(value.part(at, value.glyphs.len()))
}

/// The warning for the regex of a slot; `None` for most.
pub(super) fn odd_regex(value: &QuotedWord, slot: &Slot, pattern: &SlotPattern) -> Option<RulesFault> {
    let text = value.text();
    let fault = |message: String, help: String| RulesFault::new(value.span, message).help(help);
    if comment(value).is_some() {
        return None;
    }
    if let Some(inner) = between_slashes(&text).filter(|_| !value.quoted || !pattern.can_match(|_| true)) {
        let message = format!("the slashes of `{text}` are a part of the value");
        return Some(fault(message, format!("write `{inner}`: a regex matches the whole value by itself")));
    }
    let meant =
        if value.quoted { None } else { list(&text).or_else(|| glob(&text)).or_else(|| spaced(&text)) };
    if let Some((message, help)) = meant.or_else(|| home(&text, value.quoted)) {
        return Some(fault(message, help + "; to mean the text, put it into single quotes"));
    }
    if !pattern.can_match(|_| true) {
        return Some(fault("no value matches this regex".into(), unmatched(&text)));
    }
    if pattern.shortest().is_some_and(|shortest| shortest > VALUE_BYTES_MAX) {
        let message = "no value is as long as this regex wants it".into();
        return Some(fault(message, format!("a value has at most {VALUE_BYTES_MAX} bytes")));
    }
    let is_dash = |first: Option<u8>| first == Some(b'-');
    let is_other = |first: Option<u8>| first.is_some_and(|first| first != b'-');
    if slot.dash == DashPolicy::Refused && pattern.can_match(is_dash) && !pattern.can_match(is_other) {
        let message = "only values that start with `-` match, and the slot takes none of them".into();
        return Some(fault(message, format!("add a line `allow_dash = {}`", slot.name)));
    }
    None
}

/// Whether a character has no meaning in a regex, or is a dot.
fn is_plain(ch: char) -> bool {
    ch.is_alphanumeric() || "_-./:@=".contains(ch)
}

/// The text between the slashes of `/…/`, without its anchors, if the slashes look like another tool's
/// delimiters.
fn between_slashes(text: &str) -> Option<&str> {
    let (inner, flags) = text.strip_prefix('/')?.rsplit_once('/')?;
    let is_anchored = inner.starts_with('^') || inner.ends_with('$');
    let is_regex = inner.contains(|ch| !is_plain(ch)) && !inner.replace("[^/]", "").contains('/');
    let is_delimited = is_anchored || is_regex && !inner.ends_with('\\');
    let is_whole = flags.chars().all(|ch| "gimsux".contains(ch));
    (is_delimited && is_whole).then(|| inner.trim_start_matches('^').trim_end_matches('$'))
}

/// The warning for `main, dev`, `main dev` or `[main|dev]`: a list where one of its words was meant.
fn list(text: &str) -> Option<(String, String)> {
    let inner = [("[", "]"), ("(", ")")].into_iter();
    let inner = inner.filter_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close)).next();
    let is_class = inner.is_some() && text.starts_with('[');
    let words =
        inner.unwrap_or(text).split(|ch: char| ch == ',' || ch.is_whitespace() || is_class && ch == '|');
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let is_word = |word: &&str| word.chars().all(|ch| is_plain(ch) && !(is_class && ch == '-'));
    let is_list = words.len() > 1 && words.iter().all(is_word);
    if !is_list || is_class && words.iter().all(|word| word.chars().count() < 2) {
        return None;
    }
    let words: Vec<_> = words.into_iter().filter(|word| *word != "or").collect();
    let what = if is_class { "one character" } else { "only that text" };
    Some((format!("`{text}` matches {what}"), format!("for one of these words, write `{}`", words.join("|"))))
}

/// The warning for `feature/*` or `*.txt`: a shell's pattern.
fn glob(text: &str) -> Option<(String, String)> {
    let chars: Vec<_> = text.chars().collect();
    let star = chars.windows(2).position(|pair| pair[1] == '*' && pair[0] != '.')?;
    if !text.chars().all(|ch| is_plain(ch) || ch == '*') {
        return None;
    }
    let message = format!("`*` repeats the `{}` before it, and stands for no other text", chars[star]);
    let regex = text.replace("**", ".*").replace('.', "\\.").replace("\\.*", ".*");
    let mut last = ' ';
    let regex: String = regex
        .chars()
        .map(|ch| {
            let is_star = ch == '*' && last != '.';
            last = ch;
            if is_star { "[^/]*".to_owned() } else { ch.to_string() }
        })
        .collect();
    Some((message, format!("write `{regex}`; for paths of files, `in DIR`")))
}

/// The warning for `main | dev`: the blanks are a part of the value.
fn spaced(text: &str) -> Option<(String, String)> {
    let words: Vec<_> = text.split('|').collect();
    let is_spaced = words.windows(2).any(|pair| pair[0].ends_with(' ') && pair[1].starts_with(' '));
    let trimmed: Vec<_> = words.iter().map(|word| word.trim()).collect();
    let message = "the blanks beside `|` are a part of the values".to_owned();
    is_spaced.then(|| (message, format!("write `{}`", trimmed.join("|"))))
}

/// The warning for `$HOME/…` or `~/…`, which are not replaced in a regex.
fn home(text: &str, is_quoted: bool) -> Option<(String, String)> {
    let (_, variable) = text.split_once('$').unwrap_or_default();
    let is_variable = ["HOME", "XDG_", "{HOME", "{XDG_"].iter().any(|name| variable.starts_with(name));
    let is_tilde = text.starts_with("~/") && !is_quoted;
    let sign = if is_variable { "$" } else { "~" };
    let message = format!("nothing is put in the place of `{sign}` in a regex");
    (is_variable || is_tilde).then(|| (message, "for a path below it, write `in $HOME/DIR`".to_owned()))
}

/// The fix for a regex that nothing matches.
fn unmatched(text: &str) -> String {
    if text.contains(['^', '$']) {
        r"leave `^` and `$` out: a regex matches the whole value by itself; for the sign, write `\^` or `\$`"
            .into()
    } else {
        "write a value that it should match below, as `accepts = COMMAND LINE`, and try parts of it".into()
    }
}
