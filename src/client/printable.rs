//! Text for a person's eyes: nothing in it may steer a terminal or look like something else.

use std::borrow::Cow;

/// `text` with every control, direction and invisible character written as `\u{…}`; newlines and tabs stay.
///
/// A listing is treated so wherever it goes, not only on a terminal: what is piped is shown in the end too, and an
/// honest listing has none of these characters to lose.
pub fn visible(text: &str) -> Cow<'_, str> {
    escape(text, |c| misleads(c) && !matches!(c, '\n' | '\t'))
}

/// `word` as one shell word on one line: plain where it can be, else in single quotes.
pub fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", escape(&word.replace('\'', r"'\''"), misleads)))
}

fn escape(text: &str, bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&bad) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if bad(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Controls, and the characters of Unicode that reorder, hide or break a line.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want_visible: &str, want_quoted: &str) {
        assert_eq!((&*visible(text), &*quoted(text)), (want_visible, want_quoted));
    }

    #[test]
    fn plain_text_is_left_alone() {
        check("--oneline", "--oneline", "--oneline");
        check("caf\u{e9} <n>", "caf\u{e9} <n>", "'caf\u{e9} <n>'");
        check("", "", "''");
        check("it's", "it's", r"'it'\''s'");
    }

    #[test]
    fn what_steers_a_terminal_or_hides_is_spelled_out() {
        check("\u{1b}[2J", r"\u{1b}[2J", r"'\u{1b}[2J'");
        check("a\u{202e}b\u{9b}", r"a\u{202e}b\u{9b}", r"'a\u{202e}b\u{9b}'");
        check("\u{e0041}\u{200b}", r"\u{e0041}\u{200b}", r"'\u{e0041}\u{200b}'");
    }

    #[test]
    fn a_listing_keeps_its_lines_and_a_word_stays_on_one() {
        check("a\n\tb\r", "a\n\tb\\u{d}", r"'a\u{a}\u{9}b\u{d}'");
    }
}
