//! Text that is safe to show. What comes from a rules file or a caller must neither drive a terminal nor read as
//! something else, so control and invisible characters are spelled out.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character acts on a terminal, changes the direction of text, or is not seen at all.
pub fn is_hidden(ch: char) -> bool {
    ch.is_control()
        || matches!(ch,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with every hidden character as `\u{…}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars().for_each(|ch| push_visible(&mut shown, ch));
    Cow::Owned(shown)
}

/// One word as a shell would take it: as it is when it is plain, else in single quotes; with hidden characters as
/// `$'…'`. Different words never look the same.
pub fn quoted(word: &str) -> Cow<'_, str> {
    if !word.is_empty() && word.bytes().all(is_plain) {
        return Cow::Borrowed(word);
    }
    if !word.contains(is_hidden) {
        return Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")));
    }
    let mut shown = String::from("$'");
    for ch in word.chars() {
        if matches!(ch, '\'' | '\\') {
            shown.push('\\');
        }
        push_visible(&mut shown, ch);
    }
    shown.push('\'');
    Cow::Owned(shown)
}

/// One word as bash would take it, in printable ASCII.
pub fn quoted_ascii(word: &str) -> Cow<'_, str> {
    if word.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return quoted(word);
    }
    let mut shown = String::from("$'");
    for ch in word.chars() {
        let written = match ch {
            '\'' | '\\' => write!(shown, "\\{ch}"),
            ' '..='~' => write!(shown, "{ch}"),
            '\0'..='\u{ffff}' => write!(shown, "\\u{:04x}", u32::from(ch)),
            '\u{10000}'.. => write!(shown, "\\U{:08x}", u32::from(ch)),
        };
        written.expect("a string takes every write");
    }
    shown.push('\'');
    Cow::Owned(shown)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte)
}

fn push_visible(shown: &mut String, ch: char) {
    if is_hidden(ch) {
        write!(shown, "\\u{{{:x}}}", u32::from(ch)).expect("a string takes every write");
    } else {
        shown.push(ch);
    }
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
        check("a\u{1b}\\'b\u{202e}", r"$'a\u{1b}\\\'b\u{202e}'");
    }

    #[test]
    fn in_ascii_a_shell_reads_the_same_word() {
        let check = |word: &str, want: &str| assert_eq!(quoted_ascii(word), want);
        check("it's", r"'it'\''s'");
        check("--a=b", "--a=b");
        check("a\n'\\", r"$'a\u000a\'\\'");
        check("caf\u{e9}\u{1f600}", r"$'caf\u00e9\U0001f600'");
    }

    #[test]
    fn hidden_characters_are_spelled_out() {
        assert_eq!(visible("a\tb\u{feff}"), "a\\u{9}b\\u{feff}");
        assert_eq!(visible("plain; text"), "plain; text");
    }
}
