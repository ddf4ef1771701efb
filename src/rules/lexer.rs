//! Splits lines into words and values. `scanner.rs` reads the quotes, `ansi.rs` the escapes of `$'…'`.

use super::fault::{RulesFault, SourceSpan};
use super::scanner::{BackslashRule, WordScanner};
use super::word::{QuotedWord, SourceLine};

/// The part of a line behind a `=`, or a whole rule line.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineTail<'s> {
    line: SourceLine<'s>,
    start: usize,
}

/// The words of a line, and the comment behind them.
#[derive(Debug)]
pub(super) struct LineWords {
    pub(super) words: Vec<QuotedWord>,
    /// The comment, from its `;` to the end of the line.
    pub(super) comment: Option<SourceSpan>,
}

impl<'s> LineTail<'s> {
    /// The line from byte `start` on.
    pub(super) fn new(line: SourceLine<'s>, start: usize) -> Self {
        Self { line, start }
    }

    /// Its words, as on a rule line, up to a `;` that begins a word.
    pub(super) fn words(&self) -> Result<LineWords, RulesFault> {
        let mut scanner = WordScanner::new(self.line, self.start, BackslashRule::Shell);
        let mut words = Vec::new();
        while let Some(word) = scanner.word()? {
            words.push(word);
        }
        Ok(LineWords { words, comment: scanner.remains() })
    }

    /// Its one value: a quoted word, or everything up to a `;` that is not written `\;`. `None` when there is
    /// none.
    pub(super) fn value(&self) -> Result<Option<QuotedWord>, RulesFault> {
        self.one(BackslashRule::Shell)
    }

    /// Its one value, as a regex: in its quotes a backslash stays.
    pub(super) fn regex(&self) -> Result<Option<QuotedWord>, RulesFault> {
        self.one(BackslashRule::Regex)
    }

    fn one(&self, backslash: BackslashRule) -> Result<Option<QuotedWord>, RulesFault> {
        let mut scanner = WordScanner::new(self.line, self.start, backslash);
        if !scanner.begins_quoted() {
            return Ok(scanner.plain_value());
        }
        let value = scanner.word()?;
        let Some(extra) = scanner.word()? else { return Ok(value) };
        let fault = RulesFault::new(extra.span, "a quoted value is one word, and this stands behind it");
        let is_comment = extra.glyphs.first().is_some_and(|glyph| glyph.is_bare('#')) || extra.text() == "//";
        Err(fault.help(if is_comment {
            "a comment begins with `;`"
        } else {
            "put the whole value into one pair of quotes"
        }))
    }

    /// Its place in the line, for problems of an empty value.
    pub(super) fn span(&self) -> SourceSpan {
        self.line.span(self.start, self.line.text.trim_ascii_end().len().max(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(text: &str) -> LineTail<'_> {
        LineTail::new(SourceLine { text, file: 0, number: 0 }, 0)
    }

    fn check(text: &str, want: &[&str]) {
        let line = tail(text).words().expect("the line is good");
        assert_eq!(line.words.iter().map(QuotedWord::text).collect::<Vec<_>>(), want, "{text}");
    }

    fn check_value(text: &str, want: Option<&str>) {
        let value = tail(text).value().expect("the value is good");
        assert_eq!(value.map(|word| word.text()).as_deref(), want, "{text}");
    }

    fn check_regex(text: &str, want: &str) {
        let value = tail(text).regex().expect("the value is good");
        assert_eq!(value.map(|word| word.text()).as_deref(), Some(want), "{text}");
    }

    fn check_error(text: &str, from: usize, to: usize, want: &str) {
        let fault = tail(text).words().expect_err("the line is bad");
        let said = format!("{fault:?}");
        assert!(said.contains(want), "{text}: {said}");
        assert!(said.contains(&format!("start: {from}, end: {to} ")), "{text}: {said}");
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        check("git  log\t-n", &["git", "log", "-n"]);
        check(r#"sh -c 'a; b' "c \" d" e\ f''g"#, &["sh", "-c", "a; b", "c \" d", "e fg"]);
        check("echo '' ; '", &["echo", ""]);
        check(r"'a\b' a\\b", &[r"a\b", r"a\b"]);
        check(r#""a\.b\t\$x\`\\""#, &[r"a\.b\t$x`\"]);
        check(r#"'it'\''s' "it's" $'it\'s'"#, &["it's", "it's", "it's"]);
    }

    #[test]
    fn the_escapes_of_bash_are_known() {
        check(r"$'a\nb\tc\\d\e\x41\u00e9\U0001f600\101\d'", &["a\nb\tc\\d\u{1b}A\u{e9}\u{1f600}A\\d"]);
        check(r"$'\xc3\xa9\303\251x'", &["\u{e9}\u{e9}x"]);
        check(r#"$'\a\b\f\r\v\E\?\"\cA\x4g'"#, &["\u{7}\u{8}\u{c}\r\u{b}\u{1b}?\"\u{1}\u{4}g"]);
        check(r"a$'b'c $ $$ '$'x", &["abc", "$", "$$", "$x"]);
        check_error(r"x $'a\0b'", 5, 7, "NUL");
        check_error(r"$'\xff'", 2, 6, "not UTF-8");
        check_error(r"$'\ud800'", 2, 8, "no character");
        check_error(r"$'\777'", 2, 6, "more than one byte");
        check_error(r"$'\x{41}'", 2, 5, "not an escape");
        check_error("a $'b", 2, 5, "not closed");
        check_error("a $\"b\"", 2, 4, "translates");
    }

    #[test]
    fn a_semicolon_begins_a_comment_at_the_beginning_of_a_word_only() {
        check("echo a ;b", &["echo", "a"]);
        check(r"echo a\;b 'c;d'", &["echo", "a;b", "c;d"]);
        check_error("curl https://x/?a=1;b=2", 19, 20, "inside a word");
        check_error("echo 'a';", 8, 9, "inside a word");
    }

    #[test]
    fn a_value_is_quoted_or_ends_at_a_comment() {
        check_value(r"  [a-z];  comment", Some("[a-z]"));
        check_value(r" a\;b\c 'd' ; e", Some(r"a;b\c 'd'"));
        check_value(r" '^a;b$'  ; c", Some("^a;b$"));
        check_value("  ; only a comment", None);
        check_value(" ''", Some(""));
        check_value(r#" "a\.b\"" "#, Some(r#"a\.b""#));
        check_value(r" $'/a\nb'", Some("/a\nb"));
    }

    #[test]
    fn in_a_quoted_regex_a_backslash_stays() {
        check_regex(r#" "api\.example\.com" "#, r"api\.example\.com");
        check_regex(r#" "a\\\"\$" "#, r#"a\\"\$"#);
        check_regex(r"'a\.b'\''c'", r"a\.b'c");
        check_regex(r"'a\.b'\;\d", r"a\.b\;\d");
        check_regex(r"$'a\.\n'", "a\\.\n");
        check_regex(r"a\;b\.", r"a;b\.");
    }
}
