//! Lines to words. A [`Word`] keeps, for every character, where it stands and whether a quote or a backslash made it
//! plain data, so that slots and variables are told from text and a caret can point into the middle of a value.

use super::diagnostic::{Fault, Span};

/// One line of a rules file, without its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'s> {
    /// The text.
    pub(super) text: &'s str,
    /// Which file.
    pub(super) file: usize,
    /// Which line, from 0.
    pub(super) number: usize,
}

impl<'s> Line<'s> {
    /// The bytes from `start` to `end` as a span.
    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, line: self.number, start, end }
    }

    /// Everything but the blanks around it.
    pub(super) fn content(&self) -> Span {
        let end = self.text.trim_ascii_end().len();
        self.span(self.text.len() - self.text.trim_ascii_start().len(), end)
    }

    /// The rest of the line from byte `start` on.
    pub(super) fn tail(self, start: usize) -> Tail<'s> {
        Tail { line: self, start }
    }
}

/// One character of a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glyph {
    /// The character.
    pub(super) ch: char,
    /// Its first byte in the line, the backslash before it included.
    pub(super) at: usize,
    /// Whether single quotes or a backslash make it plain data.
    pub(super) data: bool,
}

/// One word, its quotes taken off.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// Its characters.
    pub(super) glyphs: Vec<Glyph>,
    /// The whole word in the line, quotes included.
    pub(super) span: Span,
    /// Whether any of it is quoted or escaped.
    pub(super) quoted: bool,
}

impl Word {
    /// The word as text, nothing expanded.
    pub(super) fn text(&self) -> String {
        self.glyphs.iter().map(|glyph| glyph.ch).collect()
    }

    /// Where the characters from `from` to before `to` stand.
    pub(super) fn part(&self, from: usize, to: usize) -> Span {
        let at = |index: usize| self.glyphs.get(index).map(|glyph| glyph.at);
        let last = to.checked_sub(1).and_then(|last| self.glyphs.get(last));
        let end = last.map_or(self.span.end, |last| last.at + last.ch.len_utf8());
        Span { start: at(from).unwrap_or(self.span.end), end, ..self.span }
    }

    /// The characters from `from` to before `to`, blanks around them left out, as a word of their own.
    pub(super) fn slice(&self, from: usize, to: usize) -> Self {
        let solid = |index: &usize| !self.glyphs[*index].ch.is_ascii_whitespace();
        let from = (from..to).find(solid).unwrap_or(to);
        let to = (from..to).rev().find(solid).map_or(from, |last| last + 1);
        Self { glyphs: self.glyphs[from..to].to_vec(), span: self.part(from, to), ..*self }
    }

    /// What stands between the separators, each part without the blanks around it.
    pub(super) fn split(&self, separator: char) -> Vec<Self> {
        let mut ends: Vec<_> = (0..self.glyphs.len()).filter(|&at| self.glyphs[at].ch == separator).collect();
        ends.push(self.glyphs.len());
        let starts = std::iter::once(0).chain(ends.iter().map(|end| end + 1));
        starts.zip(&ends).map(|(from, &to)| self.slice(from, to)).collect()
    }
}

/// What stands behind a `=`, or the whole of a rule line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail<'s> {
    line: Line<'s>,
    start: usize,
}

impl Tail<'_> {
    /// Its words, as on a rule line: quotes hold blanks and `;`, and an unquoted `;` starts a comment.
    pub(super) fn words(&self) -> Result<Vec<Word>, Fault> {
        let mut scanner = Scanner { line: self.line, at: self.start };
        let mut words = Vec::new();
        while let Some(word) = scanner.word()? {
            words.push(word);
        }
        Ok(words)
    }

    /// Its one value: a quoted word, or everything up to a `;` that is not written `\;`. `None` when there is none.
    pub(super) fn value(&self) -> Result<Option<Word>, Fault> {
        let mut scanner = Scanner { line: self.line, at: self.start };
        scanner.skip_blanks();
        if !matches!(scanner.peek(), Some('\'' | '"')) {
            return Ok(scanner.plain_value());
        }
        let value = scanner.word()?;
        let Some(extra) = scanner.word()? else { return Ok(value) };
        let fault = Fault::new(extra.span, "a quoted value is one word, and this stands behind it");
        Err(fault.help("put the whole value into one pair of quotes"))
    }

    /// Where it stands, for when it is empty.
    pub(super) fn span(&self) -> Span {
        self.line.span(self.start, self.line.text.trim_ascii_end().len().max(self.start))
    }
}

struct Scanner<'s> {
    line: Line<'s>,
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.line.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let ch = self.peek()?;
        self.at += ch.len_utf8();
        Some(ch)
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|ch| ch.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn word(&mut self) -> Result<Option<Word>, Fault> {
        self.skip_blanks();
        let (start, mut glyphs, mut quoted) = (self.at, Vec::new(), false);
        while let Some(ch) = self.peek().filter(|ch| !ch.is_ascii_whitespace() && *ch != ';') {
            quoted |= matches!(ch, '\'' | '"' | '\\');
            match ch {
                '\'' | '"' => self.quotes(ch, &mut glyphs)?,
                _ => glyphs.push(self.glyph(ch == '\\')?),
            }
        }
        let span = self.line.span(start, self.at);
        Ok((self.at > start).then_some(Word { glyphs, span, quoted }))
    }

    fn quotes(&mut self, quote: char, glyphs: &mut Vec<Glyph>) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        while let Some(ch) = self.peek() {
            if ch == quote {
                self.at += 1;
                return Ok(());
            }
            let mut glyph = self.glyph(ch == '\\' && quote == '"')?;
            glyph.data |= quote == '\'';
            glyphs.push(glyph);
        }
        let fault = Fault::new(self.line.span(start, self.at), "this quote is not closed");
        Err(fault.help(format!("end it with {quote} on the same line")))
    }

    fn glyph(&mut self, escaped: bool) -> Result<Glyph, Fault> {
        let at = self.at;
        self.at += usize::from(escaped);
        match self.next() {
            Some(ch) => Ok(Glyph { ch, at, data: escaped }),
            None => Err(Fault::new(self.line.span(at, self.at), "nothing follows this backslash")
                .help(r"write `\\` for a backslash; a rule stands on one line")),
        }
    }

    fn plain_value(&mut self) -> Option<Word> {
        let (start, mut glyphs) = (self.at, Vec::new());
        while let Some(ch) = self.peek().filter(|ch| *ch != ';') {
            let at = self.at;
            self.at += ch.len_utf8();
            if ch == '\\' && self.peek() == Some(';') {
                self.at += 1;
                glyphs.push(Glyph { ch: ';', at, data: true });
            } else {
                glyphs.push(Glyph { ch, at, data: false });
            }
        }
        let length = glyphs.iter().rposition(|glyph| !glyph.ch.is_ascii_whitespace())? + 1;
        glyphs.truncate(length);
        let end = start + self.line.text[start..self.at].trim_ascii_end().len();
        Some(Word { glyphs, span: self.line.span(start, end), quoted: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line<'_> {
        Line { text, file: 0, number: 0 }
    }

    fn check(text: &str, want: &[&str]) {
        let words = line(text).tail(0).words().expect("the line is good");
        assert_eq!(words.iter().map(Word::text).collect::<Vec<_>>(), want);
    }

    fn check_value(text: &str, want: Option<&str>) {
        let value = line(text).tail(0).value().expect("the value is good");
        assert_eq!(value.map(|word| word.text()).as_deref(), want);
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        check("git  log\t-n", &["git", "log", "-n"]);
        check(r#"sh -c 'a; b' "c \" d" e\ f''g"#, &["sh", "-c", "a; b", "c \" d", "e fg"]);
        check("echo a;b", &["echo", "a"]);
        check("echo '' ; '", &["echo", ""]);
        check(r"'a\b' a\\b", &[r"a\b", r"a\b"]);
    }

    #[test]
    fn a_value_is_quoted_or_ends_at_a_comment() {
        check_value(r"  [a-z];  comment", Some("[a-z]"));
        check_value(r" a\;b\c 'd' ; e", Some(r"a;b\c 'd'"));
        check_value(r" '^a;b$'  ; c", Some("^a;b$"));
        check_value("  ; only a comment", None);
        check_value(" ''", Some(""));
    }
}
