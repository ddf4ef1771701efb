//! Text that is safe to show. Text from a rules file or a caller must neither control a terminal nor look
//! like other text, so control characters and invisible characters are spelled out.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character controls a terminal, changes the direction of text, or is invisible.
pub fn is_hidden(ch: char) -> bool {
    ch.is_control()
        || matches!(ch,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text with every hidden character as `\u{…}`: for text of the operator, and messages that quote it.
pub fn visible(text: &str) -> Cow<'_, str> {
    spelled(text, is_hidden)
}

/// The text with every hidden or unclear character as `\u{…}`: for text that a caller chose.
pub fn printable(text: &str) -> Cow<'_, str> {
    spelled(text, is_unclear)
}

/// The text with each character that `is_spelled` names as `\u{…}`.
fn spelled(text: &str, is_spelled: fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(is_spelled) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for ch in text.chars() {
        if is_spelled(ch) {
            write!(shown, "\\u{{{:x}}}", u32::from(ch)).expect("a string takes every write");
        } else {
            shown.push(ch);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character is hidden, or cannot be recognised by itself: a blank other than the space, an accent
/// that joins the letter before it, a character that this version of Unicode does not have.
fn is_unclear(ch: char) -> bool {
    // `escape_debug` leaves a character as it is when Rust's tables have it as printable.
    is_hidden(ch) || !ch.is_ascii() && ch.escape_debug().len() != 1
}

/// One word as bash reads it: as it is when it is plain, else in single quotes; with hidden or unclear
/// characters as `$'…'`.
pub fn quoted(word: &str) -> Cow<'_, str> {
    if !word.is_empty() && word.bytes().all(is_plain) {
        return Cow::Borrowed(word);
    }
    if !word.contains(is_unclear) {
        return Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")));
    }
    Cow::Owned(ansi_quoted(word, is_unclear))
}

/// One word as bash reads it, in printable ASCII.
pub fn quoted_ascii(word: &str) -> Cow<'_, str> {
    let is_other = |ch: char| !matches!(ch, ' '..='~');
    if word.contains(is_other) { Cow::Owned(ansi_quoted(word, is_other)) } else { quoted(word) }
}

/// A command line that bash, when it is pasted, reads as exactly these words: a program that bash would take
/// for an assignment or for a reserved word is quoted.
pub fn command_line<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    joined(words, quoted)
}

/// [`command_line`] in printable ASCII.
pub fn command_line_ascii<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    joined(words, quoted_ascii)
}

fn joined<W: AsRef<str>>(words: impl IntoIterator<Item = W>, quote: fn(&str) -> Cow<'_, str>) -> String {
    let mut line = String::new();
    for (at, word) in words.into_iter().enumerate() {
        let word = word.as_ref();
        let shown = quote(word);
        match (at, &shown) {
            (0, Cow::Borrowed(plain)) if plain.contains('=') || RESERVED.contains(plain) => {
                write!(line, "'{plain}'").expect("a string takes every write");
            }
            (0, _) => line.push_str(&shown),
            _ => write!(line, " {shown}").expect("a string takes every write"),
        }
    }
    line
}

/// Plain words that bash reserves at the beginning of a command. Reserved words that are not plain are
/// quoted anyway.
const RESERVED: [&str; 17] = [
    "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select",
    "then", "time", "until", "while",
];

/// A word in `$'…'`, in which the characters that `is_other` names are escapes.
fn ansi_quoted(word: &str, is_other: impl Fn(char) -> bool) -> String {
    let mut shown = String::from("$'");
    for ch in word.chars() {
        let written = match ch {
            '\'' | '\\' => write!(shown, "\\{ch}"),
            ch if !is_other(ch) => write!(shown, "{ch}"),
            '\n' => write!(shown, "\\n"),
            '\r' => write!(shown, "\\r"),
            '\t' => write!(shown, "\\t"),
            '\0'..='\u{7f}' => write!(shown, "\\x{:02x}", u32::from(ch)),
            '\u{80}'..='\u{ffff}' => write!(shown, "\\u{:04x}", u32::from(ch)),
            '\u{10000}'.. => write!(shown, "\\U{:08x}", u32::from(ch)),
        };
        written.expect("a string takes every write");
    }
    shown.push('\'');
    shown
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, want: &str) {
        assert_eq!(quoted(word), want);
    }

    #[test]
    fn a_word_is_quoted_when_it_is_not_plain() {
        check("--no-pager", "--no-pager");
        check("", "''");
        check("<n>", "'<n>'");
        check("it's", r"'it'\''s'");
        check("caf\u{e9}", "'caf\u{e9}'");
        check("cafe\u{301}", r"$'cafe\u0301'");
        check("a\u{a0}b", r"$'a\u00a0b'");
        check("a\u{1b}\\'b\u{202e}", r"$'a\x1b\\\'b\u202e'");
    }

    #[test]
    fn in_ascii_a_shell_reads_the_same_word() {
        let check = |word: &str, want: &str| assert_eq!(quoted_ascii(word), want);
        check("it's", r"'it'\''s'");
        check("--a=b", "--a=b");
        check("a\n'\\", r"$'a\n\'\\'");
        check("caf\u{e9}\u{1f600}", r"$'caf\u00e9\U0001f600'");
    }

    #[test]
    fn a_program_is_no_word_of_the_shells_language() {
        let check = |words: &[&str], want: &str| assert_eq!(command_line(words), want);
        check(&["git", "log", "a b"], "git log 'a b'");
        check(&["A=b", "c=d"], "'A=b' c=d");
        check(&["if", "if"], "'if' if");
        check(&[], "");
        assert_eq!(command_line_ascii(["a=\u{e9}", "x\ty"]), r"$'a=\u00e9' $'x\ty'");
    }

    #[test]
    fn hidden_characters_are_spelled_out() {
        assert_eq!(visible("a\tb\u{feff}"), "a\\u{9}b\\u{feff}");
        assert_eq!(visible("plain; text"), "plain; text");
    }

    #[test]
    fn only_what_is_printable_is_printed() {
        let check = |text: &str, want: &str| assert_eq!(printable(text), want);
        check("caf\u{e9} \u{4e2d}", "caf\u{e9} \u{4e2d}");
        check("\n\t\u{1b}\u{7f}\u{9b}", r"\u{a}\u{9}\u{1b}\u{7f}\u{9b}");
        check("\u{202e}\u{2066}\u{200b}\u{feff}", r"\u{202e}\u{2066}\u{200b}\u{feff}");
        check("\u{115f}\u{3164}", r"\u{115f}\u{3164}");
        check("\u{301}\u{e000}\u{2028}\u{a0}", r"\u{301}\u{e000}\u{2028}\u{a0}");
    }
}
