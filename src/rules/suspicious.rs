//! Warnings of words that are most likely mistakes: a shell's syntax, which no shell reads here, typographic
//! characters copied from a page, and slots that are not whole words. Each warning has a fix.

use super::draft::slot_name;
use super::fault::{RulesFault, SourceSpan};
use super::vocabulary::is_attribute;
use super::word::{QuotedChar, QuotedWord, Quoting};

/// The warning for a word; `None` for most.
pub(super) fn odd(word: &QuotedWord) -> Option<RulesFault> {
    if slot_name(word).is_some() {
        return None;
    }
    from_a_page(word)
        .or_else(|| comment_sign(word))
        .or_else(|| half_slot(word))
        .or_else(|| operator(word))
        .or_else(|| substitution(word))
        .or_else(|| file_names(word))
}

/// The warning for `#` or `//` as a word: the beginning of a comment in another language.
fn comment_sign(word: &QuotedWord) -> Option<RulesFault> {
    let text = word.text();
    (!word.quoted && matches!(&*text, "#" | "//")).then(|| {
        let message = format!("`{text}` is a word here, and not the beginning of a comment");
        RulesFault::new(word.span, message).help("a comment begins with `;`; for the text, quote it")
    })
}

/// The warning for the first word of a rule; `None` for most.
pub(super) fn odd_program(word: &QuotedWord) -> Option<RulesFault> {
    if word.quoted {
        return None;
    }
    let text = word.text();
    let fault = |message: String, help: &str| Some(RulesFault::new(word.span, message).help(help));
    if text.starts_with('#')
        || text.starts_with("//")
        || text.starts_with("/*")
        || matches!(&*text, "--" | "%")
    {
        let message = format!("`{text}` is a program here, and not the beginning of a comment");
        return fault(message, "a comment begins with `;`");
    }
    if let Some((name, _)) = text.split_once('=').filter(|(name, _)| is_name(name)) {
        let message = format!("`{text}` is a program here: no shell sets a variable");
        let attribute = format!("indent the line: `  {name} = …`");
        let help = if is_attribute(name) {
            attribute
        } else {
            format!("write the command alone, and `setenv = {text}` below it")
        };
        return fault(message, &help);
    }
    if matches!(&*text, "!" | "[[" | "{" | "if" | "for" | "while" | "case" | "until" | "function" | "time") {
        let message = format!("`{text}` is a program here, and not a word of a shell's language");
        return fault(message, "put a script into one word: /bin/sh -c '…'");
    }
    None
}

fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|ch: char| ch.is_ascii_alphabetic() || ch == '_');
    starts && text.chars().all(|ch| ch.is_ascii_alphanumeric() || ch == '_')
}

/// The first character that `is_odd` accepts, with its place.
fn find(word: &QuotedWord, is_odd: impl Fn(&QuotedChar) -> bool) -> Option<(usize, char)> {
    word.glyphs.iter().position(is_odd).map(|at| (at, word.glyphs[at].ch))
}

/// The warning for typographic blanks, quotes and dashes, as text copied from a page has them.
fn from_a_page(word: &QuotedWord) -> Option<RulesFault> {
    let (at, ch) = find(word, |glyph| glyph.quoting == Quoting::Bare && typeset(glyph.ch).is_some())?;
    let (is, help) = typeset(ch)?;
    let message = format!("U+{:04X} is {is}, and a part of this word", u32::from(ch));
    Some(RulesFault::new(word.part(at, at + 1), message).help(help))
}

/// The description of a character that looks like a plain one, and the fix.
fn typeset(ch: char) -> Option<(&'static str, &'static str)> {
    Some(match ch {
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => {
            ("not seen", "remove it, or put the word into quotes")
        }
        ch if ch.is_whitespace() && !ch.is_ascii() => {
            ("no plain blank", "write a plain blank; to mean it, put the word into quotes")
        }
        '\u{2018}'..='\u{201f}' | '\u{2032}' | '\u{2033}' | '\u{ab}' | '\u{bb}' | '\u{2039}' | '\u{203a}' => {
            ("a typographic quote", "write ' or \"; to mean it, put the word into quotes")
        }
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => {
            ("a typographic dash", "write `-`, or `--`; to mean it, put the word into quotes")
        }
        '\u{ff01}'..='\u{ff5e}' | '\u{2026}' => {
            ("a typographic form", "write the plain character; to mean it, put the word into quotes")
        }
        _ => return None,
    })
}

/// The warning for a slot that is not a whole word, or is written in another tool's form.
fn half_slot(word: &QuotedWord) -> Option<RulesFault> {
    let text = word.text();
    if word.quoted {
        return None;
    }
    let (name, whole) = hole(&text)?;
    let message = format!("`{text}` is text, and no slot");
    let help = if whole {
        format!("a slot is written `#{name}`, with a line `{name} = REGEX` below; for the text, quote it")
    } else {
        format!("{}; for the text, quote it", whole_slot(&text, name))
    };
    Some(RulesFault::new(word.span, message).help(help))
}

/// The fix for a word of which a part looks like a slot.
fn whole_slot(text: &str, name: &str) -> String {
    if text.strip_prefix('#').and_then(|rest| rest.strip_suffix('?')) == Some(name) {
        return format!("a slot is a whole word: `#{name}`; where it may be missing, write two rules");
    }
    let (word, dots) = text.strip_suffix("...").map_or((text, ""), |word| (word, "..."));
    let mut parts = word.split('#');
    let mut regex = escaped(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|ch: char| !(ch.is_ascii_alphanumeric() || ch == '_')).unwrap_or(part.len());
        regex.push_str(if end == 0 { "#" } else { "[a-z]+" });
        regex.push_str(&escaped(&part[end..]));
    }
    let dash = if regex.starts_with('-') { format!(" and `allow_dash = {name}`") } else { String::new() };
    format!("a slot is a whole word: `#{name}{dots}`, with `{name} = {regex}`{dash} below")
}

/// A text as a regex that matches it.
fn escaped(text: &str) -> String {
    let sign = |ch: &char| r".+*?()|[]{}^$\".contains(*ch);
    text.chars().flat_map(|ch| Some('\\').filter(|_| sign(&ch)).into_iter().chain([ch])).collect()
}

/// The name in a word that looks like a slot, and whether the slot is the whole word.
fn hole(text: &str) -> Option<(&str, bool)> {
    for (open, close) in [("{{", "}}"), ("{", "}"), ("<", ">"), ("[", "]"), ("%", "%")] {
        let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        if let Some(name) = inner.filter(|name| is_name(name)) {
            return Some((name, true));
        }
    }
    let at = text.match_indices('#').map(|(at, _)| at).find(|&at| {
        let is_apart = at == 0 || text[..at].ends_with(['/', '=', ':', ',', '.', '@', '-', '+']);
        is_apart && text[at + 1..].starts_with(|ch: char| ch.is_ascii_alphanumeric() || ch == '_')
    })?;
    let rest = &text[at + 1..];
    let end = rest.find(|ch: char| !(ch.is_ascii_alphanumeric() || ch == '_')).unwrap_or(rest.len());
    Some((&rest[..end], false))
}

fn shell(word: &QuotedWord, span: SourceSpan, message: String) -> RulesFault {
    let quoted = word.text().replace('\'', r"'\''");
    let help =
        format!("for a shell's work, write a script: /bin/sh -c '…'; for the text, quote it: '{quoted}'");
    RulesFault::new(span, message).help(help)
}

/// The warning for a shell's operators, such as `|`, `&&`, `2>&1`.
fn operator(word: &QuotedWord) -> Option<RulesFault> {
    let is_operator = |glyph: &QuotedChar| glyph.quoting == Quoting::Bare && "|&<>()".contains(glyph.ch);
    let (at, _) = find(word, is_operator)?;
    let length = word.glyphs[at..].iter().take_while(|glyph| is_operator(glyph)).count();
    let sign: String = word.glyphs[at..at + length].iter().map(|glyph| glyph.ch).collect();
    let message = format!("`{sign}` is text: no shell reads this line");
    Some(shell(word, word.part(at, at + length), message))
}

/// The warning for a shell's substitutions: backquotes, `$(…)`, `$1`.
fn substitution(word: &QuotedWord) -> Option<RulesFault> {
    let special = |pair: &[QuotedChar]| {
        pair[0].ch == '$'
            && pair[0].is_active()
            && pair[1].is_active()
            && pair[0].end == pair[1].at
            && (pair[1].ch.is_ascii_digit() || "(@*?!#$-".contains(pair[1].ch))
    };
    let dollar = word.glyphs.windows(2).position(special).map(|at| (at, at + 2));
    let tick = || find(word, |glyph| glyph.ch == '`' && glyph.is_active()).map(|(at, _)| (at, at + 1));
    let (from, to) = dollar.or_else(tick)?;
    let sign: String = word.glyphs[from..to].iter().map(|glyph| glyph.ch).collect();
    Some(shell(word, word.part(from, to), format!("{sign:?} is text: no shell puts anything in its place")))
}

/// The warning for `*.txt`, `~/x` or `{a,b}`, which a shell replaces by names of files, or by several words.
fn file_names(word: &QuotedWord) -> Option<RulesFault> {
    let bare = |ch: char| find(word, |glyph| glyph.is_bare(ch)).map(|(at, _)| at);
    let is_home = |at: usize| at == 0 || word.glyphs[at - 1].is_bare('=') || word.glyphs[at - 1].is_bare(':');
    if let Some(at) = bare('~').filter(|&at| is_home(at)) {
        let fault = RulesFault::new(word.part(at, at + 1), "`~` is text: no shell puts a home in its place");
        return Some(fault.help("write $HOME; for the text, quote it"));
    }
    let is_url = word.text().contains("://");
    let brackets = || bare('[').filter(|&open| bare(']').is_some_and(|close| close > open + 1));
    let star = bare('*').or_else(|| bare('?').filter(|_| !is_url)).or_else(brackets);
    if let Some(at) = star {
        let message = format!("`{}` is text: no shell looks for files", word.glyphs[at].ch);
        let fault = RulesFault::new(word.part(at, at + 1), message);
        return Some(
            fault
                .help("let the caller name files: a slot `#f...`, with `f = in DIR`; for the text, quote it"),
        );
    }
    let open = bare('{')?;
    let inner: String =
        word.glyphs[open..].iter().take_while(|glyph| !glyph.is_bare('}')).map(|glyph| glyph.ch).collect();
    let is_list = bare('}').is_some() && (inner.contains(',') || inner.contains(".."));
    is_list.then(|| {
        shell(word, word.part(open, open + 1), "`{` is text: no shell makes several words of it".into())
    })
}
