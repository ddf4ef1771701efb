//! Splits a line into words with the quoting of a POSIX shell, or reads the plain value of an attribute.
//! `ansi.rs` reads the content of `$'…'`.

use super::ansi::ansi_quotes;
use super::cursor::LineCursor;
use super::fault::{RulesFault, SourceSpan};
use super::word::{QuotedChar, QuotedWord, Quoting, SourceLine};

/// The meaning of a backslash that is neither in single quotes nor in `$'…'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackslashRule {
    /// As in a shell: it escapes the next character; in double quotes only `$`, `"`, `\` and the backquote.
    Shell,
    /// As in a regex: it stays a character of the value, unless it stands before a quote.
    Regex,
}

/// Reads one line.
pub(super) struct WordScanner<'s> {
    cursor: LineCursor<'s>,
    backslash: BackslashRule,
}

impl<'s> WordScanner<'s> {
    /// A scanner at byte `at` of the line.
    pub(super) fn new(line: SourceLine<'s>, at: usize, backslash: BackslashRule) -> Self {
        Self { cursor: LineCursor::new(line, at), backslash }
    }

    /// The rest of the line, if any: what follows the last word is a comment.
    pub(super) fn remains(&self) -> Option<SourceSpan> {
        let bytes = self.cursor.rest().len();
        (bytes > 0).then(|| self.cursor.ahead(bytes))
    }

    /// Whether the value that comes next is one quoted word.
    pub(super) fn begins_quoted(&mut self) -> bool {
        self.cursor.skip_blanks();
        self.cursor.rest().starts_with(['\'', '"']) || self.begins("$'") || self.begins("$\"")
    }

    fn begins(&self, text: &str) -> bool {
        self.cursor.rest().starts_with(text)
    }

    /// The next word; `None` at the end of the line and where a comment begins.
    pub(super) fn word(&mut self) -> Result<Option<QuotedWord>, RulesFault> {
        self.cursor.skip_blanks();
        let (start, mut glyphs, mut quoted) = (self.cursor.at(), Vec::new(), false);
        while let Some(ch) = self.cursor.peek().filter(|ch| !ch.is_ascii_whitespace()) {
            let is_ansi = ch == '$' && self.begins("$'");
            quoted |= is_ansi || matches!(ch, '\'' | '"' | '\\');
            match ch {
                ';' if self.cursor.at() == start => break,
                ';' => return Err(self.semicolon()),
                '\'' => self.single_quotes(&mut glyphs)?,
                '"' => self.double_quotes(&mut glyphs)?,
                '\\' => self.escaped(&mut glyphs)?,
                '$' if is_ansi => ansi_quotes(&mut self.cursor, &mut glyphs)?,
                '$' if self.begins("$\"") => return Err(self.translated()),
                _ => glyphs.push(self.cursor.glyph(Quoting::Bare)),
            }
        }
        let span = self.cursor.since(start);
        Ok((self.cursor.at() > start).then_some(QuotedWord { glyphs, span, quoted, cut: None }))
    }

    fn single_quotes(&mut self, glyphs: &mut Vec<QuotedChar>) -> Result<(), RulesFault> {
        let start = self.cursor.at();
        self.cursor.skip(1);
        while let Some(ch) = self.cursor.peek() {
            if ch == '\'' {
                self.cursor.skip(1);
                return Ok(());
            }
            glyphs.push(self.cursor.glyph(Quoting::Data));
        }
        Err(self.cursor.unclosed(start, '\''))
    }

    fn double_quotes(&mut self, glyphs: &mut Vec<QuotedChar>) -> Result<(), RulesFault> {
        let start = self.cursor.at();
        self.cursor.skip(1);
        while let Some(ch) = self.cursor.peek() {
            if ch == '"' {
                self.cursor.skip(1);
                return Ok(());
            }
            let next = self.cursor.second().filter(|_| ch == '\\');
            match (next, self.backslash) {
                (Some('$' | '"' | '\\' | '`'), BackslashRule::Shell) | (Some('"'), BackslashRule::Regex) => {
                    glyphs.push(self.cursor.unescaped());
                }
                // A regex's own escape: the second backslash escapes no quote.
                (Some('\\'), BackslashRule::Regex) => self.pair(Quoting::Double, glyphs),
                _ => glyphs.push(self.cursor.glyph(Quoting::Double)),
            }
        }
        Err(self.cursor.unclosed(start, '"'))
    }

    /// A backslash outside quotes, and the character behind it.
    fn escaped(&mut self, glyphs: &mut Vec<QuotedChar>) -> Result<(), RulesFault> {
        match (self.cursor.second(), self.backslash) {
            (None, _) => {
                let fault = RulesFault::new(self.cursor.ahead(1), "nothing follows this backslash");
                return Err(fault.help(r"write `\\` for a backslash; a rule stands on one line"));
            }
            (Some('\'' | '"'), _) | (Some(_), BackslashRule::Shell) => glyphs.push(self.cursor.unescaped()),
            (Some(_), BackslashRule::Regex) => self.pair(Quoting::Data, glyphs),
        }
        Ok(())
    }

    /// Reads two characters as they are.
    fn pair(&mut self, quoting: Quoting, glyphs: &mut Vec<QuotedChar>) {
        glyphs.push(self.cursor.glyph(quoting));
        glyphs.push(self.cursor.glyph(quoting));
    }

    fn semicolon(&self) -> RulesFault {
        let fault = RulesFault::new(
            self.cursor.ahead(1),
            "a `;` inside a word, which neither is text nor begins a comment",
        );
        fault.help(r"for text, write 'a;b' or a\;b; for a comment, put a blank before it")
    }

    fn translated(&self) -> RulesFault {
        RulesFault::new(self.cursor.ahead(2), "`$\"` begins a text that a shell translates, and rules do not")
            .help(r#"write "…" without the `$`; for a `$` before it, write \$"…""#)
    }

    /// Everything up to a `;` that is not written `\;`, without the blanks around it.
    pub(super) fn plain_value(&mut self) -> Option<QuotedWord> {
        let (start, mut glyphs) = (self.cursor.at(), Vec::new());
        while self.cursor.peek().is_some_and(|ch| ch != ';') {
            let is_escape = self.begins(r"\;");
            glyphs.push(if is_escape { self.cursor.unescaped() } else { self.cursor.glyph(Quoting::Bare) });
        }
        let last = glyphs.iter().rposition(|glyph| !glyph.ch.is_ascii_whitespace())?;
        let is_cut = last + 1 == glyphs.len() && self.cursor.peek().is_some();
        let cut = is_cut.then(|| self.cursor.at());
        glyphs.truncate(last + 1);
        let span = SourceSpan { end: glyphs[last].end, ..self.cursor.since(start) };
        Some(QuotedWord { glyphs, span, quoted: false, cut })
    }
}
